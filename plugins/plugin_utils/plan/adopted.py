# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The old processes that applications replace, and the manual deployments that a run finds. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import HEALTHY
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import has_tls
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import (
    health_question,
    host_header,
    visited_name,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.resources import stop_timeout
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import protected

KINDS = ("unit", "program", "command")


def adopted(apps: list[dict[str, Any]], root: str, roles: Collection[str]) -> dict[str, Any]:
    """The input ``adopted`` of the part nginx; empty if no application adopts a process.

    It belongs to this part because the old process ends when nginx serves the release.
    """
    if "webapp" not in roles:
        return {}
    found = [
        {
            "name": app["name"],
            "root": root,
            **{kind: app["adopts"][kind] for kind in KINDS if app["adopts"][kind]},
            "stop_timeout": stop_timeout(app),
            **front(app),
        }
        for app in apps
        if app["state"] == "present" and any(app["adopts"].values())
    ]
    return {"adopted": found} if found else {}


def front(app: dict[str, Any]) -> dict[str, Any]:
    """The question to ask through nginx before the old process ends, and the statuses that are healthy."""
    site, health = app["site"], health_question(app)
    statuses = app["health"]["status"] or [*HEALTHY]
    if protected(site, app["health"]["path"]):
        statuses = [*statuses, 401, 403]
    # A site with certificates redirects to https, or has no certificate yet.
    question = {
        "path": health["path"],
        "host": host_header(visited_name(app), site["port"], 80),
        "scheme": "http",
        "port": site["port"],
    }
    return {"front": question, "statuses": [*statuses, 301, 302, 307, 308] if has_tls(site) else statuses}


def notices(apps: list[dict[str, Any]], found: Mapping[str, Any]) -> list[str]:
    """The manual deployments that a run finds, each with what will happen. ``found`` is a fact of the host."""
    served = {key: app["name"] for app in apps for key in keys_of(app)}
    texts: list[str] = []
    targets: dict[str, set[str]] = {}
    for server in entries(found, "servers", SERVER):
        mine = sorted({name for key in server["keys"] for name in [served.get((key[0], key[1]))] if name})
        for name in mine:
            targets.setdefault(name, set()).update(server["targets"])
        texts += server_notice(server, mine)
    for process in entries(found, "processes", PROCESS):
        for app in apps:
            if text := process_notice(app, process, targets.get(app["name"], set())):
                texts.append(text)
                break
    return texts


# The keys of a host's answer, and their types.
SERVER = {"title": str, "path": str, "keys": list, "targets": list}
PROCESS = {"pid": int, "server": str, "callable": str, "unit": str, "program": str, "addresses": list}


def entries(found: Mapping[str, Any], name: str, types: Mapping[str, type]) -> list[dict[str, Any]]:
    """The entries of a host's answer that have all keys, each of its type. A host can report anything."""
    listed = found.get(name)
    right = [
        one
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict) and all(isinstance(one.get(key), kind) for key, kind in types.items())
    ]
    return [
        one
        for one in right
        if all(isinstance(text, str) for key in ("targets", "addresses") for text in one.get(key, []))
        and all(isinstance(key, list) and len(key) == 2 and isinstance(key[0], int) for key in one.get("keys", []))
        and all(isinstance(key[1], str) for key in one.get("keys", []))
    ]


def keys_of(app: dict[str, Any]) -> set[tuple[int, str]]:
    """The ports and names that the site of an application serves."""
    site = app["site"]
    ports = [site["port"], *([site["tls"]["port"]] if has_tls(site) else [])]
    return {(port, name) for port in ports for name in [*site["domains"], *site["redirects"]] or [""]}


def server_notice(server: Mapping[str, Any], mine: list[str]) -> list[str]:
    title, path = server["title"], server["path"]
    ports = ", ".join(str(port) for port in sorted({key[0] for key in server["keys"]}))
    where = f"nginx has a server that was configured by hand: {title} on port {ports} ({path})"
    if mine:
        names = " and ".join(f"'{name}'" for name in mine)
        return [
            f"{where}. It responds until webapps {names} has a live release. Then the site of the inventory replaces "
            "it, for the names and ports that both have. The old file is kept in /etc/nginx."
        ]
    if path.endswith("/nginx.conf"):
        return [f"{where}. It stays as it is, in conf.d/0-kept-from-nginx.conf."]
    return []


# Names of modules that many applications have.
COMMON = frozenset({"app", "application", "main", "run", "server", "wsgi", "asgi", "project"})


def process_notice(app: dict[str, Any], process: Mapping[str, Any], targets: set[str]) -> str:
    """A sentence about the future of an app server that seems to serve an application; empty for any other."""
    unit, program = str(process["unit"]), str(process["program"])
    kind, value = ("unit", unit) if unit else ("program", program) if program else ("command", "")
    adopts = app["adopts"]
    named = f"process {process['pid']} ({' '.join(str(process[key]) for key in ('server', 'callable') if process[key])}"
    named += f", {kind} {value})" if value else ")"
    is_unit = adopts["unit"] and unit.removesuffix(".service") == adopts["unit"].removesuffix(".service")
    if is_unit or (adopts["program"] and program == adopts["program"]):
        both = " Until then both run, in spite of switch: stop_first." if app["switch"] == "stop_first" else ""
        return f"webapps '{app['name']}' replaces {named}: it is stopped and disabled when the release is live.{both}"
    if any(adopts.values()):
        return ""
    module = str(process["callable"]).partition(":")[0]
    is_same = value.removesuffix(".service") == app["name"] or (
        process["callable"] == app["wsgi"] and module not in COMMON
    )
    is_target = any(address_in(str(address), targets) for address in process["addresses"])
    if not (is_same or is_target):
        return ""
    example = f"{{{kind}: {value or 'its command line'}}}"
    return (
        f"webapps '{app['name']}': {named} seems to serve it already. It keeps running beside the release. To stop "
        f"and disable it when the release is live, set adopts: {example}."
    )


def address_in(address: str, targets: set[str]) -> bool:
    """Whether one of the targets of nginx is this address. nginx may write a local one in other words."""
    port = address.rpartition(":")[2]
    known = [address] if address.startswith("/") else [f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")]
    return any(re.search(rf"(?<![\w.]){re.escape(one)}(?![\w.])", target) for one in known for target in targets)
