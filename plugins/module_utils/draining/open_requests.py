# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The requests that a web host has not finished: those at applications, and responses that clients still receive.

Read from tables of the kernel. nginx keeps an idle connection to an application for 0.2 seconds, so an open one is a
request, a stream or a WebSocket. A client may keep an idle connection to nginx for a minute; it counts only if nginx
has data to send on it.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import decode_address, listeners

# Sockets of releases: /run/webapps/NAME.sockets/ID.sock, and /run/webapps/NAME/ID.sock of earlier versions.
RUNTIME = "/run/webapps"
# States of a unix socket in /proc/net/unix: connected, but not accepted yet; and connected.
CONNECTED = ("02", "03")
ESTABLISHED = "01"
# Closing, but with data that the client has not received yet: FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING.
SENDING = (ESTABLISHED, "04", "08", "09", "0B")


def open_requests(proc: str = "/proc", runtime: str = RUNTIME) -> dict[str, int]:
    """The open requests of each application, and under an empty name the responses that nginx sends to clients."""
    found = at_applications(table(f"{proc}/net/unix"), runtime)
    ports = {one.port for one in listeners(proc) if one.program == "nginx"}
    sending = sum(to_clients(table(f"{proc}/net/{name}"), ports) for name in ("tcp", "tcp6"))
    return {**found, **({"": sending} if sending else {})}


def table(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
    return ""


def at_applications(text: str, runtime: str) -> dict[str, int]:
    """The open connections to each application."""
    named = re.compile(rf"{re.escape(runtime)}/([^/.]+)(?:\.sockets)?/[^/]+\.sock$")
    found: Counter[str] = Counter()
    for line in lines_of(text)[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and fields[5] in CONNECTED and (match := named.match(fields[7])):
            found[match[1]] += 1
    return dict(sorted(found.items()))


def to_clients(text: str, ports: Collection[int]) -> int:
    """The connections of clients to these ports that have data to send."""
    found = 0
    for line in lines_of(text)[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] in SENDING and int(fields[4].partition(":")[0], 16):
            found += decode_address(fields[1])[1] in ports
    return found
