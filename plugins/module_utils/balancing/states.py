# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The states of servers that an old process of HAProxy leaves to a new one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

Server = tuple[str, str]

SECTION = re.compile(r"(?:frontend|backend|defaults|global|listen)\b\s*(?P<name>\S*)")
SERVER = re.compile(r"\s+server (?P<name>\S+) ")
# A server that is down, and was never checked. The fields are those of version 1, HAProxy's only one.
NEW = "0 {backend} 0 {name} 127.0.0.1 0 0 1 1 1 1 0 0 6 0 0 0 - 0 - 0 0 - - 0"


def servers_in(units: Mapping[str, str]) -> list[Server]:
    """The backends and servers of a configuration."""
    found, section = [], ""
    for line in lines_of("\n".join(units.values())):
        if match := SECTION.match(line):
            section = match["name"]
        elif match := SERVER.match(line):
            found.append((section, match["name"]))
    return found


def with_new_servers(known: str, servers: Iterable[Server]) -> str:
    """The states, in which servers that HAProxy did not have are down until their checks succeed.

    HAProxy would send requests to them before the first check. It also needs the address of a server to be as in its
    configuration; a server whose address has changed starts like a new one.
    """
    lines = [line for line in lines_of(known) if line]
    there = {(fields[1], fields[3]) for fields in (line.split(" ") for line in lines) if len(fields) > 3}
    lines += [NEW.format(backend=backend, name=name) for backend, name in servers if (backend, name) not in there]
    return "".join(f"{line}\n" for line in lines)
