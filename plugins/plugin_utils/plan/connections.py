# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Connections that nginx keeps open to applications. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import IMAGE, SERVERS

# Seconds that nginx keeps a connection to an application. At high rates, that is dozens of requests. A connection of
# this age may stay idle for the same time before its last request. So after twice the time, no connection leads to the
# old release.
KEPT = 0.2


KEPT_AFTER_SWITCH = 2 * KEPT + 0.5


# Idle connections to an application that each nginx worker keeps: enough for the threads of a few workers.
KEPT_CONNECTIONS = 16


def keepalive(app: dict[str, Any]) -> int:
    """Connections to keep: the number that is set, or a default if a kept connection can't lose a request.

    The default depends on the settings of every server, not on which is chosen, so a change of the server does not
    reload nginx.
    """
    named = app["site"]["keepalive"]
    if named is not None:
        return int(named)
    if app["server"] == IMAGE.name:
        return 0
    return KEPT_CONNECTIONS if all(server.keeps_connections(app) for server in SERVERS.values()) else 0


def may_use_uwsgi(app: dict[str, Any]) -> bool:
    """Whether a release of this application may run under uWSGI, now or after a change of its server."""
    return app["server"] == "uwsgi" or all(server.protocol(app) == "wsgi" for server in SERVERS.values())
