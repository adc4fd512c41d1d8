# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The inputs of the roles gunicorn and uwsgi. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import RELEASE, Layout
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import present
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.paths import release_directory
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.resources import worker_count
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import gunicorn
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.callables import is_read_by_gunicorn

# The callable of our module that wraps the application's callable.
ENTRY = "pyweb_entry:application"


def protocol(app: dict[str, Any]) -> str:
    """The interface between server and application: wsgi or asgi."""
    return "asgi" if app["server"] == "gunicorn" and gunicorn.serves_asgi(app["gunicorn"]) else "wsgi"


def entry(app: dict[str, Any]) -> dict[str, Any] | None:
    """The tasks of our module that wraps the callable; None if the server calls the application directly."""
    prefix = "" if app["site"]["path"] == "/" else app["site"]["path"]
    asgi = protocol(app) == "asgi"
    # gunicorn's WSGI workers apply a prefix themselves.
    prefix = prefix if asgi or app["server"] == "uwsgi" else ""
    # These two close a connection without reading the rest of a request body.
    # uWSGI supports neither a factory with arguments nor attributes, so it always gets the module.
    drain = app["server"] == "uwsgi" or app["gunicorn"].get("worker_class") == "asgi"
    if not (app["proxy_fix"] or drain or prefix) and is_read_by_gunicorn(app["wsgi"]):
        return None
    return {"protocol": protocol(app), "proxy_fix": app["proxy_fix"], "prefix": prefix, "drain": drain}


def uwsgi_services(webapps: Any, facts: dict[str, Any], root: str = "/srv/webapps") -> list[dict[str, Any]]:
    """Input of the role uwsgi: one item for every application that it serves, for a release that has no ID yet.

    The process manager makes the sockets (``Layout.inherited_sockets``). nginx uses ``socket`` with the uwsgi protocol.
    ``http_socket`` speaks HTTP, for the health check and while nginx still has the HTTP configuration of gunicorn.
    """
    items = []
    for app in present(webapps):
        if app["server"] != "uwsgi":
            continue
        directory = release_directory(root, app["name"], RELEASE)
        layout = Layout(app["name"], root)
        items.append(
            {
                "name": app["name"],
                "module": ENTRY if entry(app) else app["wsgi"],
                "workers": worker_count(app, facts),
                "threads": app["threads"],
                "timeout": app["timeout"],
                "settings": app["uwsgi"],
                "directory": directory,
                "http_socket": "fd://3",
                "socket": "fd://4",
                "ready_file": layout.notes(RELEASE),
                "stats": layout.stats_socket(RELEASE),
                "program": [f"{directory}/bin/run", "uwsgi"],
            }
        )
    return items


def gunicorn_services(webapps: Any, facts: dict[str, Any], root: str = "/srv/webapps") -> list[dict[str, Any]]:
    """Input of the role gunicorn: one item for every application that it serves, for a release that has no ID yet."""
    items = []
    for app in present(webapps):
        if app["server"] != "gunicorn":
            continue
        directory = release_directory(root, app["name"], RELEASE)
        items.append(
            {
                "name": app["name"],
                "wsgi_app": ENTRY if entry(app) else app["wsgi"],
                "workers": worker_count(app, facts),
                "threads": app["threads"],
                "timeout": app["timeout"],
                "settings": app["gunicorn"],
                "directory": directory,
                "bind": "fd://3",
                "ready_file": Layout(app["name"], root).notes(RELEASE),
                "program": [f"{directory}/bin/run", "gunicorn"],
            }
        )
    return items
