# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The servers that nginx has outside of this collection's trees, such as those that people wrote. Changes nothing."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import UNFINISHED
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.blocks import (
    Directive,
    is_for_all,
    names_of,
    parsed,
    ports_of,
)

# How the nginx.conf of this collection begins.
OWN_ENTRY = "nginx role of pyweb.stack"
# The files that the main file of this collection loads as well, relative to the folder of nginx.
LOADED = ("conf.d/*.conf", "sites-enabled/*")
# The file with the servers of the nginx.conf that this collection has replaced.
KEPT = "conf.d/0-kept-from-nginx.conf"
# Bounds for the files of a host that people have written.
MOST_FILES = 500
MOST_BYTES = 1024 * 1024
DEEPEST = 8

Key = tuple[int, str]


@dataclass
class Source:
    """A file with directives of the level http. ``directives`` are those of this level."""

    path: str
    text: str
    directives: list[Directive]
    # Whether it is the nginx.conf that this collection replaces.
    is_entry: bool = False


@dataclass
class Server:
    """A server block."""

    source: Source
    block: Directive
    ports: dict[int, bool]
    # The ports on which it serves the hosts that no other server has.
    default_ports: set[int] = field(default_factory=set)

    @property
    def names(self) -> list[str]:
        return names_of(self.block)

    @property
    def is_for_all(self) -> bool:
        return is_for_all(self.block)

    @property
    def title(self) -> str:
        """Its name for people."""
        return " ".join(self.names) or "without a name"

    @property
    def keys(self) -> set[Key]:
        """The hosts that it serves: pairs of a port and a name. The empty name stands for all other hosts."""
        names = [] if self.is_for_all else self.names
        found = {(port, name) for port in self.ports for name in names}
        if self.is_for_all:
            found |= {(port, "") for port in self.ports}
        return found | {(port, "") for port in self.default_ports}


def is_own(entry: str | None) -> bool:
    """Whether an nginx.conf is this collection's."""
    return OWN_ENTRY in (entry or "")


def sources(conf_dir: str, entry: str | None) -> list[Source]:
    """The files of other people at the level http, in the order in which nginx loads them."""
    found: dict[str, Source] = {}
    if entry is not None and not is_own(entry):
        path = f"{conf_dir}/nginx.conf"
        http = [one for block in parsed(entry) if block.name == "http" for one in block.block or ()]
        found[path] = Source(path, entry, http, is_entry=True)
        follow(conf_dir, http, found)
        # An interrupted run may have left it. It is made of this nginx.conf.
        found.pop(f"{conf_dir}/{KEPT}", None)
    for pattern in LOADED:
        for path in loaded(conf_dir, pattern):
            if entry is None or is_own(entry) or path != f"{conf_dir}/{KEPT}":
                add(conf_dir, path, found)
    return list(found.values())


def follow(conf_dir: str, directives: list[Directive], found: dict[str, Source], depth: int = 0) -> None:
    """Add the files that directives of the level http include."""
    for one in directives:
        if one.name == "include" and one.arguments and depth < DEEPEST:
            for path in loaded(conf_dir, one.arguments[0]):
                add(conf_dir, path, found, depth + 1)


def add(conf_dir: str, path: str, found: dict[str, Source], depth: int = 0) -> None:
    if path in found or len(found) >= MOST_FILES or path.startswith(f"{conf_dir}/pyweb/") or UNFINISHED.search(path):
        return
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > MOST_BYTES:
            return
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            text = stream.read()
    except OSError:
        return
    found[path] = Source(path, text, parsed(text))
    follow(conf_dir, found[path].directives, found, depth)


def loaded(conf_dir: str, pattern: str) -> list[str]:
    """The files that a pattern of an include stands for. nginx leaves hidden files to explicit names."""
    return sorted(glob.glob(os.path.join(glob.escape(conf_dir), pattern)))


def servers(files: list[Source], unseen: str = "", takeover: bool = False) -> list[Server]:
    """The server blocks of files, with the ports whose default server they are.

    ``unseen`` is the file of the distribution's default site if the run disables it: its server is left out, but it
    was the default one. ``takeover`` says that nginx has loaded these files alone: then, the first server of a port is
    its default one. Later on, only a server with the word default_server is one.
    """
    everyone = [
        Server(source, one, ports_of(one)) for source in files for one in source.directives if one.name == "server"
    ]
    for port in {port for one in everyone for port in one.ports}:
        explicit = [one for one in everyone if one.ports.get(port)]
        first = explicit or ([one for one in everyone if port in one.ports] if takeover else [])
        if first:
            first[0].default_ports.add(port)
    return [one for one in everyone if one.source.path != unseen]


def targets(block: Directive) -> list[str]:
    """The addresses that a server block, or a location in it, passes requests to, as they are written."""
    found: list[str] = []
    for one in block.block or ():
        if one.name in ("proxy_pass", "uwsgi_pass", "fastcgi_pass", "grpc_pass", "scgi_pass") and one.arguments:
            found.append(one.arguments[0])
        if one.block is not None and one.name in ("location", "if", "limit_except"):
            found += targets(one)
    return list(dict.fromkeys(found))
