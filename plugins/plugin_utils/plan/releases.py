# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The desired releases of the applications. Pure."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import RELEASE
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import background
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications, present
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.containers import container_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.named_paths import (
    named_paths,
    pages_of_site,
    static_of_release,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.packaged import copies
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.paths import release_directory, within
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.resources import health_timeout, resolved_process_manager
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.servers import entry, protocol
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.services import sandboxes
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import IMAGE, server_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import is_complete, is_given, source_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options


def releases(
    webapps: Any,
    facts: dict[str, Any],
    process_manager: str = "auto",
    server_requirements: dict[str, str] | None = None,
    files: list[dict[str, Any]] | None = None,
    root: str = "/srv/webapps",
    nginx_group: str = "www-data",
) -> list[dict[str, Any]]:
    """The desired releases of the applications. ``files`` are the files of the roles of app servers."""
    items = []
    for app in applications(webapps):
        item = {"name": app["name"], "state": app["state"], "purge": app["purge"]}
        if app["state"] == "present":
            manager = resolved_process_manager(app, process_manager, facts)
            environment = {"WEBAPP_SERVER": app["server"], "WEBAPP_PROCESS_MANAGER": manager}
            if app["site"]["path"] != "/":
                environment["SCRIPT_NAME"] = app["site"]["path"]
            item |= {
                # Deploy the commit or the image that the look has checked.
                "source": {**source_of(app), **pinned(app, facts), "named": named_paths(app)},
                "python": app["python"],
                **container_of(app, facts),
                "server_packages": server_packages(app, server_requirements or {}),
                "wsgi": app["wsgi"],
                "protocol": protocol(app),
                "entry": entry(app),
                "environment": environment,
                "env": app["env"],
                "files": app["files"],
                # The command of an image imports whatever it likes.
                "import_check": app["import_check"] and app["server"] != IMAGE.name,
                "shared": app["shared"],
                "served": served_from_shared(app),
                "stop_first": app["switch"] == "stop_first",
                "static": static_of_release(app),
                "build_commands": [*copies(app), *app["commands"]["build"]],
                "import_timeout": health_timeout(app),
                "process_manager": manager,
                "limits": app["limits"],
                "processes": background.services(app),
                "jobs": bool(app["jobs"]),
                "sandbox": sandboxes(app, root, nginx_group) if facts["init"] == "systemd" else {},
                "server_files": [
                    *files_of_release(files or [], release_directory(root, app["name"], RELEASE)),
                    *background.launchers(app, root),
                ],
            }
        items.append(item)
    return items


def served_from_shared(app: dict[str, Any]) -> list[str]:
    """The folders below shared/ that nginx serves itself: static files and error pages."""
    found = set()
    for shared in app["shared"]:
        for item in app["site"]["static"]:
            static = posixpath.normpath(item["path"].strip("/") or ".")
            if within(static, shared):
                found.add(static)
            elif static == "." or within(shared, static):
                found.add(shared)
        found |= {posixpath.dirname(page) for page in pages_of_site(app["site"]) if within(page, shared)}
    return sorted(found)


def files_of_release(files: list[dict[str, Any]], directory: str) -> list[dict[str, Any]]:
    """The files that belong to a release, with paths relative to it."""
    return [
        {**file, "path": file["path"].removeprefix(f"{directory}/")}
        for file in files
        if file["path"].startswith(f"{directory}/")
    ]


def server_packages(app: dict[str, Any], requirements: dict[str, str]) -> list[str]:
    """The requirements that install the application server. An image has it already."""
    if is_complete(app):
        return []
    return server_of(app).requirements(app, requirements.get(app["server"], app["server"]))


def locked_requirements(webapps: Any, requirements: dict[str, str]) -> set[str]:
    """The requirements of all app servers for which this collection has a lock: the user has not chosen them."""
    defaults = role_options("webapp")["webapp_server_requirements"]["default"]
    found: set[str] = set()
    for app in present(webapps):
        packages = server_packages(app, requirements)
        is_chosen = requirements.get(app["server"]) != defaults.get(app["server"])
        found |= {*(packages[1:] if is_chosen else packages)}
    return found


def pinned(app: dict[str, Any], facts: dict[str, Any]) -> dict[str, str]:
    """The commit or the image that the look has found. A host can forge facts, so they provide no other field."""
    found = facts.get("sources", {}).get(app["name"], {})
    wanted = {"commit": r"[0-9a-f]{40}"} if app["source"].get("git") else {}
    if is_complete(app):
        wanted["digest" if is_given(app["source"]) else "environment_digest"] = r"sha256:[0-9a-f]{64}"
    return {
        key: found[key]
        for key, form in wanted.items()
        if isinstance(found.get(key), str) and re.fullmatch(form, found[key])
    }
