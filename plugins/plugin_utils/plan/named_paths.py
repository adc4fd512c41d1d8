# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The paths of a source that an application names. They are sent although .gitignore leaves them out. Pure."""

from __future__ import annotations

import posixpath
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.paths import within


def named_paths(app: dict[str, Any]) -> dict[str, Any]:
    """The named paths, relative to the source, by how they are sent."""
    subdir = app["source"]["subdir"]
    static = [place_of(item["path"], subdir) for item in app["site"]["static"] if is_from_source(item, app)]
    pages = [page for page in pages_of_site(app["site"]) if not any(within(page, one) for one in app["shared"])]
    return {
        "folders": static,
        "files": [place_of(page, subdir) for page in pages],
        "requirements": app["python"]["requirements"],
        "shared": [place_of(folder, subdir) for folder in app["shared"]],
    }


def static_of_release(app: dict[str, Any]) -> list[dict[str, str]]:
    """The static folders that a release must have when its build ends. The host creates shared ones."""
    return [
        {"url": item["url"], "path": item["path"]}
        for item in app["site"]["static"]
        if not is_shared(item["path"], app["shared"])
    ]


def is_from_source(item: dict[str, Any], app: dict[str, Any]) -> bool:
    """Whether a static folder is in the source, not in a package or a shared folder, and no command creates it."""
    return not (item["package"] or app["commands"]["build"] or is_shared(item["path"], app["shared"]))


def is_shared(path: str, shared: list[str]) -> bool:
    """Whether a folder is shared between releases, or is inside a shared folder. The host creates it."""
    return any(f"{path.strip('/')}/".startswith(f"{folder.strip('/')}/") for folder in shared)


def pages_of_site(site: dict[str, Any]) -> list[str]:
    """The files of the source that nginx sends as error pages or as the maintenance page."""
    listed = [page["page"] for place in (site, *site["locations"]) for page in place.get("error_pages") or []]
    closed = [site["maintenance"]["page"]] if (site["maintenance"] or {}).get("page") else []
    return [posixpath.normpath(page.strip("/")) for page in (*listed, *closed)]


def place_of(path: str, subdir: str) -> str:
    """A path of the application root, relative to the source."""
    return posixpath.normpath(posixpath.join(subdir.strip("/") or ".", path.strip("/") or "."))
