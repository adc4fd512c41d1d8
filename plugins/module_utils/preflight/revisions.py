# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The revisions of applications on a host, as far as hosts of one run compare them: the live ones and those held."""

from __future__ import annotations

import json
import os
from typing import Any


def revisions(names: list[str], root: str) -> dict[str, Any]:
    """``live`` and ``held`` of those applications that have any."""
    return {name: found for name in names if (found := of_application(os.path.join(root, name)))}


def of_application(home: str) -> dict[str, Any]:
    live = read(os.path.join(home, "current", "release.json"))
    held = read(os.path.join(home, ".hold.json")).get("releases")
    entries = [one for one in held if isinstance(one, dict)] if isinstance(held, list) else []
    # An entry for the live release has no effect.
    effective = [one for one in entries if content(one) != content(live)]
    found = {"live": text(live) if "source" in live else "", "held": [text(one) for one in effective]}
    return found if found["live"] or found["held"] else {}


def text(entry: dict[str, Any]) -> str:
    return str(entry.get("revision") or "")


def content(entry: dict[str, Any]) -> tuple[Any, Any]:
    return entry.get("fingerprint"), entry.get("venv")


def read(path: str) -> dict[str, Any]:
    """A file of root; empty if there is none. The build reports one that is damaged."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
