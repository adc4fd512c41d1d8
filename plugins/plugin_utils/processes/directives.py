# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""systemd directives of a unit file, as an inventory gives them."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.quoting import UNPRINTABLE

NAME = re.compile(r"[A-Z][A-Za-z0-9]*|X-[A-Za-z0-9-]+")


def directive_problem(name: Any, value: Any, section: str = "Service") -> str | None:
    """The problem with a directive and its value, or with one value of its list."""
    values = value if isinstance(value, (list, tuple)) else [value]
    if not NAME.fullmatch(str(name)) or any(isinstance(item, (dict, list, tuple)) for item in values):
        return f"{str(name)!r} is not a directive of [{section}] with its value. Write it as 'ProtectHome: read-only'."
    for item in values:
        if problem := line_problem(str(item)):
            return f"the value {str(item)!r} of {name} {problem}"
    return None


def line_problem(text: str) -> str | None:
    """Why a text can't stand on one line of a unit file, in words that continue a sentence."""
    if UNPRINTABLE.search(text) or text.endswith("\\"):
        return (
            "does not fit on one line of a unit file. Remove line breaks, other control characters and a backslash at "
            "the end."
        )
    return None
