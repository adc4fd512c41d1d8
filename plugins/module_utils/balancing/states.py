# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The states of servers that an old process of HAProxy leaves to a new one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

# The backend, its name, its address without brackets, and its port.
Server = tuple[str, str, str, str]

SECTION = re.compile(r"(?:frontend|backend|defaults|global|listen)\b\s*(?P<name>\S*)")
SERVER = re.compile(r"\s+server (?P<name>\S+) \[?(?P<address>[^\s\]]+)\]?:(?P<port>\d+)(?:\s|$)")
# A server that is down, and was never checked. The fields are those of version 1, HAProxy's only one.
NEW = "0 {backend} 0 {name} {address} 0 0 1 1 1 1 0 0 6 0 0 0 - {port} - 0 0 - - 0"
ADDRESS, PORT = 4, 18


def servers_in(units: Mapping[str, str]) -> list[Server]:
    """The backends and servers of a configuration."""
    found, section = [], ""
    for line in lines_of("\n".join(units.values())):
        if match := SECTION.match(line):
            section = match["name"]
        elif match := SERVER.match(line):
            found.append((section, match["name"], match["address"], match["port"]))
    return found


def with_new_servers(known: str, servers: Iterable[Server]) -> str:
    """The states, in which servers that HAProxy did not have are down until their checks succeed.

    HAProxy would send requests to them before the first check. It takes the port of a server from here rather than from
    its configuration, so a server that has moved starts like a new one.
    """
    new = dict.fromkeys(servers)
    moved = {server[:2] for server in new}
    lines = []
    for line in filter(None, lines_of(known)):
        fields = line.split(" ")
        server = (fields[1], fields[3], fields[ADDRESS], fields[PORT]) if len(fields) > PORT else None
        if server in new:
            del new[server]
        elif server and server[:2] in moved:
            continue
        lines.append(line)
    lines += [NEW.format(backend=one[0], name=one[1], address=one[2], port=one[3]) for one in new]
    return "".join(f"{line}\n" for line in lines)
