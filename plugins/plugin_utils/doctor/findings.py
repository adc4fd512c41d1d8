# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What is found wrong with a link of the chain from visitor to application."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

# A process that was started again this often in the life of its release.
RESTARTS = 3


@dataclass(frozen=True)
class Finding:
    """A link that is broken, or (``works``) one that will break on the next occasion."""

    link: str
    seen: str
    cause: str
    fix: str
    works: bool = False


def last_words(found: dict[str, Any]) -> str:
    """The exception that the application, or a part of it, ended with, and where; else nothing."""
    if not found["traceback"]:
        return ""
    lines = [line.strip() for line in found["traceback"].splitlines() if line.strip()]
    place = next((line for line in lines if line.startswith("File ")), "")
    match = re.match(r'File "(?:.*/src/)?(?P<file>[^"]+)", line (?P<line>\d+)', place)
    where = f" ({match['file']}, line {match['line']})" if match else ""
    return f"its last traceback ends with {lines[-1]}{where}"


def last_line(found: dict[str, Any]) -> str:
    """The last thing that it wrote, for a program that knows no tracebacks."""
    lines = [line.strip() for line in found["log"].splitlines() if line.strip()]
    return f"the last that it wrote is: {lines[-1][:200]}" if lines else ""
