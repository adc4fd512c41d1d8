# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Explain why an image could not be made: the cause and the remedy, from the output of mmdebstrap and apt. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

UNKNOWN_PACKAGE = re.compile(
    r"Unable to locate package (\S+)|Package '([^']+)' has no installation candidate"
    r"|Couldn't find any package by \S+ '(\S+)'"
)
UNKNOWN_SUITE = re.compile(r"does not have a Release file|404\s+Not Found|is not (?:a )?valid suite", re.I)
UNSIGNED = re.compile(r"NO_PUBKEY|is not signed|couldn't be verified|Missing key|unauthenticated", re.I)
UNREACHABLE = re.compile(
    r"Could not resolve|Temporary failure resolving|Could not connect|Connection (?:refused|timed out)|Failed to fetch|"
    r"Unable to connect",
    re.I,
)
CONFLICT = re.compile(r"unmet dependencies|held broken packages|Unable to correct problems|conflicts", re.I)
FULL = re.compile(r"No space left on device|Disk quota exceeded|don't have enough free space", re.I)
MOST_LINES = 12


def explained(output: str, base: str, packages: Collection[str] = ()) -> str:
    """The message for an image that could not be made."""
    end = f"Its last output:\n{last(output)}"
    if FULL.search(output):
        return "the image could not be made, because the disk is full. Make room. What was made of it is removed."
    unknown = UNKNOWN_PACKAGE.search(output)
    if unknown:
        name = next(filter(None, unknown.groups())).rstrip(".,")
        return (
            f"container.packages: '{name}' is not in the archive of {base}. Correct the name, or choose another "
            "container.base."
        )
    if UNKNOWN_SUITE.search(output):
        return (
            f"container.base: '{base}' is not a suite of the archive that the host is installed from. Name one that "
            f"is, such as bookworm or trixie. {end}"
        )
    if UNSIGNED.search(output):
        return (
            f"container.base: the host has no keys for the archive of '{base}'. Update the package of its archive's "
            f"keys (debian-archive-keyring), or choose another base. {end}"
        )
    if UNREACHABLE.search(output):
        return f"the image could not be made, because the host does not reach its archive: check its network. {end}"
    if CONFLICT.search(output):
        named = ", ".join(packages)
        return f"container.packages: {named} can't be installed together on {base}. Correct the list. {end}"
    return f"the image of {base} could not be made. {end}"


def last(output: str) -> str:
    """The last lines, without reports of progress."""
    lines = [
        line
        for line in lines_of(output.strip())
        if line.strip() and not line.startswith(("I:", "done", "Reading", "Building"))
    ]
    return "\n".join(lines[-MOST_LINES:])
