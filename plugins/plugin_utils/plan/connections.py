# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Connections that nginx keeps open to applications. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import gunicorn

# Seconds that nginx keeps a connection to an application. At high rates, that is dozens of requests. A connection of
# this age may stay idle for the same time before its last request. So after twice the time, no connection leads to the
# old release.
KEPT = 0.2


KEPT_AFTER_SWITCH = 2 * KEPT + 0.5


# Idle connections to an application that each nginx worker keeps: enough for the threads of a few workers.
KEPT_CONNECTIONS = 16


def keepalive(app: dict[str, Any]) -> int:
    """Connections to keep: the number that is set, or a default if a kept connection can't lose a request.

    gunicorn's gthread workers support them, and a stopping worker still answers requests on them. Workers with
    `max_requests` get none: in older gunicorn versions, a restarting worker closes idle connections immediately. The
    number does not depend on `server`, so a change of the server does not reload nginx. With uWSGI, nginx uses the
    uwsgi protocol, which has no kept connections.
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
