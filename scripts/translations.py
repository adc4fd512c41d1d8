#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Compare the Chinese pages with the English pages that they translate, section by section.

    python scripts/translations.py             list the Chinese sections that lag behind their English sections
    python scripts/translations.py --check     print their number, as `make lint` does; fail if a section was never seen
    python scripts/translations.py --strict    the same; also fail if a lag is too old, as a release does
    python scripts/translations.py --update    record that all sections are current, or those of the pages that follow
    python scripts/translations.py --link      link new English sections from their Chinese pages, without a translation

Each Chinese page ends with a comment: its English page, and one line per English section. The line names the section's
counterpart, and has the digest of the English text and the date of the translation. The word `link` instead of a
counterpart means that the page links the English section. The comment `original` means that there is no English page.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = ("README.zh-CN.md", "docs/zh/*.md")
# Days after which a section that lags stops a release.
BOUND = 90
LINK = "link"
UNTRANSLATED = "## 尚未翻译的内容"
COMMENT = re.compile(
    r"^<!-- (?:original|translation of (?P<source>\S+)\n(?P<lines>.*?)) ?-->\n*\Z", re.MULTILINE | re.DOTALL
)
ENTRY = re.compile(r"#(?P<section>\S*) -> (?:#(?P<target>\S+) (?P<digest>[0-9a-f]{10}) (?P<date>\d{4}-\d\d-\d\d)|link)")


class Failure(Exception):
    """The pages can't be compared; the message has the remedy."""


@dataclass(frozen=True)
class Section:
    """A heading with its text, up to the next heading. The digest does not depend on the heading and on line breaks."""

    anchor: str
    heading: str
    digest: str


@dataclass
class Entry:
    """The counterpart of an English section. Without a target, the Chinese page links the English section."""

    section: str
    target: str = ""
    digest: str = ""
    date: str = ""

    def __str__(self) -> str:
        return f"#{self.section} -> " + (f"#{self.target} {self.digest} {self.date}" if self.target else LINK)


@dataclass
class Page:
    """A Chinese page. ``source`` is the English page, or empty if there is none."""

    path: str
    body: str
    source: str = ""
    entries: list[Entry] = field(default_factory=list)

    @property
    def text(self) -> str:
        if not self.source:
            return f"{self.body}<!-- original -->\n"
        lines = "".join(f"{entry}\n" for entry in self.entries)
        return f"{self.body}<!-- translation of {self.source}\n{lines}-->\n"


@dataclass(frozen=True)
class Lag:
    """An English section that has changed since its translation."""

    path: str
    source: str
    heading: str
    target: str
    date: str

    def __str__(self) -> str:
        return f"{self.path}#{self.target}: {self.source}, '{self.heading}', has changed since {self.date}"

    def days(self, today: datetime.date) -> int:
        return (today - datetime.date.fromisoformat(self.date)).days


