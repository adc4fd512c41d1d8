# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What is known of one application on one host, from both sides; what is concluded from it is a pure function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.mapping import front_port, protected


@dataclass(frozen=True)
class View:
    """One application: as the inventory wants it (``app``), as its host has it (``found``), as visitors meet it."""

    app: dict[str, Any]
    found: dict[str, Any]
    host: dict[str, Any]
    visits: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return self.app["name"]

    @property
    def port(self) -> int:
        """Where visitors get in: for a site with TLS its port for that."""
        return front_port(self.app)

    @property
    def plain_until_certified(self) -> bool:
        """Whether nginx serves it over http alone, because an authority has not given a certificate yet."""
        return any(one["mode"] == "acme" and not (one["disk"] or one["shown"]) for one in self.found["certificates"])

    @property
    def process(self) -> dict[str, Any]:
        return self.found["process"]

    def healthy(self, answer: dict[str, Any]) -> bool:
        return Answer(answer["status"]).healthy(self.app["health"]["status"])

    @property
    def direct_works(self) -> bool:
        return self.healthy(self.found["direct"])

    @property
    def front_works(self) -> bool:
        return self.passes(self.found["front"])

    def passes(self, answer: dict[str, Any]) -> bool:
        """Whether an answer of nginx is a good one; from a protected site that it turns strangers away."""
        return self.healthy(answer) or (protected(self.app["site"]) and answer["status"] in (401, 403))

    @property
    def running(self) -> bool:
        """Whether there is a process that could answer."""
        return self.process["state"] == "running" and not self.process.get("stopped") and not self.crashing

    @property
    def crashing(self) -> bool:
        """Whether it only seems to run, between one crash and the next."""
        return self.process["restarts"] >= 1 and self.found["direct"]["status"] is None


def answer_text(answer: dict[str, Any]) -> str:
    return f"status {answer['status']}" if answer["status"] is not None else answer["error"]
