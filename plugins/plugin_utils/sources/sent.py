# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files of a folder that become part of a release: those that git would take, and those that are named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    RequirementsError,
    files_of_requirements,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.reading import automatic
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import source_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.left_out import left_out, named_files


def sent_files(folder: Path, source: dict[str, Any]) -> list[str]:
    """The files of a source, relative to the folder and sorted.

    Without ``named``, the source is used for no application, so nothing but the rules of git counts.
    """
    names = set(source_files(folder))
    named = source.get("named")
    if named is None:
        return sorted(names)
    try:
        lists = lists_of_dependencies(folder, source)
    except RequirementsError as error:
        raise SourceError(str(error)) from error
    names.update(named_files(folder, [*(source.get("include") or []), *named["files"], *lists]))
    # A folder that git takes in part stays as git takes it: what it leaves out there may be uploads or a database, and
    # nginx would publish them. The host replaces a shared folder by a link, so the data of the author stays out, too.
    left = [one for one in named["folders"] if not any(is_below(name, one) for name in names)]
    served = named_files(folder, left)
    names.update(name for name in served if not any(name.startswith(f"{shared}/") for shared in named["shared"]))
    subdir = source.get("subdir") or ""
    root = os.path.relpath((folder / subdir).resolve(), folder.resolve())
    if root != "." and not any(name.startswith(f"{root}/") for name in names):
        names.update(named_files(folder, [subdir]))
    # A folder that has got files is not empty.
    filled = {f"{parent}/" for name in names if not name.endswith("/") for parent in parents_of(name)}
    return sorted(names - filled)


def is_below(name: str, folder: str) -> bool:
    """Whether a path is that of a file in a folder."""
    return not name.endswith("/") and (folder == "." or name.startswith(f"{folder}/"))


def parents_of(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def lists_of_dependencies(folder: Path, source: dict[str, Any]) -> list[str]:
    """The files that list the dependencies of an application, and the files of the source that these refer to."""
    root, top = os.path.realpath(folder / (source.get("subdir") or "")), os.path.realpath(folder)
    if not os.path.isdir(root):
        return []
    listed = source["named"]["requirements"]
    if listed is None:
        listed = [name for name in (automatic(root, top),) if name]
    found = []
    for name in listed:
        for path in [os.path.normpath(os.path.join(root, name)), *files_of_requirements(root, name, top)]:
            place = os.path.relpath(path, top)
            if not place.startswith("../"):
                found.append(place)
    return list(dict.fromkeys(found))


def unsent(folder: Path, names: list[str]) -> list[str]:
    """The files and folders that .gitignore leaves out and nothing names, for messages."""
    sent = {*names, *(f"{parent}/" for name in names for parent in parents_of(name))}
    return [name for name in left_out(folder) if name not in sent]
