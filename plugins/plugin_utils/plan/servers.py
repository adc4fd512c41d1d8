# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The app servers of releases: their settings, and our module between them and the application. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import RELEASE, Layout
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import present
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.paths import release_directory
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.resources import worker_count
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import Place, server_of

# The callable of our module that wraps the application's callable.
ENTRY = "pyweb_entry:application"


def protocol(app: dict[str, Any]) -> str:
    """The interface between server and application: wsgi or asgi."""
    return server_of(app).protocol(app)


def entry(app: dict[str, Any]) -> dict[str, Any] | None:
    """The tasks of our module that wraps the callable; None if the server calls the application directly."""
    server = server_of(app)
    wanted = server.entry(app)
    prefix = "" if app["site"]["path"] == "/" or not wanted["prefix"] else app["site"]["path"]
    tasks = {**wanted, "proxy_fix": app["proxy_fix"], "prefix": prefix}
    is_needed = any(tasks.values()) or not server.reads(app["wsgi"])
    return {"protocol": protocol(app), **tasks} if is_needed else None


def server_services(
    server: str, webapps: Any, facts: dict[str, Any], root: str = "/srv/webapps"
) -> list[dict[str, Any]]:
    """Input of the role of an app server: one item for each application that it serves. Its release has no ID yet.

    The process manager makes the sockets (``Layout.inherited_sockets``).
    """
    items = []
    for app in present(webapps):
        if app["server"] == server:
            layout = Layout(app["name"], root)
            directory = release_directory(root, app["name"], RELEASE)
            place = Place(directory, layout.notes(RELEASE), layout.stats_socket(RELEASE))
            callable_name = ENTRY if entry(app) else app["wsgi"]
            items.append(server_of(app).item(app, callable_name, worker_count(app, facts), place))
    return items
