# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check the files and folders of a source that an application uses, and the dependencies that it declares."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.ignore_files import ignored_by
from ansible_collections.pyweb.stack.plugins.module_utils.requirements import reading as requirements
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import RequirementsError
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import VERSION_FILE, Request, request_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.named_paths import (
    is_from_source,
    is_shared,
    pages_of_site,
    place_of,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import server_packages
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import is_complete
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import source_files


def folder_problems(app: dict[str, Any], folder: Path, servers: dict[str, Any] | None = None) -> list[str]:
    """The files and folders that an application uses and its source lacks, and problems of its dependencies.

    ``servers`` are the requirements that install the app servers.
    """
    subdir = app["source"]["subdir"]
    if subdir and not (folder / subdir).is_dir():
        return [
            f"webapps '{app['name']}'.source.subdir: '{subdir}' is not a folder in {folder}. Correct the path, or add "
            "the folder to the source."
        ]
    if link := link_on_the_way(app, folder):
        return [
            f"webapps '{app['name']}'.source.subdir: '{subdir}' leads through the link '{link}', so '..' in other "
            "paths is ambiguous. Name the folder that the link leads to."
        ]
    root = folder / subdir
    return (
        dependency_problems(app, root, folder, servers or {})
        + given_problems(app, root, folder)
        + [
            f"webapps '{app['name']}'.python.requirements: '{name}' is not a file in {root}. Correct the name, or add "
            "the file to the source."
            for name in app["python"]["requirements"] or []
            if not (root / name).is_file()
        ]
        + [
            f"webapps '{app['name']}'.site.static '{item['url']}': '{item['path']}' is not a folder in {root}."
            f"{same_name(root, item['path'])}{ignored(app, folder, item['path'])} If a command creates it, run it "
            "before, or add it to commands.build."
            for item in app["site"]["static"]
            if is_from_source(item, app) and not (root / item["path"]).is_dir()
        ]
        + [
            f"webapps '{app['name']}'.shared: '{path}' is a file in the source, but shared takes folders. Move it into "
            f"a folder, such as instance/{posixpath.basename(path)}, and name that: shared: [instance]."
            for path in app["shared"]
            if (root / path).is_file()
        ]
        + [
            f"webapps '{app['name']}'.source.include: '{path}' is not in {folder}. Correct the path, or remove it."
            for path in app["source"].get("include") or []
            if not (folder / path).exists()
        ]
    )


def link_on_the_way(app: dict[str, Any], folder: Path) -> str:
    """The link on the path of ``subdir``, where another path of the application goes up from it; empty otherwise."""
    if not app["source"]["subdir"]:
        return ""
    paths = [*(app["python"]["requirements"] or []), *(item["path"] for item in app["site"]["static"])]
    if not any(path.startswith("../") for path in [*paths, *pages_of_site(app["site"])]):
        return ""
    parts = app["source"]["subdir"].strip("/").split("/")
    ways = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return next((way for way in ways if (folder / way).is_symlink()), "")


def dependency_problems(app: dict[str, Any], root: Path, folder: Path, servers: dict[str, Any]) -> list[str]:
    """Lock files that would be ignored, and an app server that is pinned to a version that is too old."""
    if is_complete(app):
        # The Containerfile installs the packages, by any tool.
        return []
    where = f"webapps '{app['name']}'.python"
    try:
        return [f"{where}: {problem}" for problem in (dependency_problem(app, root, folder, servers),) if problem]
    except RequirementsError as error:
        return [f"{where}: {error}"]


def dependency_problem(app: dict[str, Any], root: Path, folder: Path, servers: dict[str, Any]) -> str:
    requirements.check_files(str(root), str(folder), app["python"]["requirements"])
    problem = requirements.ignored(str(root), str(folder), app["python"]["requirements"])
    if problem:
        return problem
    files = app["python"]["requirements"]
    if files is None:
        files = [name for name in (requirements.automatic(str(root), str(folder)),) if name]
    for server in server_packages(app, servers)[:1]:
        problem = requirements.pinned_too_old(str(root), files, app["python"]["packages"], server, str(folder))
    return problem


def given_problems(app: dict[str, Any], root: Path, folder: Path) -> list[str]:
    """Files of the inventory that the source has as well, and variables with a path that no release will have."""
    where, subdir = f"webapps '{app['name']}'", app["source"]["subdir"]
    doubtful = [file["path"] for file in app["files"] if not file["replace"] and os.path.lexists(root / file["path"])]
    sent = source_files(folder) if doubtful else []
    given = [file["path"] for file in app["files"]]
    paths = {key: posixpath.normpath(value["release"]) for key, value in app["env"].items() if isinstance(value, dict)}
    return [
        f"{where}.files '{path}': the source has this file. Set replace: true to replace it, or choose another path."
        for path in doubtful
        if any(contains(name, place_of(path, subdir)) for name in sent)
    ] + [
        f"{where}.env.{key}: '{path}' is not in {root}. Correct the path. If a command creates it, add that command to "
        "commands.build."
        for key, path in paths.items()
        if not (
            app["commands"]["build"]
            or is_shared(path, app["shared"])
            or (root / path).exists()
            or any(f"{one}/".startswith(f"{path}/") for one in given)
        )
    ]


def contains(name: str, place: str) -> bool:
    """Whether a file of the source is in a folder, or is a link on the way to it."""
    return place == "." or name.startswith(f"{place}/") or f"{place}/".startswith(f"{name}/")


def ignored(app: dict[str, Any], folder: Path, path: str) -> str:
    """The .gitignore that explains why a repository does not have a folder; empty if none names it."""
    rule = ignored_by(str(folder), place_of(path, app["source"]["subdir"]))
    return f" .gitignore leaves it out of the repository ({rule})." if rule else ""


def same_name(root: Path, path: str) -> str:
    """A question that offers a folder of the same name, up to three levels deep."""
    name = Path(path).name
    found = sorted(place for depth in ("*", "*/*", "*/*/*") for place in root.glob(f"{depth}/{name}") if place.is_dir())
    return f" Did you mean '{found[0].relative_to(root)}'?" if found and name else ""


def python_of(app: dict[str, Any], folder: Path) -> Request:
    """The Python that a source asks for. A version file that does not become part of the release is ignored."""
    root = folder / app["source"]["subdir"]
    try:
        request = request_of(str(root), str(folder))
    except RequirementsError:
        return Request()
    if request.version and not any(name.rpartition("/")[2] == VERSION_FILE for name in source_files(folder)):
        return Request(requires=request.requires)
    return request
