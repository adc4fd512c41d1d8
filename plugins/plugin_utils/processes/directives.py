# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Directives of a unit file in systemd's own words, as an inventory gives them."""

from __future__ import annotations

import re
from typing import Any

NAME = re.compile(r"[A-Z][A-Za-z0-9]*|X-[A-Za-z0-9-]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def directive_problem(name: Any, value: Any) -> str | None:
    """What is wrong with a directive and its value, or with one value of its list."""
    values = value if isinstance(value, (list, tuple)) else [value]
    if not NAME.fullmatch(str(name)) or any(isinstance(item, (dict, list, tuple)) for item in values):
        return f"'{name}' is not a directive of [Service] with its value. Write it as 'ProtectHome: read-only'."
    for text in map(str, values):
        if CONTROL.search(text) or text.endswith("\\"):
            return (
                f"the value {text!r} of {name} does not fit on one line of a unit file. Remove line breaks, other "
                "control characters and a backslash at the end."
            )
    return None
