# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Everything known about one application on one host. Findings, checks and status are pure functions of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer
from ansible_collections.pyweb.stack.plugins.module_utils.status import row
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import front_port
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import protected


@dataclass(frozen=True)
class View:
    """One application: as the inventory declares it (``app``), as its host has it (``found``), as visitors see it."""

    app: dict[str, Any]
    found: dict[str, Any]
    host: dict[str, Any]
    visits: list[dict[str, Any]]
    # The balancers in front of the host: name, address, and how each sees the web hosts.
    balancers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.app["name"])

    @property
    def port(self) -> int:
        """The port that visitors use: for a site with TLS, its TLS port."""
        return front_port(self.app)

    @property
    def listeners(self) -> list[dict[str, Any]]:
        """The programs that listen on that port."""
        return [one for one in self.host["listeners"] if one["port"] == self.port]

    @property
    def nginx_listeners(self) -> list[dict[str, Any]]:
        return [one for one in self.listeners if one["program"] == "nginx"]

    @property
    def plain_until_certified(self) -> bool:
        """Whether nginx serves it over http alone, because no certificate was issued yet."""
        return any(one["mode"] == "acme" and not (one["disk"] or one["shown"]) for one in self.found["certificates"])

    @property
    def process(self) -> dict[str, Any]:
        process: dict[str, Any] = self.found["process"]
        return process

    def healthy(self, answer: dict[str, Any]) -> bool:
        return Answer(answer["status"]).healthy(self.app["health"]["status"])

    @property
    def direct_works(self) -> bool:
        return self.healthy(self.found["direct"])

    @property
    def front_works(self) -> bool:
        return self.passes(self.found["front"])

    def passes(self, answer: dict[str, Any]) -> bool:
        """Whether nginx answers correctly. A protected site refuses visitors without credentials."""
        health = self.app["health"]
        return row.passes(answer, health["status"], protected(self.app["site"], health["path"]))

    @property
    def running(self) -> bool:
        """Whether a process runs that can answer."""
        return self.process["state"] == "running" and not self.process.get("stopped") and not self.crashing

    @property
    def crashing(self) -> bool:
        """Whether it runs only between one crash and the next."""
        return self.process["restarts"] >= 1 and self.found["direct"]["status"] is None
