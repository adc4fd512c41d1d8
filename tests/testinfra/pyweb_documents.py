# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The code blocks of documents: inventories as files, and commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
HOWTO = CHECKOUT / "docs" / "guides" / "howto"
PATTERNS = ("*.md", "docs/**/*.md", "roles/*/*.md", "examples/**/*.md", "molecule/**/*.md", "tests/**/*.md")
PAGES = sorted(path for pattern in PATTERNS for path in CHECKOUT.glob(pattern) if path.name != "CHANGELOG.md")

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL
)
# The first line of a block that is a file: its path, and perhaps an explanation.
FILE = re.compile(r"^# (?P<path>[\w./-]+\.ya?ml)\b[^\n]*$", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
# A command begins a line or a step of a CI, or follows another command or its variables.
COMMAND = re.compile(
    r"(?:^|&& |\| |; |- |run: )"
    r"(?P<command>(?:[A-Z_]+=\S+ )*(?:ansible-[a-z]+|make|python3? scripts/\S+|pytest)(?: [^\n]*|$))"
)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, empty for an indented one, its text and its line."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A command of a page, as a shell splits it. ``complete`` is false for one within a sentence."""

    words: tuple[str, ...]
    line: int
    complete: bool


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, then the indented ones."""
    found = []
    rest = text
    for fence in FENCE.finditer(text):
        body = fence["text"]
        found.append(Block(fence["language"] or "none", body, text[: fence.start()].count("\n") + 2))
        rest = rest.replace(fence[0], re.sub(r"[^\n]", "", fence[0]), 1)
    lines = rest.splitlines()
    start = None
    for number, line in enumerate([*lines, "end"]):
        if start is None and line.startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            start = number
        elif start is not None and line.strip() and not line.startswith("    "):
            found.append(Block("", "\n".join(part.strip() for part in lines[start:number]) + "\n", start + 1))
            start = None
    return found


def yaml_blocks(text: str) -> list[Block]:
    return [block for block in blocks(text) if block.language == "yaml"]


def is_file(block: Block) -> bool:
    """Whether a block is the content of files, which it names."""
    return FILE.match(block.text) is not None


def inventories(text: str) -> list[dict[str, str]]:
    """The files of a page by their paths. A path that occurs again begins another set of files."""
    sets: list[dict[str, str]] = [{}]
    for block in yaml_blocks(text):
        if not is_file(block):
            continue
        names = list(FILE.finditer(block.text))
        ends = [name.start() for name in names[1:]] + [len(block.text)]
        for name, end in zip(names, ends, strict=True):
            if name["path"] in sets[-1]:
                sets.append({})
            sets[-1][name["path"]] = block.text[name.end() + 1 : end]
    return [files for files in sets if files]


def write(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def commands(text: str) -> Iterator[Command]:
    """The commands in all blocks and code spans of a page."""
    for block in blocks(text):
        # A line that ends in a backslash, or in an open option of a synopsis, continues.
        joined = re.sub(r"\\\n\s*|\n\s*(?=\[-)", " ", block.text)
        for number, line in enumerate(joined.splitlines()):
            for found in COMMAND.finditer(line.strip()):
                yield Command(words_of(found["command"]), block.line + number, complete=True)
    for number, line in enumerate(text.splitlines(), 1):
        for span in SPAN.findall(line):
            if re.match(r"(?:[A-Z_]+=\S+ )*(?:ansible-(?:playbook|vault|galaxy|doc) |make |\w+\.yml -|-e )", span):
                yield Command(words_of(span), number, complete=False)


def words_of(line: str) -> tuple[str, ...]:
    """The words of the first command of a line. Brackets and alternatives of a synopsis are resolved."""
    line = re.sub(r"\b(on|yes)\|(?:off|no)\b", r"\1", line)
    if " [-" in line:
        line = re.sub(r"[\[\]]", "", line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if re.fullmatch(r"[|;&<>]+", word):
            break
        words.append(word)
    return tuple(words)
