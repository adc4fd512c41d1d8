# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The input of the module webapp_traffic. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.operations import inspections
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import health_path
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import present


def questions(names: list[str], webapps: Any, root: str = "/srv/webapps") -> list[dict[str, Any]]:
    """The input ``apps`` of webapp_traffic for these applications of a host."""
    apps = [app for app in present(webapps) if app["name"] in names]
    found = []
    for app, spec in zip(apps, inspections(apps, webapps, root), strict=True):
        path = app["health"]["path"]
        found.append(
            {
                "name": app["name"],
                "logs": spec["logs"]["access"],
                "mount": spec["logs"]["mount"],
                "mounts": spec["logs"]["mounts"],
                "health": health_path(app["site"]["path"], path).partition("?")[0] if path else "",
            }
        )
    return found
