# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Settings that have no effect, such as those of an app server that does not serve. Pure.

They are announced instead of refused: an application may change to the other server and back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.container import unused_container
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variables import unused_variables
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.locations import SILENCE
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.systemd import unused_directives
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import granian, gunicorn
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import SERVERS, server_of

# gunicorn's worker classes, and settings that gunicorn documents as without effect in them.
GEVENT = ("gevent", "gevent_wsgi", "gevent_pywsgi")
WITHOUT = {
    "worker_connections": ("sync", "tornado"),
    "keepalive": ("sync",),
    **dict.fromkeys(
        ("asgi_loop", "asgi_lifespan", "asgi_disconnect_grace_period", "websocket_max_message_size"),
        ("sync", "gthread", "tornado", *GEVENT),
    ),
}
# Known worker classes that have no threads.
UNTHREADED = ("sync", "tornado", "asgi", *GEVENT)


def unused_settings(webapps: Any, apps: list[dict[str, Any]]) -> list[str]:
    """The settings of an inventory that have no effect. ``webapps`` is as the user wrote it, ``apps`` is normalised."""
    if len(webapps) != len(apps):
        return []
    found = zip(webapps, apps, strict=True)
    return [text for given, app in found if app["state"] == "present" for text in unused(given, app)]


def unused(given: dict[str, Any], app: dict[str, Any]) -> Iterator[str]:
    where, server = f"webapps '{app['name']}'", app["server"]
    yield from unused_variables(app["env"], where)
    yield from unused_container(given, app, where)
    yield from unused_directives(app["systemd"], f"{where}.systemd")
    if app["process_manager"] == "supervisor" and app["systemd"]:
        yield (
            f"{where}.systemd: {', '.join(map(str, app['systemd']))}: no effect on web and background processes, "
            "because supervisor runs them. Remove systemd, or set process_manager: systemd."
        )
    for other in SERVERS:
        if other != server and app[other]:
            yield (
                f"{where}.{other}: {', '.join(map(str, app[other]))}: no effect, because {server} serves the "
                f"application. Remove {other}, or set server: {other}."
            )
    if server == "granian" and granian.protocol(app) == "asgi" and "threads" in given and app["threads"] > 1:
        yield (
            f"{where}.threads: {app['threads']}: no effect, because granian has threads only for WSGI. Remove threads, "
            "or remove granian.interface."
        )
    yield from unusable_websocket(app, where)
    if server != "gunicorn":
        return
    name = gunicorn.worker_class(app["gunicorn"], app["threads"])
    for key, value in app["gunicorn"].items():
        if value is not None and name in WITHOUT.get(key, ()):
            yield f"{where}.gunicorn.{key}: no effect, because the worker class '{name}' ignores it. Remove it."
    if name in UNTHREADED and "threads" in given and app["threads"] > 1:
        yield (
            f"{where}.threads: {app['threads']}: no effect, because the worker class '{name}' has no threads. Remove "
            "threads, or remove worker_class."
        )


def unusable_websocket(app: dict[str, Any], where: str) -> Iterator[str]:
    """nginx passes the upgrade on, but the server refuses it or is blocked by it. See also ``cut_connections``."""
    if not any(item["websocket"] for item in (app["site"], *app["site"]["locations"])):
        return
    server = app["server"]
    if server == "granian" and granian.protocol(app) == "wsgi":
        reason = "granian has WebSocket only for ASGI"
    elif server == "gunicorn" and int(app["timeout"]) >= SILENCE and server_of(app).limits_requests(app):
        reason = "a worker of the class 'sync' has one connection, so other requests wait for another worker"
    else:
        return
    yield (
        f"{where}.site.websocket: clients can't use it, because {reason}. For WSGI, set server: gunicorn and one "
        "thread for each connection. For ASGI, set gunicorn: {worker_class: asgi}, or granian: {interface: asgi}."
    )
