# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Documents: their links lead somewhere, the reference is current, the README is short."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted((CHECKOUT / "playbooks").glob("*.yml"))
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "roles/*/*.md", "examples/**/*.md", "molecule/**/*.md", "tests/**/*.md")
    for path in CHECKOUT.glob(pattern)
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def load_script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load_script("reference")


def prose(path: Path) -> str:
    """A document without its code blocks."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)", prose(path), re.MULTILINE)
    return {reference.anchor(heading) for heading in headings}


def broken_links(path: Path) -> list[str]:
    broken = []
    for link in LINK.finditer(prose(path)):
        target, _, fragment = link["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        place = (path.parent / target).resolve() if target else path
        if not place.exists():
            broken.append(f"{link['target']}: there is no such file")
        elif fragment and fragment not in anchors(place):
            broken.append(f"{link['target']}: {place.name} has no such heading")
    return broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    assert broken_links(path) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One and `two`\n\n[a](#one-and-two) [b](#three) [c](none.md) [d](https://example.com)\n")
    assert broken_links(page) == ["#three: a.md has no such heading", "none.md: there is no such file"]


def test_every_document_is_linked() -> None:
    """A page that no other page links is not found by readers."""
    linked = set()
    for path in DOCUMENTS:
        for link in LINK.finditer(prose(path)):
            linked.add((path.parent / link["target"].partition("#")[0]).resolve())
    pages = {path for path in DOCUMENTS if path.parent != CHECKOUT}
    assert sorted(str(path.relative_to(CHECKOUT)) for path in pages - linked) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_example_in_yaml_can_be_read(path: Path) -> None:
    for example in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
        assert yaml.safe_load(example)


def test_the_readme_is_short() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= 100


def test_the_reference_is_current() -> None:
    assert reference.stale_pages() == [], "run: python scripts/reference.py"


def test_the_figures_of_the_comparison_are_those_of_the_benchmarks() -> None:
    page = (CHECKOUT / "docs" / "comparison.md").read_text()
    benchmarks = (CHECKOUT / "docs" / "benchmarks.md").read_text()
    rows = re.findall(r"^\| .*\d.*\|$", page.partition("\n## Figures\n")[2].partition("\n## ")[0], re.MULTILINE)
    figures = [cell.strip().removesuffix(" s") for row in rows for cell in row.strip("|").split("|")[1:]]
    assert len(figures) == 6
    assert [figure for figure in figures if not re.search(rf"\b{figure}\b", benchmarks)] == []


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_the_reference_has_every_playbook_and_its_variables(playbook: Path) -> None:
    page = (CHECKOUT / "docs" / "reference" / "playbooks.md").read_text()
    section = re.search(rf"^## {playbook.stem}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section, f"docs/reference/playbooks.md has no section {playbook.stem}"
    head = re.match(r"---\n((?:#.*\n)*)", playbook.read_text())
    assert head
    for name in re.findall(r"-e (\w+)=", head[1]):
        assert f"| `{name}` |" in section[1], f"docs/reference/playbooks.md, {playbook.stem}: {name} is missing"


def test_the_readme_names_every_playbook() -> None:
    text = (CHECKOUT / "README.md").read_text()
    assert [path.stem for path in PLAYBOOKS if f"{path.stem}.yml" not in text] == []


# Messages in the guide Start that Ansible prints.
FOREIGN_MESSAGES = {"undecryptable variable"}


def quoted_messages() -> list[str]:
    """The messages in the table of typical mistakes."""
    page = (CHECKOUT / "docs" / "guides" / "start.md").read_text()
    rows = page.partition("| message |")[2].partition("\n\n")[0].splitlines()[2:]
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row.split("|")[1])]


@pytest.mark.parametrize("message", sorted({*quoted_messages()} - FOREIGN_MESSAGES))
def test_a_quoted_message_is_in_the_code(message: str) -> None:
    """The longest piece of the message without its example values."""
    piece = max(re.split(r"'[^' ]+'|\d+|apache2|/", message), key=len).strip()
    code = "\n".join(path.read_text() for path in sorted((CHECKOUT / "plugins").rglob("*.py")))
    # A long text is written as several literals.
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    assert piece in code, f"docs/guides/start.md quotes {message!r}, which no code prints"


def test_the_quoted_messages_are_found() -> None:
    assert {*quoted_messages()} > FOREIGN_MESSAGES
