# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The resolutions that the releases of applications have recorded, as far as hosts compare them."""

from __future__ import annotations

import json
import os
from typing import Any

# The lines of module_utils/release/resolutions.py, and the states of releases that did not fail.
RECORD, INPUTS, VERSIONS = "resolution.toml", "# The inputs: ", "# The versions: "
PROVEN = ("built", "good")
MOST_LINE = 200


def recorded(names: list[str], root: str) -> dict[str, Any]:
    """The resolutions of those applications that have any."""
    return {name: found for name in names if (found := resolutions(name, root))}


def resolutions(name: str, root: str) -> dict[str, Any]:
    """``known`` holds the digest of the versions for each of the inputs. The live release comes first."""
    home = os.path.join(root, name)
    try:
        live = os.path.basename(os.readlink(os.path.join(home, "current")))
    except OSError:
        live = ""
    known: dict[str, str] = {}
    for identity in ([live] if live else []) + [one for one in names_of(home) if one != live]:
        folder = os.path.join(home, "releases", identity)
        if identity != live and state_of(folder) not in PROVEN:
            continue
        inputs, versions = lines_of(folder)
        if inputs:
            known.setdefault(inputs, versions)
    return {"known": known} if known else {}


def names_of(home: str) -> list[str]:
    """The releases, the newest first."""
    try:
        return sorted(os.listdir(os.path.join(home, "releases")), reverse=True)
    except OSError:
        return []


def state_of(folder: str) -> str:
    try:
        with open(os.path.join(folder, "release.json"), encoding="utf-8") as stream:
            return str(json.load(stream)["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def lines_of(folder: str) -> tuple[str, str]:
    """The inputs of a release's resolution, and the digest of its versions; empty for none.

    A record of an earlier version of this collection has no digest.
    """
    try:
        with open(os.path.join(folder, RECORD), encoding="utf-8") as stream:
            first, second = stream.readline(MOST_LINE), stream.readline(MOST_LINE)
    except (OSError, ValueError):
        return "", ""
    if not first.startswith(INPUTS):
        return "", ""
    digest = second[len(VERSIONS) :].strip() if second.startswith(VERSIONS) else ""
    return first[len(INPUTS) :].strip(), digest
