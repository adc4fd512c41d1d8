# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The web hosts behind a balancer, and the applications that they serve together. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.together import check_together
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

# Settings of a site that each web host applies itself. In all others, the web hosts must agree.
OWN = frozenset({"static", "error_pages", "intercept_errors", "maintenance", "keepalive", "extra", "locations"})
# A name that HAProxy takes as it is.
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# HAProxy's own range.
WEIGHTS = (1, 256)


@dataclass(frozen=True)
class WebHost:
    """A web host: its name in the inventory, how balancers reach it, and the applications that it serves."""

    name: str
    address: str
    port: int | None = None
    weight: int = 100
    backup: bool = False
    apps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its name for HAProxy."""
        return self.name if PLAIN.fullmatch(self.name) else f"host-{digest(self.name)}"

    def place(self, app: Mapping[str, Any]) -> str:
        """The address and port that serve an application."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port or app['site']['port']}"


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def host_of(name: str, address: str, variables: Mapping[str, Any], apps: list[dict[str, Any]]) -> WebHost:
    """A web host, from its variables; raises ValueError with every problem of them."""
    problems = []
    weight, port = variables.get("balancer_weight", 100), variables.get("balancer_port")
    low, high = WEIGHTS
    if not is_number(weight) or not low <= int(weight) <= high:
        problems.append(f"{name}: balancer_weight is {weight!r}. Use a whole number from {low} to {high}.")
    if port not in (None, "") and (not is_number(port) or not 1 <= int(port) <= 65535):
        problems.append(f"{name}: balancer_port is {port!r}. Use a port from 1 to 65535, or remove it.")
    backup = str(variables.get("balancer_backup", False)).lower()
    if backup not in ("true", "false", "yes", "no"):
        problems.append(f"{name}: balancer_backup is {backup!r}. Use true or false.")
    if problems:
        raise ValueError("\n".join(problems))
    number = int(port) if port not in (None, "") else None
    return WebHost(name, address, number, int(weight), backup in ("true", "yes"), apps)


def is_number(value: Any) -> bool:
    return not isinstance(value, bool) and re.fullmatch(r"[0-9]{1,6}", str(value)) is not None


def applications_of(hosts: list[WebHost]) -> tuple[list[dict[str, Any]], list[str]]:
    """The applications of all web hosts, each once, and every problem of them together."""
    found: dict[str, tuple[WebHost, dict[str, Any]]] = {}
    problems = []
    for host in hosts:
        for app in host.apps:
            first, known = found.setdefault(app["name"], (host, app))
            problems += differences(app, host, known, first)
    apps = [app for _host, app in found.values()]
    if not problems:
        checker = Checker()
        check_together(checker, apps)
        problems = checker.problems
    return apps, problems


def differences(app: dict[str, Any], host: WebHost, known: dict[str, Any], first: WebHost) -> list[str]:
    """The settings that a balancer needs, and in which two web hosts differ."""
    keys = [key for key in app["site"] if key not in OWN and app["site"][key] != known["site"].get(key)]
    where = f"webapps '{app['name']}'"
    names = [f"site.{key}" for key in keys] + [
        f"health.{key}" for key in ("path", "status") if app["health"][key] != known["health"][key]
    ]
    return [
        f"{where}.{name}: {first.name} and {host.name} have different values, but a balancer serves one site for all "
        "web hosts. Set it to the same value for both."
        for name in names
    ]


def servers_of(app: Mapping[str, Any], hosts: list[WebHost]) -> list[WebHost]:
    """The web hosts that serve an application."""
    return [host for host in hosts if any(one["name"] == app["name"] for one in host.apps)]
