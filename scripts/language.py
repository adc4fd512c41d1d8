#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check the language of documents, comments and messages against the rules in .config/language.yml.

    python scripts/language.py                     check every file, as `make lint` does
    python scripts/language.py docs/guides/tls.md  print every finding in these files
    python scripts/language.py --update            lower the baseline to the present counts

The baseline, .config/language-baseline.txt, holds the number of accepted findings per file. A file with more fails.
New files may use the allowance of files that no longer exist, so moving or splitting a file needs no change there.
"""

from __future__ import annotations

import argparse
import ast
import functools
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
RULES = CHECKOUT / ".config" / "language.yml"
BASELINE = CHECKOUT / ".config" / "language-baseline.txt"

# Keys of YAML files whose values are read by people, and the kind of text that they hold.
YAML_KINDS = {
    "name": "task",
    "description": "description",
    "short_description": "description",
    "msg": "message",
    "fail_msg": "message",
    "success_msg": "message",
}
# Not prose: inline code, Ansible's markup, Jinja expressions, addresses.
CODE = re.compile(
    r"``[^`]*``|`[^`]*`|\b(?:C|V|O|M|P|E|RV|U)\((?:[^()]|\([^()]*\))*\)|\{\{.*?\}\}|\{%.*?%\}|\{#|#\}|https?://\S+",
    re.DOTALL,
)
SENTENCE_END = re.compile(r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<=[.!?])[)\"'*_]*\s+")
WORD = re.compile(r"[^\W_][\w'.,/-]*|\x00+")


@dataclass(frozen=True)
class Segment:
    """A piece of text that people read: where it is and what kind of text it is."""

    kind: str
    line: int
    text: str

    @functools.cached_property
    def prose(self) -> str:
        """The text with every piece of code replaced by as many NUL characters; line breaks stay."""
        return CODE.sub(lambda match: re.sub(r"[^\n]", "\x00", match[0]), self.text)


@dataclass(frozen=True)
class Rule:
    """A construction that must not occur, and what to write instead."""

    name: str
    pattern: re.Pattern[str]
    instead: str
    reason: str
    kinds: frozenset[str]

    def matches(self, segment: Segment) -> Iterator[re.Match[str]]:
        if not self.kinds or segment.kind in self.kinds:
            yield from self.pattern.finditer(segment.prose)


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    rule: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: '{self.found}'. {self.remedy}"


@dataclass(frozen=True)
class Settings:
    rules: tuple[Rule, ...]
    exclude: tuple[str, ...]
    sentence_words: int
    sentence_kinds: frozenset[str]


def load_settings(path: Path = RULES) -> Settings:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    rules = tuple(
        Rule(
            name=rule["name"],
            # A space in a pattern also matches a line break.
            pattern=re.compile(rule["pattern"].replace(" ", r"\s+"), 0 if rule.get("case") else re.IGNORECASE),
            instead=rule["instead"],
            reason=rule["reason"],
            kinds=frozenset(rule.get("kinds", ())),
        )
        for rule in data["rules"]
    )
    sentences = data["sentences"]
    return Settings(rules, tuple(data["exclude"]), sentences["words"], frozenset(sentences["kinds"]))


# Markdown


def markdown_segments(text: str) -> Iterator[Segment]:
    """Paragraphs, list items, headings and table cells; of code blocks only the comments."""
    block: list[str] = []
    start = 1
    fence = ""

    def finished() -> Iterator[Segment]:
        if block:
            yield Segment("markdown", start, "\n".join(block))
            block.clear()

    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if fence or stripped.startswith(("```", "~~~")):
            yield from finished()
            if not fence:
                fence = stripped[:3]
            elif stripped == fence:
                fence = ""
            else:
                yield from code_comment(number, line)
        elif line.startswith("    ") and not block:
            yield from code_comment(number, line)
        elif not stripped or stripped.startswith(("#", "|")) or set(stripped) <= set("-=*"):
            yield from finished()
            if stripped.startswith("|"):
                for cell in re.split(r"(?<!\\)\|", stripped.strip("|")):
                    yield Segment("markdown", number, unlinked(cell.strip()))
            elif stripped.startswith("#"):
                yield Segment("markdown", number, unlinked(stripped.lstrip("# ")))
        else:
            if re.match(r"\s*([-*+]|\d+\.)\s", line):
                yield from finished()
                stripped = re.sub(r"^([-*+]|\d+\.)\s+", "", stripped)
            if not block:
                start = number
            block.append(unlinked(stripped))
    yield from finished()


def unlinked(text: str) -> str:
    """Text with each link replaced by what the link shows."""
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)


def code_comment(number: int, line: str) -> Iterator[Segment]:
    if found := re.search(r"(?:^|\s)#\s+(.*)", line):
        yield Segment("comment", number, found[1])


# Python


def python_segments(text: str) -> Iterator[Segment]:
    """Docstrings, comments, and string literals of at least three words."""
    yield from hash_comments(python_comments(text))
    tree = ast.parse(text)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    }
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner.update(id(part) for part in ast.walk(node) if part is not node)
            literal = "".join(str(part.value) if isinstance(part, ast.Constant) else "\x00" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            literal = node.value
        else:
            continue
        kind = "docstring" if id(node) in docstrings else "string"
        if id(node) not in inner and (kind == "docstring" or len(re.findall(r"[A-Za-z]{2,}", literal)) >= 3):
            yield Segment(kind, node.lineno, literal)


def python_comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#! ")


def hash_comments(comments: Iterator[tuple[int, str]]) -> Iterator[Segment]:
    """Comments, with those on consecutive lines put together."""
    start, lines = 0, list[str]()
    for number, text in comments:
        if lines and number != start + len(lines):
            yield Segment("comment", start, "\n".join(lines))
            lines = []
        if not lines:
            start = number
        lines.append(text)
    if lines:
        yield Segment("comment", start, "\n".join(lines))


def line_comments(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.search(r"(?:(?:^|\s)#+|^;) (.*)", line):
            yield number, found[1]


# YAML and the rest


def yaml_segments(path: str, text: str) -> Iterator[Segment]:
    """Comments, and the values of keys that people read; of a changelog fragment every value."""
    yield from hash_comments(line_comments(text))
    everything = "changelog" if path.startswith("changelogs/fragments/") else ""
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError:
        return
    seen: set[int] = set()
    for document in documents:
        yield from node_segments(document, everything, seen)


def node_segments(node: Any, kind: str, seen: set[int]) -> Iterator[Segment]:
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        if kind and node.tag == "tag:yaml.org,2002:str":
            yield Segment(kind, node.start_mark.line + (2 if node.style in ("|", ">") else 1), node.value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from node_segments(item, kind, seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            own = YAML_KINDS.get(key.value, "") if isinstance(key, yaml.ScalarNode) else ""
            nested = isinstance(value, yaml.MappingNode)
            yield from node_segments(value, kind or ("" if nested else own), seen)


def segments_of(path: str, text: str) -> Iterator[Segment]:
    """The texts of a file that people read, by the kind of the file."""
    name = Path(path).name
    if path.endswith(".md"):
        yield from markdown_segments(text)
    elif path.endswith(".py"):
        yield from python_segments(text)
    elif path.endswith((".yml", ".yaml")):
        yield from yaml_segments(path, text)
    elif (
        path.endswith((".j2", ".sh", ".toml", ".cfg", ".in", ".conf", ".cron", ".service", ".timer"))
        or name == "Makefile"
    ):
        yield from hash_comments(line_comments(text))


# Findings


def findings_in(path: str, text: str, settings: Settings) -> list[Finding]:
    found = []
    for segment in segments_of(path, text):
        for rule in settings.rules:
            for match in rule.matches(segment):
                begin = match.end() - len(match[0].lstrip())
                line = segment.line + segment.text[:begin].count("\n")
                shown = " ".join(match[0].replace("\x00", "…").split())
                found.append(Finding(path, line, rule.name, shown, f"Write: {rule.instead}. {rule.reason}"))
        if segment.kind in settings.sentence_kinds:
            found += long_sentences(path, segment, settings.sentence_words)
    return sorted(found, key=lambda one: (one.line, one.rule))


def long_sentences(path: str, segment: Segment, limit: int) -> Iterator[Finding]:
    text = segment.prose
    start = 0
    for end in [match.start() for match in SENTENCE_END.finditer(text)] + [len(text)]:
        words = len(WORD.findall(text[start:end]))
        if words > limit:
            sentence = text[start:end].strip()
            line = segment.line + text[: text.index(sentence, start)].count("\n")
            shown = " ".join(segment.text[start:end].split())[:60] + "…"
            yield Finding(path, line, "sentence-length", shown, f"{words} words; write at most {limit}, rather 25.")
        start = end


def listed_files() -> list[str]:
    """The files that git tracks or would add."""
    command = ["git", "-C", str(CHECKOUT), "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run([*command, "--exclude-standard"], capture_output=True, text=True, check=True).stdout
    paths = sorted(set(filter(None, listed.split("\0"))))
    return [path for path in paths if (CHECKOUT / path).is_file() and not (CHECKOUT / path).is_symlink()]


def check_files(paths: list[str], settings: Settings) -> dict[str, list[Finding]]:
    found = {}
    for path in paths:
        if not any(fnmatch(path, pattern) for pattern in settings.exclude):
            found[path] = findings_in(path, (CHECKOUT / path).read_text(encoding="utf-8", errors="replace"), settings)
    return {path: findings for path, findings in found.items() if findings}


def load_baseline(path: Path = BASELINE) -> dict[str, int]:
    if not path.exists():
        return {}
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {name: int(count) for count, name in (line.split(" ", 1) for line in lines)}


def excessive(counts: dict[str, int], baseline: dict[str, int], existing: set[str]) -> list[str]:
    """Files with more findings than the baseline allows. New files share the allowance of files that are gone."""
    shared = sum(count for path, count in baseline.items() if path not in existing)
    failed = [path for path, count in counts.items() if path in baseline and count > baseline[path]]
    new = {path: count for path, count in counts.items() if path not in baseline}
    return sorted(failed + (list(new) if sum(new.values()) > shared else []))


def write_baseline(counts: dict[str, int], path: Path = BASELINE) -> None:
    head = "# Accepted findings per file. Lower them with: python scripts/language.py --update\n"
    path.write_text(head + "".join(f"{count} {name}\n" for name, count in sorted(counts.items())), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", help="print every finding in these files, without the baseline")
    parser.add_argument("--update", action="store_true", help="lower the baseline to the present counts")
    options = parser.parse_args()
    settings = load_settings()
    existing = listed_files()
    chosen = [
        path for path in existing if any(path == one or path.startswith(one.rstrip("/") + "/") for one in options.paths)
    ]
    found = check_files(chosen if options.paths else existing, settings)
    if options.paths:
        print(*(finding for findings in found.values() for finding in findings), sep="\n")
        return 1 if found else 0
    counts = {path: len(findings) for path, findings in found.items()}
    baseline = load_baseline()
    if options.update and (not BASELINE.exists() or sum(counts.values()) <= sum(baseline.values())):
        write_baseline(counts)
        return 0
    failed = excessive(counts, baseline, set(existing))
    for path in failed:
        print(*found[path], sep="\n")
    if failed:
        print(
            f"language: {len(failed)} files have more findings than .config/language-baseline.txt allows",
            file=sys.stderr,
        )
    elif sum(counts.values()) < sum(baseline.values()):
        print("language: the baseline can be lowered: python scripts/language.py --update", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
