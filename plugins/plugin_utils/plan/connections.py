# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Connections that nginx keeps open to applications. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import gunicorn

# Seconds that nginx keeps a connection to an application. At high rates that is dozens of requests, and clients see a
# new release at once. A connection of this age may wait as long again for its last request. After twice the time, no
# connection leads to the old release.
KEPT = 0.2


KEPT_AFTER_SWITCH = 2 * KEPT + 0.5


# Idle connections to an application that each worker of nginx keeps: as many as the threads of a few workers can use.
KEPT_CONNECTIONS = 16


def keepalive(app: dict[str, Any]) -> int:
    """Connections to keep: the number that is set, or some if a kept connection can't lose a request.

    gunicorn's threads serve them well, and a stopping worker still answers what arrives on one. Workers with
    ``max_requests`` get none: in older versions of gunicorn, a worker that replaces itself closes idle connections at
    once. Without regard to ``server``, so that a change of the server does not reload nginx: nginx asks uWSGI by its own
    protocol, which has no kept connections.
    """
    named = app["site"]["keepalive"]
    if named is not None:
        return int(named)
    own = app["gunicorn"]
    threads = gunicorn.worker_class(own, app["threads"]) == "gthread"
    return KEPT_CONNECTIONS if threads and own.get("keepalive") != 0 and not own.get("max_requests") else 0


def may_use_uwsgi(app: dict[str, Any]) -> bool:
    """Whether a release of this application may run under uWSGI, now or after a change of its server."""
    return app["server"] == "uwsgi" or not gunicorn.serves_asgi(app["gunicorn"])
