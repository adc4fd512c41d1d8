# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The releases, the log of deployments and the jobs of an application, for reports. Changes nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.job_runs import last_run
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import rollback_targets, skipped
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import hold_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import lease_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, manifests

# Bytes of the log of deployments that a hundred lines fit in.
HISTORY_BYTES = 256 * 1024
# Entries of the folder of job results that are read.
MOST_JOBS = 10_000


def history(layout: Layout) -> list[dict[str, Any]]:
    """The log of deployments; a line that an interruption has cut is passed over."""
    entries = []
    for line in tail(layout.history, HISTORY_BYTES).split("\n")[-101:]:
        with contextlib.suppress(ValueError):
            entries.append(json.loads(line))
    return entries


def jobs(layout: Layout) -> list[dict[str, Any]]:
    """The last run of each job that has ever run."""
    names = []
    # The application's account can write there, so there may be any number of files.
    with contextlib.suppress(OSError), os.scandir(layout.jobs) as entries:
        names = [entry.name for entry in itertools.islice(entries, MOST_JOBS) if entry.name.endswith(".json")]
    return [told for name in sorted(names) if (told := last_run(layout, name.removesuffix(".json")))]


def look(layout: Layout) -> dict[str, Any]:
    entries = history(layout)
    by = {entry.get("release"): entry.get("by", "") for entry in entries}
    known, current = manifests(layout), layout.current_release()
    targets = [manifest.id for manifest in rollback_targets(current, known)]
    return {
        "name": layout.name,
        "current": current or "",
        "releases": [
            {
                "id": manifest.id,
                "state": manifest.state,
                "revision": manifest.revision,
                "source": manifest.source,
                "run": manifest.run,
                "created": manifest.created,
                "by": by.get(manifest.id, "") or manifest.by,
                "reason": manifest.reason,
            }
            for manifest in known
        ],
        "targets": targets,
        "skipped": skipped(targets[0] if targets else "", current, known),
        "hold": hold_in_effect(layout),
        "lease": lease_in_effect(layout),
        "jobs": jobs(layout),
        "history": entries,
    }
