# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""systemd directives of a unit file, as an inventory gives them."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.quoting import UNPRINTABLE

NAME = re.compile(r"[A-Z][A-Za-z0-9]*|X-[A-Za-z0-9-]+")

# The directives of our units whose values are lists. systemd adds the values of a repeated one, and an empty value
# removes those before it. So the values of an inventory add to ours. Those of other directives replace ours. That
# includes CapabilityBoundingSet and RestrictNamespaces: ours is empty, or no list, and '~' leaves out values of all.
LISTS = frozenset(
    [
        *("After", "Requires", "WantedBy"),
        *("Environment", "ExecStartPre", "ReadWritePaths", "ReadOnlyPaths"),
        *("RestrictAddressFamilies", "SystemCallFilter", "SystemCallArchitectures"),
    ]
)


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


def raw_values(value: Any) -> list[str]:
    """The values of a directive in systemd's syntax: booleans are yes and no, None is empty."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return ["yes" if item is True else "no" if item is False else "" if item is None else str(item) for item in values]


def added(ours: list[str], value: Any) -> list[str]:
    """The values of a list after an inventory has added its own. An empty one removes all values before it."""
    own = raw_values(value)
    # Only what follows the last empty value counts. The empty value itself also resets a drop-in of Debian.
    resets = [place for place, item in enumerate(own) if not item.strip()]
    return own[resets[-1] :] if resets else [*ours, *own]
