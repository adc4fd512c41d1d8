# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lookup templates: what it renders in one go is what the stock lookup renders one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar

TEXTS = {
    "plain": "a {{ name }}\n",
    "no newline at the end": "a {{ name }}",
    "newlines at both ends": "\n\na {{ name }}\n\n\n",
    "block first and last": "{% if name %}\n  {{ name }}\n{% endif %}",
    "spaces before blocks": (
        "#jinja2: lstrip_blocks: True\n"
        "{% for one in rows %}\n    {% if one %}\n  {{ one }}\n    {% endif %}\n{% endfor %}\n"
    ),
    "a value with a newline at the end": "rows {{ rows | join }}\n",
    "spaces before blocks, kept": "  {% for one in rows %}\n    {{ one }} {{ loop.index }}\n  {% endfor %}\n  ",
    "variables of its own": "{% set name = name ~ '!' %}{% for one in rows %}{{ name }}{{ one }}{% endfor %}\n",
    "methods of a dictionary": "{{ items }} {{ values }}\n",
    "backslashes": "{{ name }} \\n \\\\ {{ 'a\\\\b' }}\n",
    "another that it includes": "{% include 'part.txt' %}{{ name }}\n",
    "nothing": "",
}
VARS = [
    {"name": name, "rows": rows, "items": f"{name} 1", "values": [1, name]}
    for name, rows in (("one", ["x", ""]), ("tw\\no", []), ("{{ three }}", ["y", "{% z %}", "<end>"]), ("", ["\n"]))
]


@pytest.fixture
def lookups(tmp_path: Path) -> tuple[Callable[..., list[Any]], Callable[..., list[Any]]]:
    (tmp_path / "templates").mkdir()
    for number, text in enumerate(TEXTS.values()):
        (tmp_path / "templates" / f"{number}.j2").write_text(text)
    (tmp_path / "templates" / "part.txt").write_text("for {{ name }}\n")
    loader = DataLoader()
    loader.set_basedir(str(tmp_path))
    variables = {"ansible_search_path": [str(tmp_path)], "name": "of the play"}

    def ours(terms: list[Any], **options: Any) -> list[Any]:
        lookup = lookup_loader.get("pyweb.stack.templates", loader=loader, templar=Templar(loader=loader))
        return lookup.run(terms, variables=variables, **options)

    def stock(template: str, own: dict[str, Any]) -> list[Any]:
        lookup = lookup_loader.get("ansible.builtin.template", loader=loader, templar=Templar(loader=loader))
        return lookup.run([template], variables={"ansible_search_path": [str(tmp_path)]}, template_vars=own)

    return ours, stock


@pytest.mark.parametrize("text", TEXTS, ids=str)
def test_many_are_rendered_as_one_by_one(lookups, text: str) -> None:
    ours, stock = lookups
    template = f"{list(TEXTS).index(text)}.j2"
    # Nothing at all is None to the stock lookup.
    wanted = [stock(template, own)[0] or "" for own in VARS]
    found = ours([{"path": str(number), "template": template, "vars": own} for number, own in enumerate(VARS)])
    assert [one["content"] for one in found] == wanted
    assert [one["path"] for one in found] == ["0", "1", "2", "3"]
    assert ours([{"template": template, "vars": VARS[0]}]) == [{"content": wanted[0]}]


def test_order_and_what_is_no_template_are_kept(lookups) -> None:
    ours, _stock = lookups
    terms = [
        {"template": "0.j2", "vars": {"name": "a"}},
        {"path": "as it is"},
        {"template": "1.j2", "vars": {"name": "b"}},
        {"template": "0.j2", "vars": {"name": "c", "more": 1}},
        {"template": "0.j2", "vars": {"name": "d"}, "mode": "0600"},
    ]
    assert ours(terms) == [
        {"content": "a a\n"},
        {"path": "as it is"},
        {"content": "a b"},
        {"content": "a c\n"},
        {"content": "a d\n", "mode": "0600"},
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_play_is_not_seen_and_what_is_missing_is_named(lookups, count: int) -> None:
    ours, _stock = lookups
    with pytest.raises(AnsibleError, match=r"(?s)0\.j2 failed.*'name' is undefined"):
        ours([{"template": "0.j2", "vars": {"rows": []}}] * count)
    with pytest.raises(AnsibleError, match="gone"):
        ours([{"template": "gone.j2", "vars": {}}] * count)


def test_bad_terms_are_refused(lookups) -> None:
    ours, _stock = lookups
    with pytest.raises(AnsibleError, match="not str"):
        ours(["0.j2"])
    with pytest.raises(AnsibleError, match="no options, but was given: trim"):
        ours([], trim=True)
