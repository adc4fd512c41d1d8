# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What a site needs outside of its servers, in nginx's http block."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block


class HttpBlocks:
    """Collects the blocks of one site, under names that no other site has."""

    def __init__(self, site: dict[str, Any]) -> None:
        # A site's name has dashes, and no underscores: no two sites meet.
        self.slug = site["name"].replace("-", "_")
        self.blocks: list[dict[str, Any]] = []

    def map(self, source: str, entries: dict[str, str], default: str = '""') -> str:
        """A variable that depends on others; the same question gets the same variable."""
        lines = [f"default {default};", *(f"{key} {value};" for key, value in entries.items())]
        return self.variable(f"map {source}", lines)

    def variable(self, head: str, lines: list[str]) -> str:
        for known in self.blocks:
            if known["lines"] == lines and known["head"].startswith(f"{head} $pyweb_"):
                return known["head"].rpartition(" ")[2]
        name = f"$pyweb_{self.slug}_{len(self.blocks) + 1}"
        self.blocks.append(block(f"{head} {name}", lines))
        return name