def anchor(heading: str) -> str:
    """The anchor that a forge makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sections_of(text: str) -> list[Section]:
    """The sections of a page, in their order. A heading that occurs again gets a number, as a forge numbers it."""
    found: list[tuple[str, list[str]]] = []
    fence = ""
    for line in text.splitlines():
        stripped = line.strip()
        if fence or stripped.startswith(("```", "~~~")):
            fence = stripped[:3] if not fence else "" if stripped == fence else fence
        elif heading := re.match(r"#+ +(.*)", line):
            found.append((heading[1].strip(), []))
            continue
        if found:
            found[-1][1].append(line)
    counts: dict[str, int] = {}
    sections = []
    for title, lines in found:
        name = anchor(title)
        number = counts[name] = counts.get(name, -1) + 1
        digest = hashlib.sha256(" ".join("\n".join(lines).split()).encode()).hexdigest()[:10]
        sections.append(Section(f"{name}-{number}" if number else name, title, digest))
    return sections


def page_of(path: str, text: str) -> Page:
    """A Chinese page from its text."""
    comment = COMMENT.search(text)
    if not comment:
        raise Failure(
            f"{path}: its last lines must be a comment '<!-- translation of docs/PAGE.md' with one line per section, "
            "or '<!-- original -->'. See CONTRIBUTING.md."
        )
    page = Page(path, text[: comment.start()], comment["source"] or "")
    for line in filter(None, (comment["lines"] or "").splitlines()):
        entry = ENTRY.fullmatch(line)
        if not entry:
            raise Failure(f"{path}: its comment has the line '{line}'. Write: #section -> #counterpart DIGEST DATE")
        page.entries.append(Entry(*(value or "" for value in entry.group("section", "target", "digest", "date"))))
    return page


def problems_of(page: Page, sections: list[Section]) -> Iterator[str]:
    """English sections without a counterpart, and counterparts that do not exist."""
    known = {entry.section for entry in page.entries}
    headings = {section.anchor for section in sections_of(page.body)}
    for section in sections:
        if section.anchor not in known:
            yield f"{page.path}: '{section.heading}' of {page.source} has no counterpart"
    for entry in page.entries:
        if entry.section not in {section.anchor for section in sections}:
            yield f"{page.path}: {page.source} has no section #{entry.section}"
        elif entry.target and entry.target not in headings:
            yield f"{page.path}: it has no section #{entry.target}, the counterpart of #{entry.section}"
        elif not entry.target and link_to(page, entry.section) not in page.body:
            yield f"{page.path}: it has no link to {page.source}#{entry.section}"


def link_to(page: Page, section: str) -> str:
    return f"]({os.path.relpath(page.source, os.path.dirname(page.path) or '.')}#{section})"


def lags_of(page: Page, sections: list[Section]) -> Iterator[Lag]:
    """The English sections that have changed since their translation."""
    entries = {entry.section: entry for entry in page.entries if entry.target}
    for section in sections:
        entry = entries.get(section.anchor)
        if entry and entry.digest != section.digest:
            yield Lag(page.path, page.source, section.heading, entry.target, entry.date)


def updated(page: Page, sections: list[Section], today: str) -> Page:
    """The page with the present digests. The date of a section that has not changed stays."""
    digests = {section.anchor: section.digest for section in sections}
    entries = [
        Entry(one.section, one.target, digests[one.section], today)
        if one.target and digests.get(one.section, one.digest) != one.digest
        else one
        for one in page.entries
    ]
    return Page(page.path, page.body, page.source, entries)


def linked(page: Page, sections: list[Section]) -> Page:
    """The page with a link for each English section that is new, and without lines for sections that are gone.

    A section whose text has only got another heading keeps its counterpart.
    """
    known = {entry.section: entry for entry in page.entries}
    anchors = {section.anchor for section in sections}
    gone = {entry.digest: entry for entry in page.entries if entry.section not in anchors and entry.digest}
    entries, new = [], []
    for section in sections:
        if section.anchor in known:
            entries.append(known[section.anchor])
        elif section.digest in gone:
            before = gone.pop(section.digest)
            entries.append(Entry(section.anchor, before.target, before.digest, before.date))
        else:
            entries.append(Entry(section.anchor))
            new.append(f"- [{section.heading}{link_to(page, section.anchor)}\n")
    body = page.body
    for entry in page.entries:
        if not entry.target and entry.section not in anchors:
            body = re.sub(rf"^- \[.*{re.escape(link_to(page, entry.section))}\n", "", body, flags=re.MULTILINE)
    if new:
        title = "" if UNTRANSLATED in body else f"\n{UNTRANSLATED}\n\n"
        body = f"{body.rstrip()}\n{title}{''.join(new)}\n"
    # A list whose last link is gone.
    body = re.sub(rf"{UNTRANSLATED}\n+\Z", "", body)
    return Page(page.path, body, page.source, entries)


def load(folder: Path) -> list[tuple[Page, list[Section]]]:
    """All Chinese pages with the sections of their English pages."""
    found = []
    for path in sorted(path for pattern in PAGES for path in folder.glob(pattern)):
        page = page_of(str(path.relative_to(folder)), path.read_text(encoding="utf-8"))
        if page.source and not (folder / page.source).is_file():
            raise Failure(f"{page.path}: there is no page {page.source}. Correct the name in its comment.")
        text = (folder / page.source).read_text(encoding="utf-8") if page.source else ""
        found.append((page, sections_of(text)))
    return found


def summary(lags: list[Lag]) -> str:
    """One line about all lags."""
    counts: dict[str, int] = {}
    for lag in lags:
        counts[lag.path] = counts.get(lag.path, 0) + 1
    listed = ", ".join(f"{path} ({count})" for path, count in counts.items())
    return f"warning: {len(lags)} sections of Chinese pages lag behind the English ones: {listed}. See CONTRIBUTING.md."


def main(folder: Path = CHECKOUT, arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--strict", action="store_true")
    mode.add_argument("--update", nargs="*", metavar="PAGE")
    mode.add_argument("--link", action="store_true")
    options = parser.parse_args(arguments)
    today = datetime.datetime.now(datetime.UTC).date()
    pages = load(folder)
    for place, (page, sections) in enumerate(pages):
        changed = page
        if options.update is not None and (not options.update or page.path in options.update):
            changed = updated(page, sections, today.isoformat())
        elif options.link:
            changed = linked(page, sections)
        if changed.text != page.text:
            (folder / page.path).write_text(changed.text, encoding="utf-8")
            pages[place] = (changed, sections)
    problems = [problem for page, sections in pages for problem in problems_of(page, sections)]
    if problems:
        raise Failure("\n".join([*problems, "Translate the sections, or run: python scripts/translations.py --link"]))
    lags = [lag for page, sections in pages for lag in lags_of(page, sections)]
    old = [lag for lag in lags if lag.days(today) > BOUND] if options.strict else []
    if lags and (options.check or options.strict):
        print(summary(lags))
    elif lags:
        print(*lags, sep="\n")
    if old:
        raise Failure("\n".join([*map(str, old), f"A release needs these sections: they lag for over {BOUND} days."]))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
