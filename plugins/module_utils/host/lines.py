# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lines of a text, as programs and files separate them. Pure."""

from __future__ import annotations


def lines_of(text: str) -> list[str]:
    """The lines of a text, without their ends. Only a newline ends a line.

    ``str.splitlines`` also ends one at U+2028 and other characters. For nginx, systemd and every other program these
    are inside of a line, so a value that contains one would become two lines here.
    """
    found = text.split("\n")
    return found if found[-1] else found[:-1]
