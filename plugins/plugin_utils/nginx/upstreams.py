# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The upstream blocks of a site: those it names, and one for every address that a location leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.values import upstream


@dataclass(frozen=True)
class Target:
    """Where requests go: the protocol spoken there, the upstream's name, and how many of its servers may be tried."""

    protocol: str
    name: str
    tries: int | None = None


class Upstreams:
    """Names for the upstreams of one site. No site's name has an underscore, so no two of them can meet."""

    def __init__(self, site: dict[str, Any]) -> None:
        self.site = site["name"]
        self.named = {group["name"]: group for group in site["upstreams"]}
        self.servers: list[str] = []
        for location in site["locations"]:
            for address in (location["upstream"], (location["instead"] or {}).get("upstream")):
                if address is not None and address not in self.named:
                    server = self.found(address)[1]
                    if server not in self.servers:
                        self.servers.append(server)

    def found(self, address: str) -> tuple[str, str]:
        found = upstream(address)
        if found is None:
            raise ValueError(address)
        return found.protocol, found.server

    def target(self, address: str) -> Target:
        group = self.named.get(address)
        if group:
            # One server alone may be asked again as well, where a kept connection turns out to be closed.
            tries = (len(group["servers"]) if len(group["servers"]) > 1 else None) if group["retries"] else 1
            return Target(group["protocol"], f"{self.site}_{group['name']}", tries)
        protocol, server = self.found(address)
        return Target(protocol, f"{self.site}_{self.servers.index(server) + 1}")

    def blocks(self) -> list[dict[str, Any]]:
        single = [
            block(f"upstream {self.site}_{number}", [f"server {quote(server)};"])
            for number, server in enumerate(self.servers, start=1)
        ]
        return [*(group_block(self.site, group) for group in self.named.values()), *single]


def group_block(site: str, group: dict[str, Any]) -> dict[str, Any]:
    lines = [f"{group['balance']};"] if group["balance"] != "round_robin" else []
    # The zone makes all workers count failures and connections together.
    lines.append(f"zone {site}_{group['name']} 64k;")
    lines += [server_line(server) for server in group["servers"]]
    # Behind the servers and the method of balancing, as nginx wants it.
    if group["keepalive"]:
        timeout = f"{round(1000 * group['keepalive_timeout'])}ms"
        lines += [f"keepalive {group['keepalive']};", f"keepalive_timeout {timeout};", f"keepalive_time {timeout};"]
    return block(f"upstream {site}_{group['name']}", lines)


def server_line(server: dict[str, Any]) -> str:
    words = [f"server {quote(server['address'])}"]
    words += [f"weight={server['weight']}"] if server["weight"] != 1 else []
    words += [f"max_fails={server['max_fails']}"] if server["max_fails"] != 1 else []
    words += [f"fail_timeout={server['fail_timeout']}s"] if server["fail_timeout"] != 10 else []
    words += ["backup"] if server["backup"] else []
    return " ".join(words) + ";"
