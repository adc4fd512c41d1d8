# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""UDP ports that nginx begins to listen on for HTTP/3. Operators may not want them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

QUIC = re.compile(r"^\s*listen\s+(?:\S*:)?([0-9]+)\s+quic\b", re.MULTILINE)


def udp_ports(texts: Iterable[str]) -> set[int]:
    """The ports on which these files make nginx listen for HTTP/3."""
    return {int(port) for text in texts for port in QUIC.findall(text)}


def opened_warnings(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """A warning if the new files open ports that the old ones did not."""
    opened = sorted(udp_ports(after) - udp_ports(before))
    if not opened:
        return []
    ports = ", ".join(map(str, opened))
    return [
        f"nginx now also listens on UDP port {ports}, for HTTP/3. To use it, open this port in the firewall. To close "
        "it, set nginx_http3: false."
    ]
