# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lists of dependencies of a source, as far as an image without its code can install them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted, without_accounts
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    content,
    files_of_requirements,
    kind,
    lines_of,
    table,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.reading import automatic, is_complete_list, tools
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.self_contained import (
    is_project_self_contained,
    is_pylock_self_contained,
    is_self_contained,
)

# The files beside the lists in which uv finds its settings, and what a lock belongs to.
SETTINGS = ("pyproject.toml", "uv.toml")
# uv replaces such variables by those of the build, which has none of the inventory's.
REFERENCE = re.compile(r"\$\{[A-Z0-9_]+\}")
REMEDY = "The image holds no code of the application."


@dataclass
class Dependencies:
    """Lists by their names in the application root, and the texts of all files that installing them needs.

    The paths of ``files`` are relative to the source. ``complete`` are the options with which a list is installed
    alone; other lists are resolved together.
    """

    lists: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    complete: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def dependencies(app: dict[str, Any], top: str) -> Dependencies:
    """The lists of an application whose source is in the folder ``top``; raises RequirementsError."""
    root = os.path.normpath(os.path.join(top, app["source"]["subdir"].strip("/")))
    named = app["python"]["requirements"]
    names = [name for name in (automatic(root, top),) if name] if named is None else list(named)
    found = Dependencies(lists=names)
    for name in names:
        found.problems += problems_of(root, top, name)
        path = os.path.normpath(os.path.join(root, name))
        beside = [os.path.join(os.path.dirname(path), one) for one in SETTINGS]
        for file in [path, *files_of_requirements(root, name, top), *beside]:
            if os.path.isfile(file):
                found.files[os.path.relpath(file, top)] = content(file)
        if kind(name) == "text":
            found.complete[name] = is_complete_list(content(path), lines_of(root, name, top))
    found.problems += [*secrets_in_lists(found.files, set(names), app["source"]["subdir"]), *secrets_in(app)]
    return found


def secrets_in_lists(files: dict[str, str], names: set[str], subdir: str) -> Iterator[str]:
    """Credentials in the lists, in the lists that they include, and in the settings of uv."""
    for path, written in files.items():
        name = os.path.relpath(path, subdir.strip("/") or ".")
        # The settings beside a list also contain addresses of web pages, whose queries are no credentials.
        hide = accountless if os.path.basename(path) in SETTINGS and name not in names else redacted
        if any(hide(line) != line for line in written.split("\n")):
            yield f"python.requirements '{name}': an address contains a password, which the image would store. {LOGIN}"


def accountless(line: str) -> str:
    return re.sub(r"[^\s'\"]+", lambda word: without_accounts(word[0]), line)


def problems_of(root: str, top: str, name: str) -> Iterator[str]:
    """The parts of a list that such an image can't install."""
    path = os.path.normpath(os.path.join(root, name))
    where, written = f"python.requirements '{name}'", content(path)
    if kind(name) == "program":
        yield f"{where}: only the code of the project lists its dependencies. {REMEDY} List them in requirements.txt."
    elif kind(name) == "lock":
        members = tools(table(content(os.path.join(os.path.dirname(path), "pyproject.toml"))) or {}).get("uv", {})
        if "/" in name or "workspace" in members:
            yield f"{where}: it is the lock of a workspace. {REMEDY} Export it: uv export -o requirements.txt."
    elif kind(name) == "project" and not is_project_self_contained(written):
        yield f"{where}: some dependencies are computed, or in the source. {REMEDY} List them in requirements.txt."
    elif kind(name) == "pylock" and not is_pylock_self_contained(written):
        yield f"{where}: some of its packages are in the source. {REMEDY} Remove them from the list."
    elif kind(name) == "text":
        for line in lines_of(root, name, top):
            if not (line.followed or is_self_contained(line.text)):
                yield f"{where}: '{redacted(line.text)}' needs files of the source. {REMEDY} Remove the line."
    for one in sorted({*REFERENCE.findall(written)} if kind(name) == "text" else ()):
        yield f"{where}: the build of the image does not have the variable {one}. Write its value, or remove the line."


LOGIN = "Remove it, and configure the index in a base image of your own: -e base=IMAGE."


def secrets_in(app: dict[str, Any]) -> Iterator[str]:
    """Settings of the inventory with credentials, and files of the host."""
    python = app["python"]
    indexes = [python["index_url"], *(python["extra_index_urls"] or [])]
    if any(one and redacted(one) != one for one in [*indexes, *python["packages"]]):
        yield f"python: an address contains a password, which the image would store. {LOGIN}"
    if python["ca_bundle"]:
        yield (
            f"python.ca_bundle: '{python['ca_bundle']}' is a file of the host. Choose a base image that trusts this "
            "authority, with -e base=IMAGE, and leave the key out for this run."
        )
