# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Paths that balancers and web hosts agree on."""

from __future__ import annotations

# URLs below this path belong to the collection. Balancers never pass them on to a web host.
OWN_URLS = "/.well-known/pyweb"

# On a web host, it answers balancers: 200, or 404 while the host is drained. With the name of an application behind it,
# the application's own health path answers. On a balancer, it answers everyone: 200, or 503 if no web host is up.
HEALTH_URL = f"{OWN_URLS}/health"

# As long as this file exists, the web host is drained. It belongs to root, and outlasts a reboot.
DRAINED = "/var/lib/pyweb/drained"

# The folder of HAProxy's sockets on a balancer. The name of no application begins with an underscore.
RUN = "/run/pyweb-balancer"
ADMIN_SOCKET = f"{RUN}/_admin.sock"
HEALTH_SOCKET = f"{RUN}/_health.sock"
# The states of the servers, which a new process of HAProxy takes over.
STATE_FILE = f"{RUN}/_states"


def health_url(app: str) -> str:
    """The URL that shows whether an application is healthy."""
    return f"{HEALTH_URL}/{app}"


def socket_of(app: str) -> str:
    """The socket on a balancer that leads to an application."""
    return f"{RUN}/{app}.sock"
