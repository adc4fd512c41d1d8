# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The inputs of the roles systemd and supervisor. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import build_account
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import background
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications, present
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.paths import (
    inherited_sockets,
    release_directory,
    runtime_directory,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.resources import (
    health_timeout,
    resolved_process_manager,
    stop_timeout,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.watch import NGINX_WATCH, WAKE_PROGRAM, WATCH
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import systemd
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.build_sandbox import build_properties


def systemd_services(
    webapps: Any,
    facts: dict[str, Any],
    process_manager: str = "auto",
    root: str = "/srv/webapps",
    nginx_group: str = "www-data",
) -> list[dict[str, Any]]:
    """Input of the role systemd: template units for its applications, and timers for all jobs."""
    if facts["init"] != "systemd":
        return []
    items = []
    for app in applications(webapps):
        if app["state"] == "absent":
            items += [{"name": f"{app['name']}{rest}", "state": "absent"} for rest in ("@", ".*@", ".*")]
            continue
        jobs = background.systemd_jobs(app, root, str(facts.get("timezone") or ""))
        if resolved_process_manager(app, process_manager, facts) == "systemd":
            items += [systemd_web(app, root, nginx_group), *background.systemd_processes(app, root)]
        elif not jobs and not facts.get("timers"):
            continue
        # An older release may still use templates of processes that are no longer listed.
        items += [*jobs, {"name": f"{app['name']}.*", "state": "absent"}]
    return items


def systemd_web(app: dict[str, Any], root: str, nginx_group: str) -> dict[str, Any]:
    """The web process of an application as a template unit."""
    return {
        **background.common(app, None, root),
        "name": f"{app['name']}@",
        "description": f"The web application {app['name']}, release %i",
        "command": [f"{release_directory(root, app['name'], '%i')}/bin/web"],
        "type": "notify",
        # Keep this short: requests wait until the process has restarted.
        "restart_delay": 0.1,
        "runtime_directory": runtime_directory(app, nginx_group),
        "sockets": inherited_sockets(app, root, nginx_group),
        "start_timeout": health_timeout(app),
        "stop_timeout": stop_timeout(app),
    }


def sandboxes(app: dict[str, Any], root: str, nginx_group: str) -> dict[str, list[str]]:
    """The properties of the commands of a deployment, in the world ``run`` and in the world ``build``.

    Commands have the sandbox of the web process, also if supervisor runs that, because systemd starts them.
    """
    services, _problems = systemd.checked([systemd_web(app, root, nginx_group)])
    home = f"{root}/{app['name']}"
    return {
        # The unit has its problems reported when its role is planned.
        "run": systemd.run_properties(services[0]) if services else [],
        "build": build_properties(build_account(app["name"]), app["name"], home, f"{home}/shared", app["systemd"]),
    }


def supervisor_programs(
    webapps: Any,
    facts: dict[str, Any],
    process_manager: str = "auto",
    root: str = "/srv/webapps",
    nginx_group: str = "www-data",
    beside: Any = None,
) -> list[dict[str, Any]]:
    """Input of the role supervisor: template programs for its applications, and jobs if systemd is not the init.

    ``beside`` are applications that do not change. If one of them uses supervisor, the shared programs stay.
    """
    items = []
    for app in applications(webapps):
        if app["state"] == "absent":
            items += [{"name": f"{app['name']}{rest}", "state": "absent"} for rest in ("@", ".*@", ".*")]
        elif resolved_process_manager(app, process_manager, facts) == "supervisor":
            items += [supervisor_web(app, root, nginx_group), *background.supervisor_processes(app, root)]
            if facts["init"] != "systemd":
                items += [*background.supervisor_jobs(app, root), {"name": f"{app['name']}.*", "state": "absent"}]
    kept = any(item.get("state") != "absent" for item in items)
    others = any(
        resolved_process_manager(app, process_manager, facts) == "supervisor" for app in present(beside or [])
    ) or has_other_programs(applications(webapps), facts)
    if kept or not others:
        watch = {"name": NGINX_WATCH, "command": ["/bin/sh", "-c", WATCH]}
        shared: list[dict[str, Any]] = [WAKE_PROGRAM, *([watch] if facts["init"] != "systemd" else [])]
        items += shared if kept else [{"name": item["name"], "state": "absent"} for item in shared]
    # On a host that never had supervisor there is nothing to remove.
    return items if kept or facts.get("supervisor") else []


def has_other_programs(apps: list[dict[str, Any]], facts: dict[str, Any]) -> bool:
    """Whether applications that only the host knows use supervisor, beside the ones that a run changes."""
    names = {app["name"] for app in apps}
    return any(one["programs"] and one["name"] not in names for one in facts.get("orphans", {}).get("apps", []))


def supervisor_web(app: dict[str, Any], root: str, nginx_group: str) -> dict[str, Any]:
    """The web process of an application as a template program."""
    return {
        "name": f"{app['name']}@",
        "command": [f"{release_directory(root, app['name'], '%i')}/bin/web"],
        "user": app["name"],
        "directory": f"{root}/{app['name']}",
        "runtime_directory": runtime_directory(app, nginx_group),
        "sockets": inherited_sockets(app, root, nginx_group),
        "stopwaitsecs": stop_timeout(app),
    }
