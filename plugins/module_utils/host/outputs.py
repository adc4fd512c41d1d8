# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The output of a program, as it can be shown. Used on both sides."""

from __future__ import annotations

import signal
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import printable


def as_printed(text: str) -> list[str]:
    """The lines of an output, without what a terminal acts on.

    YAML prints a text as it is, unless a line of it has a tab or ends with a space. Then it prints escape sequences.
    """
    text = text.rstrip("\r\n")
    return [printable(line.rstrip("\r")).expandtabs().rstrip() for line in lines_of(text)] if text else []


def ending(command: str, status: int) -> str:
    """How a command has ended. A shell reports a signal as 128 plus its number."""
    by = ""
    with suppress(ValueError):
        by = f" ({signal.Signals(status - 128).name})" if status > 128 else ""
    return f"The command has ended with exit code {status}{by}: {printable(command)}"


def last_words(output: str, errors: str, most: int = 20) -> str:
    """The last lines of a program that has failed: its errors, or its output if it has written none."""
    return "\n".join((as_printed(errors) or as_printed(output))[-most:])


def cut_note(stream: str, size: int, most: int) -> list[str]:
    """A line that says that only the end of an output is there; no line if all of it is there."""
    return [f"(The {stream} is longer than {most // 1024**2} MiB. Its first part is left out.)"] if size >= most else []
