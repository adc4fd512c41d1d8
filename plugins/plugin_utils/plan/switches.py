# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""How each application switches to another release. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import Applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import has_tls
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import (
    health_question,
    host_header,
    visited_name,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import (
    ModelError,
    applications,
    present,
    unknown_app,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.behind import behind_balancers
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.connections import KEPT_AFTER_SWITCH, keepalive
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.resources import (
    booting_workers,
    error_timeout,
    health_timeout,
    resolved_process_manager,
    stop_timeout,
    worker_count,
)


def activations(
    webapps: Any,
    builds: list[dict[str, Any]] | None,
    facts: dict[str, Any],
    process_manager: str = "auto",
    keep: int = 5,
    front: bool = True,
) -> list[dict[str, Any]]:
    """Input of webapp_activate: the applications that have a new release, do not run, or are to be removed.

    Without ``builds``, return all applications. The module apply then finds out which of them to activate.
    """
    apps = applications(webapps)
    if builds is None:
        return [switch(app, facts, process_manager, keep, front) for app in apps]
    found = {build["name"]: build for build in builds if build["activate"]}
    return [
        {**switch(app, facts, process_manager, keep, front), "candidate": found[app["name"]]["candidate"]}
        for app in apps
        if app["name"] in found
    ]


def switch(app: dict[str, Any], facts: dict[str, Any], process_manager: str, keep: int, front: bool) -> dict[str, Any]:
    """The settings for a switch of one application to any release."""
    known = (("systemd", facts["init"] == "systemd"), ("supervisor", facts.get("supervisor")))
    managers = [name for name, there in known if there]
    own = resolved_process_manager(app, process_manager, facts)
    site = app["site"]
    status = app["health"]["status"]
    return {
        "name": app["name"],
        "state": app["state"],
        "purge": app["purge"],
        "candidate": "",
        "process_managers": managers if own in managers else [*managers, own],
        "stop_timeout": stop_timeout(app),
        "keep": keep,
        "stop_first": app["switch"] == "stop_first",
        "workers": booting_workers(app, facts),
        "most_workers": worker_count(app, facts),
        # Other applications run them in a stage of its own, before any host switches.
        "release_commands": app["commands"]["release"] if app["switch"] == "stop_first" else [],
        "front_port": site["port"] if front else None,
        "linger": KEPT_AFTER_SWITCH if keepalive(app) else 0,
        "front_tls_port": site["tls"]["port"] if front and has_tls(site) else None,
        "front_host": host_header(visited_name(app), site["port"], 80),
        # nginx refuses a request without a password or from a wrong address. That also shows that the site works.
        "front_status": front_status(app),
        "health": {
            **health_question(app),
            "status": status,
            "timeout": health_timeout(app),
            "error_timeout": error_timeout(app),
        },
    }


def front_status(app: dict[str, Any]) -> list[int]:
    """The statuses that are healthy through nginx, which may refuse the request; empty for the usual ones."""
    status: list[int] = app["health"]["status"]
    refusals = [401, 403] if protected(app["site"], app["health"]["path"]) else []
    # Behind a balancer with TLS, the application may redirect this request of the host itself to https.
    moved = [301, 302, 307, 308] if app["site"]["scheme"] == "https" and not has_tls(app["site"]) else []
    return [*status, *refusals, *moved] if status else status


def protected(site: dict[str, Any], path: str | None = None) -> bool:
    """Whether nginx itself may refuse a request for the health path, by rules of the site or a location around it."""
    wanted = (path or "").partition("?")[0].rstrip("/") + "/"
    around = [item for item in site["locations"] if wanted.startswith(item["path"].rstrip("/") + "/")]
    return any(item[key] for item in (site, *around) for key in ("basic_auth", "allow", "deny"))


def runs_commands_first(app: dict[str, Any]) -> bool:
    """Whether an application has release commands to run before any host switches."""
    return bool(app["commands"]["release"]) and app["switch"] != "stop_first"


def leaders_of(builds_by_host: list[list[Any]]) -> dict[str, list[str]]:
    """The first host with a new release of each application, and the ID of this release.

    ``builds_by_host`` holds pairs of host and builds, in the order of the play.
    """
    leaders: dict[str, list[str]] = {}
    for name, builds in builds_by_host:
        for build in builds:
            if build["candidate"] and build["action"] != "none":
                leaders.setdefault(build["name"], [name, build["candidate"]])
    return leaders


def release_commands(
    webapps: Applications,
    leaders: dict[str, list[str]],
    host: str,
    facts: dict[str, Any],
    process_manager: str = "auto",
) -> list[dict[str, Any]]:
    """Input of webapp_activate's stage ``commands``: the applications whose release commands this host has to run.

    The leader runs the commands, once for the whole deployment. A list of another class would be checked again, and
    refused where a site has keys that only balancers know.
    """
    items = []
    for app in present(webapps):
        leader, candidate = leaders.get(app["name"], ["", ""])
        if leader == host and runs_commands_first(app):
            item = switch(app, facts, process_manager, 5, False)
            items.append({**item, "candidate": candidate, "release_commands": app["commands"]["release"]})
    return items


def switches(
    webapps: Any,
    facts: dict[str, Any],
    kind: str,
    app: str = "",
    release: str = "",
    process_manager: str = "auto",
    keep: int = 5,
) -> list[dict[str, Any]]:
    """Input of webapp_activate for a rollback, or for a restart of one application or of all."""
    apps = behind_balancers(present(webapps), **facts.get("balancers", {"balancers": []}))
    names = [one["name"] for one in apps]
    if app not in names and (app or kind == "rollback"):
        raise ModelError(unknown_app(app, names))
    return [
        {**switch(one, facts, process_manager, keep, True), "switch": kind, "release": release}
        for one in apps
        if app in ("", one["name"])
    ]
