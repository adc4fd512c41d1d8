# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Lines of nginx's configuration: our own have quoted values, and the user's are printed unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

# A token of these characters needs no quotes. A backslash does, and so does '#', which would start a comment.
PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~*!?&^|\[\]()<>-]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# The lines around the user's directives. They allow to trace an error back to the user's own line.
BEGIN_EXTRA = "# begin {name}, as the inventory has it"
END_EXTRA = "# end {name}"


def quote(value: Any) -> str:
    """A value as one argument of a directive. Raises ValueError for a value that nginx can't hold."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"nginx_quote takes a string or a number, not {type(value).__name__}.")
    text = str(value)
    if "$" in text:
        raise ValueError(f"{text!r} can't be written for nginx, which reads '$' as a variable. Use another value.")
    if CONTROL.search(text):
        raise ValueError(f"{text!r} can't be written for nginx: it has a line break or a control character. Remove it.")
    if PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quoted(values: Iterable[Any]) -> str:
    """Several values as the arguments of one directive."""
    return " ".join(quote(value) for value in values)


def joined(text: str, variable: str, rest: str = "") -> str:
    """One argument of a plain text, a variable, and a plain text again."""
    before, after = (part.replace("\\", "\\\\").replace('"', '\\"') for part in (text, rest))
    quote(text + rest)
    return f'"{before}{variable}{after}"'


def block(head: str, lines: Iterable[str]) -> dict[str, Any]:
    """A block of plain lines, for a template that prints its braces."""
    return {"head": head, "lines": list(lines)}


def extra_lines(text: str, name: str) -> list[str]:
    """The user's directives between lines that name the input; no lines for an empty text."""
    if not text.strip():
        return []
    return [BEGIN_EXTRA.format(name=name), *lines_of(text.rstrip()), END_EXTRA.format(name=name)]


def unbalanced(text: str) -> str | None:
    """The problem with the braces, quotes or last semicolon of directives; None if there is none.

    nginx would report such a mistake at the end of the file, far from the user's line, or take it as the server's end.
    """
    depth, line, last, at_start = 0, 1, "", True
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\n":
            line += 1
        if character == "#" and at_start:
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
            continue
        if character == "\\":
            position, last, at_start = position + 2, "\\", False
            continue
        if character in "'\"" and at_start:
            end = position + 1
            while end < len(text) and text[end] != character:
                end += 2 if text[end] == "\\" else 1
            if end >= len(text):
                return f"line {line} opens a quote ({character}) that is never closed"
            line += text.count("\n", position, end)
            position, last, at_start = end + 1, character, False
            continue
        if text.startswith("${", position):
            end = text.find("}", position)
            if end > 0:
                position, last, at_start = end + 1, "}$", False
                continue
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth < 0:
                return f"line {line} closes a brace that was not opened there"
        if not character.isspace():
            last = character
        at_start = character.isspace() or character in "{};"
        position += 1
    if depth:
        return f"{depth} brace{'s are' if depth > 1 else ' is'} opened but never closed"
    if last and last not in ("", ";", "}"):
        return "the last directive lacks its semicolon"
    return None
