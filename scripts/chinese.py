#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check the Chinese pages: punctuation, spaces beside Latin words, lines, and the words of the glossary.

    python scripts/chinese.py                   check all Chinese pages, as `make lint` does
    python scripts/chinese.py docs/zh/start.md  check these pages

The third column of the table in docs/zh/glossary.md lists the words that no other page may use.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = ("README.zh-CN.md", "docs/zh/*.md")
GLOSSARY = "docs/zh/glossary.md"
# Chinese characters, and the full-width punctuation marks.
HAN = r"[\u3400-\u9fff]"
FULL = r"[\u3001\u3002\uff0c\uff1a\uff1b\uff01\uff1f\uff08\uff09\u300a\u300b\u201c\u201d\u2026\u2014]"
# Inline code counts as a Latin word.
CODE = "\x00"
# The end of bold text behind a punctuation mark.
BOLD_END = "\x02"
LATIN = f"[A-Za-z0-9{CODE}]"
RULES = (
    (f"{HAN}[,;:!?]|[,;:!?]{HAN}", "write the punctuation mark in full width"),
    (rf"{HAN} ?\.(?=\s|$)", "end the sentence with a full-width stop"),
    (rf"{HAN} ?\(|\) ?{HAN}", "write the parenthesis in full width"),
    (f"{HAN}{LATIN}|{LATIN}{HAN}", "write a space between Chinese and Latin words"),
    (f"[^|\\x01] {FULL}|{FULL} (?=[^ |])", "write no space beside a full-width punctuation mark"),
    (rf"(?:{HAN}|{FULL})\n *(?:{HAN}|{FULL}|{LATIN})", "write the paragraph on one line"),
    (f"{HAN} +{HAN}", "write no space between Chinese characters"),
    # Markdown does not end bold text between a punctuation mark and a letter.
    (f"{FULL}{BOLD_END}", "write the punctuation mark after the bold text"),
)


def prose_of(text: str) -> str:
    """The text without code, comments and addresses. Each line keeps its number."""
    text = re.sub(r"<!--.*?-->", lambda match: "\n" * match[0].count("\n"), text, flags=re.DOTALL)
    lines, fence = [], ""
    for line in text.split("\n"):
        stripped = line.strip()
        if fence or stripped.startswith("```"):
            fence = "" if fence and stripped == "```" else "```"
            lines.append("")
        elif line.startswith("    ") or re.fullmatch(r"[|\s:-]+", line):
            lines.append("")
        elif stripped.startswith(("|", "#", "- ", "* ")) or re.match(r"\d+\. ", stripped):
            # A table row, a heading and an item begin a paragraph of their own.
            lines.append(f"\n{re.sub(r'^(?:#+|[-*]|[0-9]+[.])', '', stripped)}\n")
        else:
            lines.append(stripped)
    prose = "\n".join(line.replace("\n", "\x01") for line in lines)
    prose = re.sub(r"``[^`]*``|`[^`\n]*`", CODE, prose)
    prose = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", prose)
    return re.sub(r"\*\*([^*\n]+)\*\*", plain, prose)


def plain(bold: re.Match[str]) -> str:
    return bold[1] + (BOLD_END if re.search(f"{FULL}$", bold[1]) else "")


def findings_in(text: str, wrong: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """The line, the piece of text and the remedy of each finding."""
    prose = prose_of(text)
    rules = [*RULES, *((re.escape(word), f"write {right}, as the glossary does") for word, right in wrong.items())]
    for pattern, remedy in rules:
        for match in re.finditer(pattern, prose):
            piece = prose[max(0, match.start() - 8) : match.end() + 8].replace(CODE, "`…`").replace("\x01", " ")
            yield prose.count("\n", 0, match.start()) + 1, " ".join(piece.split()), remedy


def wrong_words(glossary: str) -> dict[str, str]:
    """The words that the glossary rejects, each with the word to use."""
    table = re.findall(r"^\|.*\|$", glossary, re.MULTILINE)
    rows = [[cell.strip() for cell in row.strip("| ").split("|")] for row in table]
    return {
        word: cells[1] for cells in rows[2:] for word in re.split("[\u3001\uff0c]", cells[2]) if word and word != "-"
    }


def main(arguments: list[str]) -> int:
    paths = [CHECKOUT / one for one in arguments] or sorted(path for one in PAGES for path in CHECKOUT.glob(one))
    wrong = wrong_words((CHECKOUT / GLOSSARY).read_text(encoding="utf-8"))
    count = 0
    for path in paths:
        name = str(path.relative_to(CHECKOUT))
        found = findings_in(path.read_text(encoding="utf-8"), {} if name == GLOSSARY else wrong)
        for line, piece, remedy in sorted(found):
            count += 1
            print(f"{name}:{line}: '{piece}': {remedy}.")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
