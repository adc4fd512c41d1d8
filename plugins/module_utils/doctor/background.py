# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the background processes and the jobs of an application. Changes nothing."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.job_runs import last_run
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.seen import LOG_LINES, Units
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManager, ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import LOGS
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import (
    Rpc,
    SupervisorError,
    read_daemon,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemctl import LINE_BYTES, read_journal
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemd_instances import unit_state
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest

# The result of a job that never ran.
NEVER = dict.fromkeys(("release", "started", "state", "status", "seconds"))
# Seconds that supervisor may take for an answer.
PATIENCE = 5.0


def process_units(manifest: Manifest) -> list[str]:
    """The systemd units of the background processes of a release."""
    return [f"{process['service']}@{manifest.id}.service" for process in manifest.processes]


def job_timers(layout: Layout, jobs: list[dict[str, Any]]) -> list[str]:
    """The systemd units that start jobs."""
    return [f"{layout.name}.{job['name']}.timer" for job in jobs]


def look_at_processes(manifest: Manifest, manager: ProcessManager, units: Units) -> list[dict[str, Any]]:
    """Each background process of the live release: its state, and the log of one that failed."""
    found = []
    for process in manifest.processes:
        service = process["service"]
        unit = units.get(f"{service}@{manifest.id}.service")
        one: dict[str, Any] = {"service": service, "state": "absent", "restarts": 0, "up": 0.0, "log": ""}
        with contextlib.suppress(ProcessManagerError):
            if unit is not None:
                one |= state_of_unit(unit)
            else:
                one |= state_of_program(manager, service, manifest.id)
            if one["state"] != "running" or one["restarts"]:
                one["log"] = manager.log(service, manifest.id, LOG_LINES)
        found.append(one)
    return found


def state_of_unit(unit: dict[str, str]) -> dict[str, Any]:
    began = int(unit.get("ActiveEnterTimestampMonotonic") or 0) / 1_000_000
    return {
        "state": unit_state(unit, enabled=True),
        "restarts": int(unit.get("NRestarts") or 0),
        "up": max(0.0, time.monotonic() - began) if began else 0.0,
        "unit": unit,
    }


def state_of_program(manager: ProcessManager, service: str, instance: str) -> dict[str, Any]:
    info: dict[str, Any] = {}
    with contextlib.suppress(SupervisorError):
        info = Rpc(read_daemon(), timeout=PATIENCE).info(f"{service}-{instance}") or {}
    return {
        "state": manager.state(service, instance),
        "restarts": manager.restarts(service, instance),
        "up": float(max(0, info.get("now", 0) - info.get("start", 0))),
    }


def look_at_jobs(layout: Layout, jobs: list[dict[str, Any]], units: Units, run: Run) -> list[dict[str, Any]]:
    """Each job of the inventory: the result of its last run, and whether the next one will start."""
    systemd = os.path.isdir("/run/systemd/system")
    cron = False if systemd or not jobs else cron_runs()
    found = []
    for job in jobs:
        one = {**job, **NEVER, **last_run(layout, job["name"]), "scheduled": cron, "log": ""}
        if systemd:
            one["scheduled"] = units.get(f"{layout.name}.{job['name']}.timer", {}).get("ActiveState") == "active"
        if one["state"] in ("failed", "timed out"):
            one["log"] = job_log(f"{layout.name}.{job['name']}", systemd, run)
        found.append(one)
    return found


def job_log(service: str, systemd: bool, run: Run) -> str:
    if not systemd:
        return tail(f"{LOGS}/{service}.log", LOG_LINES * LINE_BYTES)
    fields = [f"_SYSTEMD_UNIT={service}.service", "_TRANSPORT=stdout", "-o", "cat"]
    rc, out, _err = read_journal(run, fields, LOG_LINES)
    return out if rc == 0 else ""


def cron_runs() -> bool:
    """Whether cron runs, which starts jobs on a host without systemd."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as stream:
            if stream.read().strip() == "cron":
                return True
    return False
