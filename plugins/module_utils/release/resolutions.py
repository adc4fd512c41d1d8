# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The resolutions that are recorded with releases: the exact packages that uv has found for their inputs."""

from __future__ import annotations

import os
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILT,
    GOOD,
    Layout,
    Manifest,
    ReleaseError,
    manifests,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.exact import digest_of, versions_of

RECORD = "resolution.toml"
INPUTS = "# The inputs: "
# The look reads these two lines alone.
VERSIONS = "# The versions: "
DIGEST = re.compile(r"[0-9a-f]{64}")


class Unresolved(ReleaseError):
    """A build that waits until the hosts of the run agree on versions. ``offer`` are those that this host has found."""

    def __init__(self, name: str, offer: dict[str, Any]) -> None:
        super().__init__(name, "its build waits for the versions that all hosts install.")
        self.offer = offer


def proven(layout: Layout) -> list[Manifest]:
    """The live release, then those that did not fail and were not rolled back, the newest first."""
    live, known = layout.current_release(), manifests(layout)
    others = [one for one in known if one.id != live and one.state in (BUILT, GOOD)]
    return [*(one for one in known if one.id == live), *others]


def recorded_list(layout: Layout, inputs: str) -> str:
    """The list that a release has recorded for equal inputs; empty for none."""
    for manifest in proven(layout):
        try:
            with open(os.path.join(layout.release(manifest.id), RECORD), encoding="utf-8") as stream:
                if stream.readline() == f"{INPUTS}{inputs}\n":
                    text = stream.read()
                    return text.partition("\n")[2] if text.startswith(VERSIONS) else text
        except (OSError, ValueError):
            continue
    return ""


def record_list(folder: str, inputs: str, text: str) -> None:
    """Record a list in the folder of a release. Only root reads it, because an address may hold a password."""
    head = f"{INPUTS}{inputs}\n{VERSIONS}{digest_of(versions_of(text))}\n"
    write(File(os.path.join(folder, RECORD), head + text, mode=0o600))


def given_away(wanted: dict[str, list[str]], root: str) -> dict[str, list[dict[str, Any]]]:
    """The versions that the releases of applications have recorded for inputs, for another host of the run."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, listed in wanted.items():
        for inputs in listed:
            text = recorded_list(Layout(name, root), inputs) if DIGEST.fullmatch(inputs) else ""
            if text:
                offer = {"inputs": inputs, "versions": versions_of(text), "recorded": True}
                found.setdefault(name, []).append(offer)
    return found
