# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The Chinese pages: each section of an English page has a counterpart, and lags are found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pyweb_scripts import CHECKOUT, load_script

ENGLISH = (
    "# Start\n\nFirst words.\n\n## Install\n\n    make site  # a comment\n\n"
    "```sh\n# no heading\n```\n\n## Limits\n\nNone.\n"
)
CHINESE = "# 入门\n\n开头。\n\n## 安装\n\n安装。\n\n## 限制\n\n没有。\n\n<!-- translation of docs/start.md\n{}-->\n"
NEVER = "0000000000 2026-01-02"
ENTRIES = f"#start -> #入门 {NEVER}\n#install -> #安装 {NEVER}\n#limits -> #限制 {NEVER}\n"


translations = load_script("translations")


class Documents:
    """A checkout with one English page and its Chinese page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.english = folder / "docs" / "start.md"
        self.chinese = folder / "docs" / "zh" / "start.md"
        self.chinese.parent.mkdir(parents=True)
        self.english.write_text(ENGLISH)
        self.chinese.write_text(CHINESE.format(ENTRIES))
        self.run("--update")

    def run(self, *arguments: str) -> int:
        found: int = translations.main(self.folder, list(arguments))
        return found

    def change(self, before: str, after: str) -> None:
        text = self.english.read_text()
        assert before in text
        self.english.write_text(text.replace(before, after))


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    return Documents(tmp_path)


def lags(documents: Documents, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert documents.run() == 0
    return capsys.readouterr().out.splitlines()


def test_each_section_of_an_english_page_has_a_counterpart() -> None:
    pages = translations.load(CHECKOUT)
    assert [problem for page, sections in pages for problem in translations.problems_of(page, sections)] == []
    assert sum(bool(page.source) for page, _sections in pages) >= 6


def test_sections_have_the_anchors_of_a_forge() -> None:
    sections = translations.sections_of(f"{ENGLISH}## `site.yml` and\n## Limits\n")
    assert [one.anchor for one in sections] == ["start", "install", "limits", "siteyml-and", "limits-1"]


def test_a_changed_section_lags(documents: Documents, capsys: pytest.CaptureFixture[str]) -> None:
    assert lags(documents, capsys) == []
    documents.change("make site", "make test")
    (lag,) = lags(documents, capsys)
    assert lag.startswith("docs/zh/start.md#安装: docs/start.md, 'Install', has changed since 20")
    assert documents.run("--check") == 0
    assert capsys.readouterr().out.startswith(
        "warning: 1 sections of Chinese pages lag behind the English ones: docs/zh/start.md (1)"
    )
    documents.run("--update", "docs/zh/start.md")
    assert lags(documents, capsys) == []


def test_other_line_breaks_are_no_change(documents: Documents, capsys: pytest.CaptureFixture[str]) -> None:
    documents.change("First words.", "First\nwords.")
    assert lags(documents, capsys) == []


def test_an_update_of_another_page_leaves_the_lag(documents: Documents, capsys: pytest.CaptureFixture[str]) -> None:
    documents.change("None.", "Some.")
    documents.run("--update", "README.zh-CN.md")
    assert len(lags(documents, capsys)) == 1


def test_a_new_section_fails_until_it_is_linked(documents: Documents, capsys: pytest.CaptureFixture[str]) -> None:
    documents.change("## Limits", "## More\n\nText.\n\n## Limits")
    with pytest.raises(
        translations.Failure, match=r"docs/zh/start.md: 'More' of docs/start.md has no counterpart\n.*--link"
    ):
        documents.run("--check")
    documents.run("--link")
    assert f"{translations.UNTRANSLATED}\n\n- [More](../start.md#more)\n" in documents.chinese.read_text()
    documents.change("Text.", "Other text.")
    assert lags(documents, capsys) == [], "a linked section needs no translation"
    documents.change("## More\n\nOther text.\n\n", "")
    documents.run("--link")
    assert "more" not in documents.chinese.read_text()


def test_a_renamed_section_keeps_its_counterpart(documents: Documents, capsys: pytest.CaptureFixture[str]) -> None:
    documents.change("## Install", "## Installation")
    with pytest.raises(translations.Failure, match=r"docs/start\.md has no section #install"):
        documents.run("--check")
    documents.run("--link")
    assert "#installation -> #安装 " in documents.chinese.read_text()
    assert lags(documents, capsys) == []


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("## 安装", "## 装", "it has no section #安装, the counterpart of #install"),
        ("#limits -> ", "#limit -> ", "'Limits' of docs/start.md has no counterpart"),
        ("<!-- translation of docs/start.md", "<!-- translation of docs/none.md", "there is no page docs/none.md"),
        ("<!-- translation", "<!-- copy", "its last lines must be a comment"),
        ("#limits -> #限制", "#limits = #限制", "Write: #section -> #counterpart DIGEST DATE"),
    ],
)
def test_a_wrong_page_fails(documents: Documents, before: str, after: str, problem: str) -> None:
    text = documents.chinese.read_text()
    assert before in text
    documents.chinese.write_text(text.replace(before, after))
    with pytest.raises(translations.Failure, match=re.escape(problem)):
        documents.run("--check")


def test_a_link_that_the_page_lacks_fails(documents: Documents) -> None:
    documents.chinese.write_text(CHINESE.format(ENTRIES.replace(f"#限制 {NEVER}", "link")))
    with pytest.raises(translations.Failure, match=r"it has no link to docs/start\.md#limits"):
        documents.run("--check")


def test_a_release_checks_the_translations_first(monkeypatch: pytest.MonkeyPatch) -> None:
    changelog = load_script("changelog")
    released = []

    def refuse(arguments: list[str]) -> int:
        assert arguments == ["--strict"]
        raise changelog.translations.Failure("too old")

    monkeypatch.setattr(changelog.translations, "main", refuse)
    monkeypatch.setattr(changelog, "collect", lambda *given: released.append(given))
    monkeypatch.setattr("sys.argv", ["changelog.py", "--release"])
    with pytest.raises(changelog.translations.Failure):
        changelog.main()
    assert released == []


def test_an_old_lag_stops_a_release_and_nothing_else(documents: Documents) -> None:
    documents.change("None.", "Some.")
    assert documents.run("--strict") == 0
    documents.chinese.write_text(CHINESE.format(ENTRIES.replace("2026-01-02", "2020-01-02")))
    assert documents.run("--check") == 0
    with pytest.raises(translations.Failure, match="they lag for over 90 days"):
        documents.run("--strict")
