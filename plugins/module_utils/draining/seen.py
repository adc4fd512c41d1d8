# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The state of a web host, as a balancer sees it. Pure."""

from __future__ import annotations

from typing import Any

UP, DRAINED = "up", "drained"
# A host that does not respond gets no requests either.
AWAY = ("draining", "down")


def of_host(apps: list[dict[str, Any]], host: str) -> list[dict[str, Any]]:
    """The entries of a web host, one for each application that the balancer sends to it."""
    return [
        {"app": app["name"], "state": server["state"], "sessions": server["sessions"], "check": server["check"]}
        for app in apps
        for server in app["servers"]
        if server["host"] == host
    ]


def is_as_wanted(servers: list[dict[str, Any]], wanted: str) -> bool:
    """Whether all applications of a host get requests, or none gets any and none is open."""
    if wanted == UP:
        return all(server["state"] == "up" for server in servers)
    return all(server["state"] in AWAY and not server["sessions"] for server in servers)
