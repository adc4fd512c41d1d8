# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Texts that are recorded or shown: without credentials, and without what a terminal acts on. Used on both sides."""

from __future__ import annotations

import hashlib
import re
from typing import Any

# Characters that a terminal or an editor acts on, or takes for the end of a line: controls except newline and tab, lone
# surrogates, the separators of Unicode, and the marks that change the direction of a text.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
# An address ends at a space or a quote.
WORD = re.compile(r"[^\s'\"]+")
ACCOUNT = re.compile(r"[^/:]*")
PORT = re.compile(r":\d+/")
# Levels of nested data. No answer of a module has ten.
DEEPEST = 50


def printable(text: str) -> str:
    """The text with each character that is not printable written as its number, such as ``\\x1b``."""
    return UNPRINTABLE.sub(escaped, text)


def one_line(text: str) -> str:
    """A printable text for one cell or one line of a report."""
    return printable(text).replace("\n", "\\n").replace("\t", " ")


def escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable_data(value: Any, depth: int = DEEPEST) -> Any:
    """Data with all its texts printable, also the keys. Raises ValueError for data that is nested too deeply."""
    if depth < 0:
        raise ValueError(f"data that is nested more than {DEEPEST} levels deep")
    if isinstance(value, str):
        # The same object where nothing changes: Ansible keeps notes about its texts.
        return printable(value) if UNPRINTABLE.search(value) else value
    if isinstance(value, dict):
        return {printable_data(key, depth - 1): printable_data(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable_data(item, depth - 1) for item in value]
    return value


def redacted(text: str) -> str:
    """A text without the credentials in its addresses: accounts and signed queries. Its time is linear."""
    return WORD.sub(lambda word: without_query(without_accounts(word[0])), text) if "://" in text else text


def without_accounts(word: str) -> str:
    """A word without the accounts of its addresses.

    A password may contain '/' or '@' that should have been encoded. A port is not treated as a password.
    """
    last = word.rfind("@")
    kept, at, start = [], 0, word.find("://") + 3
    while start > 2 and start <= last:
        name = ACCOUNT.match(word, start)
        colon = name.end() if name else start
        end = last
        if word[colon : colon + 1] != ":" or PORT.match(word, colon):
            slash = word.find("/", start)
            end = word.rfind("@", start, slash if slash >= 0 else len(word))
        if end >= start:
            kept += [word[at:start], "***@"]
            at = start = end + 1
        start = word.find("://", start) + 3
    return "".join([*kept, word[at:]])


def without_query(word: str) -> str:
    """A word without the query of the first address that has one."""
    mark = word.find("?", word.find("://")) if "://" in word else -1
    return f"{word[: mark + 1]}***" if -1 < mark < len(word) - 1 else word


def recorded(requirement: str) -> str:
    """A requirement as it may be recorded: redacted, and different from any that asks for something else.

    Another password makes no difference.
    """
    text = redacted(requirement)
    if text == requirement:
        return text
    named = re.sub(r"(?<=://)[^\s/'\"]*@", "", requirement)
    return f"{text} {hashlib.sha256(named.encode()).hexdigest()[:16]}"
