# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The upstream blocks of a site: its named ones, and one for every address of a location."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.values import upstream


@dataclass(frozen=True)
class Target:
    """Where requests go: the protocol, the upstream's name, and when nginx may try again.

    ``again`` are nginx's directives ``next_upstream`` and those that begin so, with their values.
    """

    protocol: str
    name: str
    again: tuple[tuple[str, str], ...] = ()


# If a process dies during a request, nginx sends it to the same socket again, where another process may listen.
# It does so only for requests that change nothing, within 5 s, and not after a time-out, because such a request may be
# the reason why the process died.
SAME_SERVER = (("next_upstream", "error"), ("next_upstream_tries", "2"), ("next_upstream_timeout", "5s"))


# Since 1.29.7, nginx reuses its connections to servers by default. After a switch, requests on such a connection would
# still reach the old release.
NO_KEEPALIVE = ["#@ if upstream_keepalive", "keepalive 0;", "#@ end"]
# Behind the socket of a balancer there are several hosts. It notices a frozen one, which has the request, and then
# another host gets the request, however long the first one had it.
OTHER_HOST = (("next_upstream", "error"), ("next_upstream_tries", "2"), ("next_upstream_timeout", "0"))


class Upstreams:
    """Names for the upstreams of one site. No site's name has an underscore, so all names are unique."""

    def __init__(self, site: dict[str, Any]) -> None:
        self.site = site["name"]
        self.again: tuple[tuple[str, str], ...] = site.get("again", SAME_SERVER)
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
            return Target(group["protocol"], f"{self.site}_{group['name']}", asked_again(group))
        protocol, server = self.found(address)
        return Target(protocol, f"{self.site}_{self.servers.index(server) + 1}", self.again)

    def blocks(self) -> list[dict[str, Any]]:
        single = [
            block(f"upstream {self.site}_{number}", [*lone_server(server), *NO_KEEPALIVE])
            for number, server in enumerate(self.servers, start=1)
        ]
        return [*(group_block(self.site, group) for group in self.named.values()), *single]


def group_block(site: str, group: dict[str, Any]) -> dict[str, Any]:
    lines = [f"{group['balance']};"] if group["balance"] != "round_robin" else []
    # The zone makes all workers count failures and connections together.
    lines.append(f"zone {site}_{group['name']} 64k;")
    if group["retries"] and len(group["servers"]) == 1:
        lines += lone_server(group["servers"][0]["address"])
    else:
        lines += [server_line(server) for server in group["servers"]]
    # nginx requires these after the servers and the method of balancing.
    if group["keepalive"]:
        timeout = f"{round(1000 * group['keepalive_timeout'])}ms"
        kept = [f"keepalive {group['keepalive']};", f"keepalive_timeout {timeout};", f"keepalive_time {timeout};"]
        # Without a limit of its age, a busy connection would lead to the old release long after a switch.
        lines += ["#@ if keepalive_time", *kept, "#@ end"]
    else:
        lines += NO_KEEPALIVE
    return block(f"upstream {site}_{group['name']}", lines)


def asked_again(group: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    if not group["retries"]:
        return (("next_upstream", "off"),)
    if len(group["servers"]) == 1:
        return SAME_SERVER
    return (("next_upstream", "error timeout"), ("next_upstream_tries", str(len(group["servers"]))))


def lone_server(address: str) -> list[str]:
    """A single server. It is there twice, because nginx tries each once, and it is never marked as down."""
    return [f"server {quote(address)} max_fails=0;"] * 2


def server_line(server: dict[str, Any]) -> str:
    words = [f"server {quote(server['address'])}"]
    words += [f"weight={server['weight']}"] if server["weight"] != 1 else []
    words += [f"max_fails={server['max_fails']}"] if server["max_fails"] != 1 else []
    words += [f"fail_timeout={server['fail_timeout']}s"] if server["fail_timeout"] != 10 else []
    words += ["backup"] if server["backup"] else []
    return " ".join(words) + ";"
