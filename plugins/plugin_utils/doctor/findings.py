# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Findings about the links of the chain from visitor to application."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of


@dataclass(frozen=True)
class Finding:
    """A link that is broken, or (``works``) one that will break on the next occasion."""

    link: str
    seen: str
    cause: str
    fix: str
    works: bool = False


def last_words(found: dict[str, Any]) -> str:
    """The exception with which the application or a part of it ended, and its place; empty if there was none."""
    if not found["traceback"]:
        return ""
    lines = [line.strip() for line in lines_of(found["traceback"]) if line.strip()]
    place = next((line for line in lines if line.startswith("File ")), "")
    match = re.match(r'File "(?:.*/src/)?(?P<file>[^"]+)", line (?P<line>\d+)', place)
    where = f" ({match['file']}, line {match['line']})" if match else ""
    return f"its last traceback ends with {lines[-1]}{where}"


def last_line(found: dict[str, Any]) -> str:
    """The last line of its log, for a program that prints no tracebacks."""
    lines = [line.strip() for line in lines_of(found["log"]) if line.strip()]
    return f"the last line of its log is: {lines[-1][:200]}" if lines else ""
