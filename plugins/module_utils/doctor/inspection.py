# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the applications of a host, and at everything between them and their clients. Changes nothing.

The result is plain data. The controller diagnoses the problems (plugin_utils/doctor).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.background import look_at_jobs, look_at_processes
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.certificates import look_at_certificate
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.environment import look_at_environment
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.files import (
    look_at_files,
    look_at_modes,
    look_at_static,
)
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.live import (
    PATIENCE,
    ask_front,
    in_maintenance,
    last_switch,
    live_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.nginx import (
    is_configured,
    nginx_errors,
    sites_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.processes import (
    last_traceback,
    look_at_deaths,
    look_at_log,
    look_at_process,
    sees_others,
)
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.secrets import private_files, told_by_command_lines
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.seen import MOST_COMMANDS, Managers, Units
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.sockets import look_at_sockets
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.strangers import (
    look_at_strangers,
    strangers,
    target_of,
    tried_by,
)
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.symptoms import (
    WINDOW,
    look_at_refusals,
    look_at_requests,
)
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.units import look_at_units
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.worlds import look_at_worlds
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.writing import look_at_groups, look_at_writing
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer, Question, ask
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import hold_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import has_lease, lease_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.masking import masked, secret_values
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest
from ansible_collections.pyweb.stack.plugins.module_utils.release.secret_files import private_values, release_variables

# nginx, about an answer of the application.
TOO_BIG = "upstream sent too big header"


def look_at_apps(
    specs: list[dict[str, Any]], root: str, group: str, run: Run, conf_dir: str = "/etc/nginx"
) -> list[dict[str, Any]]:
    """Every application. The requests run in parallel, so that a hanging request does not delay the others."""
    layouts = [Layout(spec["name"], root) for spec in specs]
    asked = time.time()
    with ThreadPoolExecutor(max_workers=32) as pool:
        direct = [pool.submit(ask_direct, spec, at) for spec, at in zip(specs, layouts)]
        front = [pool.submit(ask_front, spec) for spec in specs]
        static = [[pool.submit(look_at_static, spec, item, root, group) for item in spec["static"]] for spec in specs]
        folder = f"{conf_dir}/pyweb/certificates"
        shown = [[pool.submit(look_at_certificate, item, folder) for item in spec["certificates"]] for spec in specs]
    # Read the logs after the requests, which write to them.
    if os.path.isdir("/run/systemd/system"):
        run(["journalctl", "--sync"])
    manifests = [live_manifest(at) for at in layouts]
    units = look_at_units(specs, layouts, manifests, run)
    shared = look_together(layouts, manifests, units, run, conf_dir)
    # Run this part without threads, because it forks to switch accounts.
    sockets = look_at_sockets(layouts, group)
    found = [look_at_app(spec, at, live, shared, run, asked) for spec, at, live in zip(specs, layouts, manifests)]
    for number, entry in enumerate(found):
        entry["socket"] = sockets[entry["name"]]
        entry["direct"], entry["front"] = direct[number].result().as_dict(), front[number].result().as_dict()
        entry["static"] = [folder.result() for folder in static[number]]
        entry["certificates"] = [one.result() for one in shown[number]]
    return with_strangers(found, layouts, manifests)


@dataclass(frozen=True)
class Shared:
    """The answers that one command, or commands at the same time, gave about all applications."""

    units: Units
    managers: Managers
    worlds: dict[str, dict[str, Any]]
    sites: list[str] | None


def look_together(
    layouts: list[Layout], manifests: list[Manifest | None], units: Units, run: Run, conf_dir: str
) -> Shared:
    """Ask about all applications together. Each command takes much longer than its answer."""
    live = [(at.name, one.id) for at, one in zip(layouts, manifests) if one and one.process_manager == "systemd"]
    with ThreadPoolExecutor(max_workers=MOST_COMMANDS) as pool:
        worlds = pool.map(look_at_worlds, layouts)
        managers = Managers(live, units, run)
        by_name = {at.name: world for at, world in zip(layouts, worlds)}
    return Shared(units, managers, by_name, sites_of(conf_dir))


def with_strangers(
    found: list[dict[str, Any]], layouts: list[Layout], manifests: list[Manifest | None]
) -> list[dict[str, Any]]:
    """The applications with what other accounts reach of them, and with the secrets that they show."""
    secrets = {at.name: secret_variables(at) for at in layouts}
    own, always = private_files(secrets)
    targets = [target_of(at, [*own[at.name], *always]) for at in layouts]
    accounts = strangers(layouts[0].root) if layouts else []
    reached = look_at_strangers(targets, accounts)
    for entry, target, manifest in zip(found, targets, manifests):
        entry.update(reached[target.name])
        unread = entry.pop("unread")
        entry["tried"] = {
            "accounts": tried_by(target, accounts),
            "processes": target.processes,
            "secrets": len(secret_values(secrets[target.name])),
            "unread": [unread["path"]] if unread else [],
        }
        entry["told"] = told_by_command_lines(target.processes, secrets[target.name])
        is_unit = manifest is not None and manifest.process_manager == "systemd"
        entry["open_proc"] = [pid for pid in target.processes if sees_others(pid)] if is_unit else None
    return found


def secret_variables(layout: Layout) -> dict[str, str]:
    live = layout.current_release()
    return private_values(layout, live) if live else {}


def ask_direct(spec: dict[str, Any], layout: Layout) -> Answer:
    return ask(Question(unix_socket=layout.current_socket, **spec["question"]), PATIENCE)


def look_at_app(
    spec: dict[str, Any],
    layout: Layout,
    manifest: Manifest | None,
    shared: Shared,
    run: Run,
    asked: float,
) -> dict[str, Any]:
    """One application. ``asked`` is the time of the requests, to find their lines in the logs."""
    name, live, units = layout.name, layout.current_release() or "", shared.units
    manager = manifest.process_manager if manifest else ""
    variables = release_variables(layout, live) if live else {}
    log = look_at_log(manager, name, live, shared.managers) if manifest else ""
    secrets = private_values(layout, live) if live else {}
    process = look_at_process(manager, name, live, shared.managers, units)
    deaths = look_at_deaths(layout, live, log, process.get("started", 0)) if live else None
    if deaths and deaths["count"]:
        deaths["reason"] = masked(deaths["reason"], secrets)
    sites = [f"/var/log/nginx/{name}.error.log", "/var/log/nginx/error.log"]
    errors = [line for path in sites for line in nginx_errors(path, f"/{name}/current.sock", asked)]
    switched = last_switch(layout, live)
    processes = look_at_processes(manifest, shared.managers.named(manager), units) if manifest else []
    jobs = look_at_jobs(layout, spec["jobs"], units, run)
    for one in (*processes, *jobs):
        one["traceback"] = masked(last_traceback(one["log"]), secrets)
        one["log"] = masked("\n".join(lines_of(one["log"])[-5:]), secrets)
    return {
        "name": name,
        "account": has_account(name),
        "question": spec["question"],
        "deployed": bool(live) or os.path.isdir(layout.releases),
        "release": live,
        "state": manifest.state if manifest else "",
        **{key: getattr(manifest, key, "") for key in ("revision", "source", "run")},
        "since": switched.get("time") or (manifest.created if manifest else ""),
        "hold": hold_in_effect(layout),
        "lease": lease_in_effect(layout),
        "without_service": switched.get("without_service"),
        "interrupted": os.path.exists(layout.path(".activating")) and not has_lease(layout),
        "process_manager": manager,
        "server": variables.get("WEBAPP_SERVER", ""),
        "configured": is_configured(layout, shared.sites),
        "maintenance": in_maintenance(layout),
        "process": process,
        "deaths": deaths,
        "log": masked("\n".join(lines_of(log)[-5:]), secrets),
        "traceback": masked(last_traceback(log), secrets),
        "nginx_errors": errors[-3:],
        **look_at_symptoms(layout, spec, process, masked(log, secrets), variables),
        "processes": processes,
        "jobs": jobs,
        "files": look_at_files(layout, live) if live else {},
        "environment": look_at_environment(layout, manifest),
        "worlds": shared.worlds[name],
        "changeable": look_at_modes(layout, live) if live else [],
    }


def look_at_symptoms(
    layout: Layout, spec: dict[str, Any], process: dict[str, Any], log: str, variables: dict[str, str]
) -> dict[str, Any]:
    """Faults that visitors notice although the health URL works, since the start of the process."""
    since = max(process.get("started") or 0.0, time.time() - WINDOW)
    logs = spec.get("logs", {"access": [], "error": [], "mounts": ["/"]})
    too_big = [
        line
        for path in logs["error"]
        for line in nginx_errors(path, f"/{layout.name}/current.", since)
        if TOO_BIG in line
    ]
    return {
        "requests": look_at_requests(logs["access"], logs.get("mount", "/"), logs["mounts"], since),
        "refusals": look_at_refusals(log),
        "header_too_big": too_big[-1:],
        "unwritable": look_at_writing(layout, variables, process["pid"]),
        "groups": look_at_groups(layout.name, process["pid"]),
    }


def has_account(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False
