# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The upstream blocks of a site: one for every address that its locations lead to."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.values import Upstream, upstream


class Upstreams:
    """Names for the addresses of one site. No site's name has an underscore, so no two upstreams can meet."""

    def __init__(self, site: dict[str, Any]) -> None:
        self.site = site["name"]
        self.servers: list[str] = []
        for location in site["locations"]:
            if location["upstream"] is not None and self.found(location).server not in self.servers:
                self.servers.append(self.found(location).server)

    def found(self, location: dict[str, Any]) -> Upstream:
        found = upstream(location["upstream"])
        if found is None:
            raise ValueError(location["upstream"])
        return found

    def target(self, location: dict[str, Any]) -> tuple[str, str]:
        """What a location's requests are passed to: the protocol, and the name of the upstream."""
        found = self.found(location)
        return found.protocol, f"{self.site}_{self.servers.index(found.server) + 1}"

    def blocks(self) -> list[dict[str, Any]]:
        return [
            block(f"upstream {self.site}_{number}", [f"server {quote(server)};"])
            for number, server in enumerate(self.servers, start=1)
        ]
