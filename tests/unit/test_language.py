# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The checker of the project's language: its rules, the texts that it finds in files, and its baseline."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]


def load_checker() -> Any:
    spec = importlib.util.spec_from_file_location("language", CHECKOUT / "scripts" / "language.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["language"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


language = load_checker()
SETTINGS = language.load_settings()
EXAMPLES = yaml.safe_load((CHECKOUT / ".config" / "language.yml").read_text())["rules"]
LONG = "Each " + " ".join(["word"] * 30) + "."


def rules_found(path: str, text: str) -> list[str]:
    return [finding.rule for finding in language.findings_in(path, text, SETTINGS)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["name"])
def test_each_rule_finds_its_example_and_leaves_the_other(example: dict[str, Any]) -> None:
    (rule,) = (rule for rule in SETTINGS.rules if rule.name == example["name"])
    kind = (example.get("kinds") or ["comment"])[0]
    assert list(rule.matches(language.Segment(kind, 1, example["finds"]))), example["finds"]
    assert not list(rule.matches(language.Segment(kind, 1, example["leaves"]))), example["leaves"]


def test_the_replacement_breaks_no_other_rule() -> None:
    for example in EXAMPLES:
        found = rules_found("example.md", example["leaves"])
        assert not found, f"{example['leaves']!r} of the rule {example['name']} breaks {found}"


def test_every_rule_has_a_name_of_its_own_and_a_reason() -> None:
    names = [example["name"] for example in EXAMPLES]
    assert len(names) == len(set(names))
    assert all(example["instead"] and example["reason"].endswith(".") for example in EXAMPLES)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.md", "The release\nis mended.\n"),
        ("a.md", "- one\n- two, mended\n"),
        ("a.md", "| key | it is mended |\n"),
        ("a.md", "```yaml\nkey: 1  # mended\n```\n"),
        ("a.py", '"""It is mended."""\n'),
        ("a.py", "x = 1  # mended\n"),
        ("a.py", 'x = "the file was mended"\n'),
        ("a.py", 'x = f"the file {y} was mended"\n'),
        ("a.yml", "- name: Mend the file\n"),
        ("a.yml", "options:\n  key:\n    description: [It is mended.]\n"),
        ("a.yml", "fail_msg: >-\n  The file\n  is mended.\n"),
        ("a.yml", "# mended\nkey: 1\n"),
        ("changelogs/fragments/a.yml", "bugfixes:\n  - It was mended.\n"),
        ("Makefile", "all: ## mend everything\n"),
        ("a.conf.j2", "# mended\n"),
    ],
)
def test_it_reads_the_texts_of_a_file(path: str, text: str) -> None:
    assert rules_found(path, text) == ["mend"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.md", "Call `mended` or [read](mended.md).\n"),
        ("a.md", "```python\nmended = 1\n```\n"),
        ("a.py", "mended = mend(x)\n"),
        ("a.py", '"""It calls ``mended``."""\n'),
        ("a.py", 'x = "mended"\n'),
        ("a.yml", "mended: 1\nother: mended\n"),
        ("a.yml", "description: The value V(mended).\n"),
        ("a.yml", "- name: Show {{ mended }}\n"),
    ],
)
def test_it_leaves_code(path: str, text: str) -> None:
    assert rules_found(path, text) == []


def test_a_finding_names_the_line_of_the_word() -> None:
    (finding,) = language.findings_in("a.md", "# Title\n\nThe release\nis fine and\nwas mended.\n", SETTINGS)
    assert finding.line == 5
    assert "fix" in str(finding)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.md", f"Short. {LONG}\n"),
        ("a.yml", f"description: {LONG}\n"),
        ("changelogs/fragments/a.yml", f"bugfixes:\n  - {LONG}\n"),
    ],
)
def test_a_long_sentence_is_found_in_documents(path: str, text: str) -> None:
    assert rules_found(path, text) == ["sentence-length"]
    assert rules_found(path, text.replace("word word.", "word. Word.")) == []


def test_code_counts_as_one_word() -> None:
    assert rules_found("a.md", f"{' '.join(['word'] * 29)} `a b c d`.\n") == []


def test_the_baseline_allows_no_more_than_it_says() -> None:
    assert language.excessive({"a": 2}, {"a": 2}, {"a"}) == []
    assert language.excessive({"a": 3}, {"a": 2}, {"a"}) == ["a"]
    assert language.excessive({"b": 1}, {"a": 2}, {"a", "b"}) == ["b"]


def test_a_file_that_moved_or_was_split_keeps_its_allowance() -> None:
    assert language.excessive({"b": 1, "c": 1}, {"a": 2}, {"b", "c"}) == []
    assert language.excessive({"b": 2, "c": 1}, {"a": 2}, {"b", "c"}) == ["b", "c"]


def test_the_baseline_is_written_and_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "baseline.txt"
    assert language.load_baseline(path) == {}
    language.write_baseline({"b c": 1, "a": 2}, path)
    assert language.load_baseline(path) == {"a": 2, "b c": 1}
    assert path.read_text().startswith("#")
