# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at units of systemd. Changes nothing."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.background import job_timers, process_units
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest

# Properties of an instance: its state, its exit, and its sandbox.
UNIT_PROPERTIES = (
    "Id",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "Restart",
    "MainPID",
    "ExecMainStatus",
    "ExecMainCode",
    "User",
    "NoNewPrivileges",
    "ProtectSystem",
    "ProtectHome",
    "ProtectProc",
    "PrivateTmp",
    "PrivateDevices",
    "RestrictSUIDSGID",
    "CapabilityBoundingSet",
    "MemoryMax",
    "Job",
    "ActiveEnterTimestampMonotonic",
)


def look_at_units(
    specs: list[dict[str, Any]], layouts: list[Layout], manifests: list[Manifest | None], run: Run
) -> dict[str, dict[str, str]]:
    """The units of the live releases and of the jobs, by name. One command shows all of them."""
    names = []
    for spec, at, live in zip(specs, layouts, manifests):
        if live and live.process_manager == "systemd":
            names += [f"{at.name}@{live.id}.service", *process_units(live)]
        names += job_timers(at, spec["jobs"])
    if not names or not os.path.isdir("/run/systemd/system"):
        return {}
    _rc, out, _err = run(["systemctl", "show", f"--property={','.join(UNIT_PROPERTIES)}", *names])
    blocks = [properties(block) for block in out.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in lines_of(text) if "=" in line)
