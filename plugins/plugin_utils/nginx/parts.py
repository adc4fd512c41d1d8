# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Parts that the lines of a site need elsewhere: in the http block, as internal locations, and in other files."""

from __future__ import annotations

import posixpath
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, quote

# Placeholder for the folder of the tree. The module nginx_config replaces it.
TREE = "@TREE@"

# Every location below this path is internal, so visitors can't request it.
INTERNAL = "/.pyweb"


class Parts:
    """Collects the parts of one site under names that no other site has."""

    def __init__(self, site: str, settings: dict[str, Any]) -> None:
        self.site = site
        self.brotli: bool = settings["brotli"]
        # The name of a site has dashes, and no underscores, so every slug is unique.
        self.slug = site.replace("-", "_")
        self.zones: dict[tuple[str, str], str] = {}
        self.blocks: list[dict[str, Any]] = []
        self.pages: dict[str, list[str]] = {}
        self.secrets: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.named_locations = 0

    def zone(self, directive: str, owner: str) -> str:
        """The name of a memory zone. ``directive`` declares it in the http block, with ``{0}`` as its name.

        Each owner has its own.
        """
        if (directive, owner) not in self.zones:
            self.zones[directive, owner] = f"{self.site}_{len(self.zones) + 1}"
        return self.zones[directive, owner]

    @property
    def lines(self) -> list[str]:
        return [directive.format(name) for (directive, _owner), name in self.zones.items()]

    def map(self, source: str, entries: dict[str, str], default: str = '""') -> str:
        """A variable that depends on others. Equal maps share one variable."""
        return self.variable(f"map {source}", [f"default {default};", *(f"{k} {v};" for k, v in entries.items())])

    def variable(self, head: str, lines: list[str]) -> str:
        for known in self.blocks:
            if known["lines"] == lines and known["head"].startswith(f"{head} $pyweb_"):
                return str(known["head"]).rpartition(" ")[2]
        name = f"$pyweb_{self.slug}_{len(self.blocks) + 1}"
        self.blocks.append(block(f"{head} {name}", lines))
        return name

    def named_location(self) -> str:
        """The name of a location of the site that only nginx itself can redirect a visitor to."""
        self.named_locations += 1
        return f"@pyweb_{self.named_locations}"

    def page(self, file: str, *lines: str) -> str:
        """The path of a page of the site's own, which only nginx itself can redirect a visitor to."""
        suffix = posixpath.splitext(file)[1] or ".html"
        body = [
            "internal;",
            "auth_basic off;",
            "allow all;",
            f"alias {file if file.startswith(TREE) else quote(file)};",
        ]
        for path, known in self.pages.items():
            if known == [*body, *lines]:
                return path
        path = f"{INTERNAL}/{len(self.pages) + 1}{suffix if suffix.isascii() and suffix[1:].isalnum() else '.html'}"
        self.pages[path] = [*body, *lines]
        return path

    def secret(self, content: str) -> str:
        """The path in the tree of a file that only nginx may read."""
        for path, known in self.secrets.items():
            if known == content:
                return path
        path = f"secrets/{self.site}_{len(self.secrets) + 1}"
        self.secrets[path] = content
        return path
