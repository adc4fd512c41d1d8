# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The directives in a text for nginx. Pure."""

from __future__ import annotations

import re

# One token of nginx's language: spaces, a comment, a sign, or a word.
TOKEN = re.compile(
    r"\s+|(?P<comment>#[^\n]*)|(?P<sign>[{};])"
    r"|(?P<word>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|(?:\\.|\$\{\w*\}|[^\s;{}\\])+)",
    re.DOTALL,
)


def statements(text: str) -> list[tuple[str, str]]:
    """The directives outside of blocks, with their blocks: the name of each, and its text."""
    found: list[tuple[str, str]] = []
    name, start, depth = "", 0, 0
    for token in TOKEN.finditer(text):
        if token["word"] and not name:
            name, start = token["word"], token.start()
        if token["sign"] and token["sign"] != ";":
            depth += 1 if token["sign"] == "{" else -1
        if token["sign"] in (";", "}") and depth == 0 and name:
            found.append((name, text[start : token.end()]))
            name = ""
    return found
