# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check the files and folders of a source that an application uses, and the dependencies that it declares."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements import reading as requirements
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import RequirementsError
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import VERSION_FILE, Request, request_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import server_packages
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
    root = folder / subdir
    return (
        dependency_problems(app, root, folder, servers or {})
        + left_out_problems(app, root, folder)
        + given_problems(app, root, folder)
        + [
            f"webapps '{app['name']}'.python.requirements: '{name}' is not a file in {root}. Correct the name, or add "
            "the file to the source."
            for name in app["python"]["requirements"] or []
            if not (root / name).is_file()
        ]
        + [
            f"webapps '{app['name']}'.site.static '{item['url']}': '{item['path']}' is not a folder in {root}."
            f"{same_name(root, item['path'])} If a command creates it, add that command to commands.build."
            for item in app["site"]["static"]
            if not (
                item["package"]
                or app["commands"]["build"]
                or is_shared(item["path"], app["shared"])
                or (root / item["path"]).is_dir()
            )
        ]
    )


def dependency_problems(app: dict[str, Any], root: Path, folder: Path, servers: dict[str, Any]) -> list[str]:
    """Lock files that would be ignored, and an app server that is pinned to a version that is too old."""
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


def left_out_problems(app: dict[str, Any], root: Path, folder: Path) -> list[str]:
    """Static folders that have files here, but of which no file becomes part of the release."""
    here = [
        item
        for item in app["site"]["static"]
        if not (item["package"] or app["commands"]["build"] or is_shared(item["path"], app["shared"]))
        and has_files(root / item["path"])
    ]
    names = source_files(folder) if here else []
    return [
        f"webapps '{app['name']}'.site.static '{item['url']}': '{item['path']}' is in {root}, but a .gitignore names "
        f"it or its files, so they would not become part of the release. Remove that line of .gitignore, or add "
        f"'!{item['path'].strip('/')}/' below it; or let a command of commands.build create the folder."
        for item in here
        if not any(contains(name, place_of(item["path"], app["source"]["subdir"])) for name in names)
    ]


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


def has_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_file() for path in folder.rglob("*"))


def place_of(path: str, subdir: str) -> str:
    return posixpath.normpath(posixpath.join(subdir.strip("/") or ".", path.strip("/") or "."))


def contains(name: str, place: str) -> bool:
    """Whether a file of the source is in a folder, or is a link on the way to it."""
    return place == "." or name.startswith(f"{place}/") or f"{place}/".startswith(f"{name}/")


def is_shared(path: str, shared: list[str]) -> bool:
    """Whether a folder is shared between releases, or is inside a shared folder. The host creates it."""
    return any(f"{path.strip('/')}/".startswith(f"{folder.strip('/')}/") for folder in shared)


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
