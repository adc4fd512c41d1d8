# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Paths of the releases and sockets of an application. Pure."""

from __future__ import annotations

import posixpath
from typing import Any


def release_directory(root: str, name: str, identity: str) -> str:
    return f"{root}/{name}/releases/{identity}"


def socket_path(name: str, identity: str) -> str:
    return f"/run/webapps/{name}/{identity}.sock"


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
    return source_folder(app, root, release) + ("" if path == "." else path)


def runtime_directory(app: dict[str, Any], nginx_group: str) -> dict[str, str]:
    """The folder of the sockets, which only the application and the web server may enter."""
    return {"path": f"/run/webapps/{app['name']}", "owner": app["name"], "group": nginx_group, "mode": "0710"}
