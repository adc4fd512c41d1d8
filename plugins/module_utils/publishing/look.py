# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The look of a host at itself, for its own status page. Changes nothing.

It asks less than webapp_inspect, so that its unit needs few rights: it reads no secret and no private key, takes no
other account, and runs no test of nginx.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.background import NEVER, look_at_processes
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.certificates import look_at_shown
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.interpreter import look_at_interpreter
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.job_runs import last_run
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.live import (
    ask_front,
    in_maintenance,
    last_switch,
    live_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.processes import look_at_deaths, look_at_process
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.seen import Managers, SeenSystemd, Units
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.units import look_at_units
from ansible_collections.pyweb.stack.plugins.module_utils.draining.flag import drained
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.machine import available_memory, disk
from ansible_collections.pyweb.stack.plugins.module_utils.logs.traffic import Window, count
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import processes
from ansible_collections.pyweb.stack.plugins.module_utils.publishing.releases import look
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import hold_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import lease_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest
from ansible_collections.pyweb.stack.plugins.module_utils.status.hosts import Answers
from ansible_collections.pyweb.stack.plugins.module_utils.status.page import SLICES
from ansible_collections.pyweb.stack.plugins.module_utils.status.row import passes, status_row
from ansible_collections.pyweb.stack.plugins.module_utils.tls.store import Wanted

PATIENCE = 5.0


class Quiet(SeenSystemd):
    """systemd without its journal, which the page does not show."""

    def log(self, service: str, instance: str, lines: int = 20) -> str:
        return ""


class OwnManagers(Managers):
    """The process managers, with the units that are known already."""

    def __init__(self, units: Units, run: Run) -> None:
        super().__init__([], units, run)
        self._systemd = Quiet(run, units, [], {}) if os.path.isdir("/run/systemd/system") else None


def answers_of(plan: dict[str, Any], run: Run, now: float) -> Answers:
    """The answers of this host, in the form in which status.yml has them of each host."""
    host, seconds = look_at_host(plan), plan["hours"] * 3600
    apps = look_at_apps(plan, host, run)
    traffic = {"apps": count([app["traffic"] for app in plan["apps"]], Window(now - seconds, now, SLICES))}
    releases = {"apps": [look(Layout(app["name"], plan["root"])) for app in plan["apps"]]}
    return Answers(plan["host"], {"apps": apps, "host": host}, traffic, releases)


def look_at_host(plan: dict[str, Any]) -> dict[str, Any]:
    master = processes.master("/run/nginx.pid")
    return {
        "name": plan["host"],
        "time": time.time(),
        "drained": drained() or {},
        "init": "systemd" if os.path.isdir("/run/systemd/system") else "none",
        "memory": available_memory(),
        "disks": [disk(path) for path in dict.fromkeys((plan["root"], "/var/log", "/run")) if os.path.isdir(path)],
        "nginx": {"installed": True, "running": master is not None},
    }


def look_at_apps(plan: dict[str, Any], host: dict[str, Any], run: Run) -> list[dict[str, Any]]:
    specs = plan["apps"]
    layouts = [Layout(spec["name"], plan["root"]) for spec in specs]
    with ThreadPoolExecutor(max_workers=8) as pool:
        fronts = list(pool.map(ask_front, specs))
        certificates = list(pool.map(look_at_certificates, specs))
    manifests = [live_manifest(at) for at in layouts]
    units = look_at_units(specs, layouts, manifests, run)
    managers = OwnManagers(units, run)
    found = []
    for spec, at, live, front, shown in zip(specs, layouts, manifests, fronts, certificates):
        seen = look_at_app(spec, at, live, managers, units)
        seen.update(front=front.as_dict(), certificates=shown)
        works = passes(seen["front"], spec["healthy"], spec["protected"])
        found.append({"name": at.name, "status": status_row(seen, host, works, {})})
    return found


def look_at_app(
    spec: dict[str, Any], layout: Layout, manifest: Manifest | None, managers: Managers, units: Units
) -> dict[str, Any]:
    """An application, apart from its answer: the values that a row of the status is made from."""
    name, live = layout.name, layout.current_release() or ""
    manager = manifest.process_manager if manifest else ""
    process = look_at_process(manager, name, live, managers, units)
    switched = last_switch(layout, live)
    background = look_at_processes(manifest, managers.named(manager), units) if manifest else []
    return {
        "name": name,
        "release": live,
        **{key: getattr(manifest, key, "") for key in ("revision", "source", "run")},
        "since": switched.get("time") or (manifest.created if manifest else ""),
        "hold": hold_in_effect(layout),
        "lease": lease_in_effect(layout),
        "without_service": switched.get("without_service"),
        "process_manager": manager,
        "server": spec["server"],
        "maintenance": in_maintenance(layout),
        "process": process,
        "deaths": look_at_deaths(layout, live, "", process.get("started", 0)) if live else None,
        "processes": background,
        "jobs": [{**NEVER, **last_run(layout, job["name"]), "name": job["name"]} for job in spec["jobs"]],
        "environment": look_at_interpreter(layout, manifest),
    }


def look_at_certificates(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The certificates that nginx serves. Their files hold the keys, too, so they are not read."""
    found = []
    for item in spec["certificates"]:
        shown: dict[str, Any] = {}
        try:
            shown = look_at_shown(Wanted(**{**item, "names": tuple(item["names"])}), {}, PATIENCE)
        except (OSError, ValueError):
            shown = {}
        found.append({"shown": shown, "disk": {}})
    return found
