# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A command that is given as text: its words, as a shell would split them. No shell runs the command. Pure."""

from __future__ import annotations

import re
import shlex

# Lists of words that begin with a program. Their text has one meaning, while that of other lists has several.
COMMANDS = frozenset({"command", "program"})

# Quoted parts of a command: a backslash with its character, text between single quotes, text between double quotes.
PARTS = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
# Where a shell would not pass the text on: outside of quotes, and between double quotes.
OPERATOR = re.compile(r"[|&;<>]")
EXPANSION = re.compile(r"\$[A-Za-z_{(]\w*|`")
SUPERVISORS = re.compile(r"%\((\w+)\)")

SHELL = "To use a shell, write a list: [/bin/sh, -c, '…']."


def split_command(text: str) -> tuple[list[str], str]:
    """The words of a command, and the problem if it is not a plain command."""
    # A shell joins a line that ends in a backslash with the next one.
    text = text.replace("\\\n", " ")
    try:
        words = shlex.split(text)
    except ValueError:
        return [], "a quote is not closed, or a backslash is at the end. Close it."
    if not words:
        return [], "it is empty. Give the program's absolute path, then its arguments."
    outside = PARTS.sub(" ", text)
    if found := OPERATOR.search(outside):
        return [], f"'{found[0]}' needs a shell, but none runs the command. Put the word between quotes. {SHELL}"
    # A shell replaces nothing between single quotes.
    open_to_shell = PARTS.sub(lambda part: part[0] if part[0].startswith('"') else " ", text)
    if found := EXPANSION.search(re.sub(r"\\.", " ", open_to_shell)):
        return [], f"'{found[0]}' needs a shell, but none runs the command. Put it between single quotes. {SHELL}"
    if found := SUPERVISORS.search(text):
        return [], f"'{found[0]}' is not replaced: every % is a plain character. Write its value. {SHELL}"
    return words, ""
