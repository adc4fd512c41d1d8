# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Paths of the releases and sockets of an application. Pure."""

from __future__ import annotations

import posixpath
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import INHERITS_SOCKETS, Layout


def release_directory(root: str, name: str, identity: str) -> str:
    return f"{root}/{name}/releases/{identity}"


def source_folder(app: dict[str, Any], root: str, release: str = "current") -> str:
    """The application root of the live or the previous release, by its link."""
    subdir = app["source"]["subdir"]
    return f"{root}/{app['name']}/{release}/src/" + (f"{subdir.strip('/')}/" if subdir else "")


def within(path: str, folder: str) -> bool:
    """Whether a relative path is a folder, or in it."""
    return path == folder or path.startswith(f"{folder}/")


def published(app: dict[str, Any], root: str, path: str, release: str = "current") -> str:
    """The place from which nginx serves a path of the application root.

    For a shared folder that is the folder itself. nginx does not follow the link to it in the release, because link and
    folder have different owners.
    """
    path = posixpath.normpath(path.strip("/") or ".")
    if any(within(path, shared) for shared in app["shared"]):
        return f"{root}/{app['name']}/shared/{path}"
    if path.startswith("../"):
        path = posixpath.normpath(posixpath.join(app["source"]["subdir"].strip("/"), path))
        return f"{root}/{app['name']}/{release}/src/{path}"
    return source_folder(app, root, release) + ("" if path == "." else path)


def runtime_directory(app: dict[str, Any], nginx_group: str) -> dict[str, str]:
    """The application's own folder below /run. Releases of earlier versions have their sockets there, for nginx."""
    return {"path": Layout(app["name"]).runtime, "owner": app["name"], "group": nginx_group, "mode": "0710"}


def inherited_sockets(app: dict[str, Any], root: str, nginx_group: str) -> dict[str, Any]:
    """The sockets that the process manager makes for an instance, in a folder of root."""
    layout = Layout(app["name"], root)
    return {
        "paths": layout.inherited_sockets("%i"),
        "group": nginx_group,
        # A release of an earlier version binds its own sockets.
        "condition_path": f"{layout.release('%i')}/{INHERITS_SOCKETS}",
    }
