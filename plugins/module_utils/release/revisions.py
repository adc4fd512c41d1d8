# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The revision of a release: the identity of its deployment, which is the same on all hosts.

Its first eight digits, the base, come from the controller: a digest of the source, of the requirements and of the
settings, without values of one host. The last four stand for the exact packages. A release that installs recorded
packages gets the digits of the release that has recorded them.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import digest
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    Manifest,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.resolutions import INPUTS, RECORD, VERSIONS, proven

BASE = re.compile(r"[0-9a-f]{8}")
REVISION = re.compile(r"[0-9a-f]{12}")
# The digits of a release whose packages were not resolved, because the source lists them exactly.
EXACT = "0000"
MOST_LINE = 200


def is_revision(text: object) -> bool:
    return isinstance(text, str) and REVISION.fullmatch(text) is not None


def with_revision(layout: Layout, manifest: Manifest, base: str) -> Manifest:
    """The manifest of a complete release, with its revision, as far as its host alone knows it."""
    if BASE.fullmatch(base):
        manifest.revision = base + (known_packages(layout, manifest.id) or new_packages(layout, manifest.id))
    return manifest


def known_packages(layout: Layout, release: str) -> str:
    """The digits of an earlier release with the same packages; empty if they are new."""
    wanted = record_of(layout, release)
    if not wanted[0]:
        return EXACT
    for manifest in proven(layout):
        if manifest.id != release and is_revision(manifest.revision) and record_of(layout, manifest.id) == wanted:
            return manifest.revision[8:]
    return ""


def new_packages(layout: Layout, release: str) -> str:
    return digest(record_of(layout, release)[1])[:4]


def record_of(layout: Layout, release: str) -> tuple[str, str]:
    """The inputs and the digest of the versions that a release has recorded; empty if it has recorded none."""
    try:
        with open(os.path.join(layout.release(release), RECORD), encoding="utf-8") as stream:
            first, second = stream.readline(MOST_LINE), stream.readline(MOST_LINE)
    except (OSError, ValueError):
        return "", ""
    return (first, second) if first.startswith(INPUTS) and second.startswith(VERSIONS) else ("", "")


def with_agreed_revision(layout: Layout, manifest: Manifest, spec: dict[str, Any]) -> Manifest:
    """The manifest of a candidate, with the run that switches to it, and the revision that it has on all hosts.

    The revision is known only when all hosts have built: a host may have found packages that others did not know.
    """
    given, run = spec.get("revision"), (spec.get("lease") or {}).get("run")
    wanted = (str(given) if is_revision(given) else manifest.revision, run or manifest.run)
    if spec.get("candidate") == manifest.id and wanted != (manifest.revision, manifest.run):
        manifest.revision, manifest.run = wanted
        # At once: a later call may complete the switch.
        write_manifest(layout, manifest)
    return manifest


def log_fields(manifest: Manifest, run: str | None) -> dict[str, str]:
    """Which deployment a release belongs to, for the log of deployments. ``run`` is the run that writes it."""
    found = {"revision": manifest.revision, "source": manifest.source, "run": run}
    return {key: value for key, value in found.items() if value}
