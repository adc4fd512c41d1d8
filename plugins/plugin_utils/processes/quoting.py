# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Quote words and commands, so that systemd and supervisor read back exactly what was given."""

from __future__ import annotations

import re
import shlex
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.texts import UNWRITABLE

# A word that systemd reads as it is.
_PLAIN = re.compile(r"[A-Za-z0-9_./:=@%+,$-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
# Control characters, and halves of surrogate pairs, which can't be encoded. No line of a file holds them.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class QuotingError(ValueError):
    """A value that can't be quoted, and the remedy."""


def double_percent(value: str, instance: bool = False) -> str:
    """Double every %, except that of %i if it stands for the instance of a template."""
    return re.sub(r"%(?!i)" if instance else "%", "%%", value)


def systemd_quote(value: Any, instance: bool = False) -> str:
    """A word, or a list of words as ExecStart= takes it, for a unit file."""
    if isinstance(value, (list, tuple)):
        # systemd puts no variables into the program's path, so a $ there stays single.
        return " ".join(_systemd_word(str(word), instance, command=index > 0) for index, word in enumerate(value))
    return _systemd_word(str(value), instance, command=False)


def _systemd_word(value: str, instance: bool, command: bool) -> str:
    if problem := systemd_word_problem(value):
        raise QuotingError(f"systemd_quote: {value!r} {problem}")
    text = double_percent(value, instance)
    if command:
        text = text.replace("$", "$$")
    if _PLAIN.fullmatch(text):
        return text
    return '"' + "".join(_systemd_character(character) for character in text) + '"'


def systemd_word_problem(value: str) -> str | None:
    """Why a word can't be quoted for systemd, in words that continue a sentence."""
    if UNWRITABLE.search(value):
        return "has a NUL character or half of a surrogate pair, which no unit file can hold. Remove it."
    return None


def _systemd_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return f"\\x{ord(character):02x}" if ord(character) < 32 or ord(character) == 127 else character


def supervisor_quote(value: Any, instance: bool = False) -> str:
    """A word, or a list of words, for the option command of a program file."""
    if isinstance(value, (list, tuple)):
        return " ".join(_supervisor_word(str(word), instance) for word in value)
    return _supervisor_word(str(value), instance)


def _supervisor_word(value: str, instance: bool) -> str:
    if problem := supervisor_word_problem(value):
        raise QuotingError(f"supervisor_quote: {value!r} {problem}")
    # An ini file's comment begins at a ; or # after a space, even inside quotes. So close and reopen the quotes there.
    quoted = re.sub(r"(?<=\s)(?=[;#])", "''", shlex.quote(value))
    # supervisor replaces %(here)s even if its % is doubled. So break it up.
    quoted = quoted.replace("%(here)s", "%(''here)s")
    return double_percent(quoted, instance)


def supervisor_word_problem(value: str) -> str | None:
    """Why a word can't be quoted for supervisor, in words that continue a sentence."""
    if UNPRINTABLE.search(value):
        return (
            "has a newline or another control character, which no program file can hold. Hand it to the program in a "
            "file."
        )
    return None
