# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Long connections that an app server ends, because its time-out limits every request. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.locations import SILENCE
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import server_of


def cut_connections(apps: list[dict[str, Any]]) -> list[str]:
    """The WebSockets and streams of an inventory that end early. ``apps`` is normalised."""
    return [text for app in apps if app["state"] == "present" for text in cut(app)]


def cut(app: dict[str, Any]) -> Iterator[str]:
    if not server_of(app).limits_requests(app) or int(app["timeout"]) >= SILENCE:
        return
    site = app["site"]
    named = [("site", site), *((f"site.locations '{one['path']}'", one) for one in site["locations"])]
    for where, settings in named:
        keys = [key for key, value in (("websocket", True), ("buffering", False)) if settings[key] is value]
        if keys:
            value, server, seconds = str(settings[keys[0]]).lower(), app["server"], app["timeout"]
            yield (
                f"webapps '{app['name']}'.{where}.{keys[0]}: {value}: {server} ends each request after {seconds} "
                "seconds (timeout), also a WebSocket, a stream and a slow download. The other requests of the same "
                "worker end with it. Set timeout to the longest time of such a connection, or use server: granian "
                "(WebSocket only with ASGI) or gunicorn with threads."
            )
