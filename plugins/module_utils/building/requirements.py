# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The requirements of one build: its files, read and checked, and its packages."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import indexes_of, run_uv
from ansible_collections.pyweb.stack.plugins.module_utils.building.workspace import Workspace
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    MOST_BYTES,
    Line,
    content,
    kind,
    lines_of,
    logical_lines,
    table,
    text_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.locks import (
    index_of_source,
    member_name,
    with_absolute_indexes,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.reading import (
    automatic,
    check_files,
    ignored,
    is_too_old,
    old_server_message,
    pinned_too_old,
    pins,
    tools,
)


@dataclass
class Requirements:
    """The requirements of an application: files, by their names in the application root, and packages."""

    files: list[str]
    packages: list[str]
    # The lines of requirements files and of exported locks, by the names of the files.
    lines: dict[str, list[Line]] = field(default_factory=dict)


def wanted_requirements(build: Build) -> Requirements:
    """The requirements of a build, before any file is read."""
    source = build.spec["source"]
    packages = list(build.spec["python"].get("packages") or [])
    if source["kind"] == "package":
        packages.insert(0, source["package"])
    return Requirements(requirement_files(build), packages)


def requirement_files(build: Build) -> list[str]:
    named = build.spec["python"].get("requirements")
    check_files(build.root, build.source, named)
    problem = ignored(build.root, build.source, named)
    if problem:
        raise build.error(problem)
    if named is None:
        found = automatic(build.root, build.source)
        if found.startswith("../"):
            build.spec.get("notes", []).append(
                f"webapps '{build.name}': source.subdir '{build.spec['source']['subdir']}' lists no dependencies, so "
                f"'{found}', above it, is installed. To install something else, set python.requirements ([] for none)."
            )
        return [found] if found else []
    for name in named:
        if not os.path.isfile(os.path.join(build.root, name)):
            candidates = sorted(one for one in os.listdir(build.root) if one.endswith((".txt", ".toml", ".lock")))
            has = f"It has: {', '.join(candidates)}." if candidates else "It has no .txt, .toml or .lock file."
            raise build.error(f"python.requirements names '{name}', but the source has no such file. {has}")
    return list(named)


def read_requirements(build: Build, wanted: Requirements, work: Workspace) -> None:
    """Read the lines of requirements files, and have uv write the locks as requirements files for this host."""
    for name in wanted.files:
        if kind(name) == "text":
            wanted.lines[name] = lines_of(build.root, name, build.source)
        if kind(name) == "lock":
            wanted.lines[name] = exported_lines(build, name, work)
    if any(build.spec["python"].get(key) for key in ("extras", "groups")) and not any(
        kind(name) in ("lock", "project", "program") for name in wanted.files
    ):
        raise build.error(
            "python.extras and python.groups choose from uv.lock or pyproject.toml, but the dependencies are in "
            f"{' and '.join(wanted.files) or 'no file'}. Remove these keys, or name uv.lock or pyproject.toml in "
            "python.requirements."
        )


def settings_of_uv(build: Build) -> list[str]:
    """The files of the source in which uv finds its settings, beside the application root and above it."""
    found, folder = [], os.path.realpath(build.root)
    while folder.startswith(os.path.realpath(build.source)):
        for name in ("pyproject.toml", "uv.toml"):
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                found.append(os.path.relpath(path, os.path.realpath(build.root)))
        folder = os.path.dirname(folder)
    return found


def settings_text(build: Build, name: str) -> str:
    """The settings of uv in such a file: a new version of the project, or a setting of another tool, is none."""
    text = text_of(build.root, name, build.source)
    found = table(text) if os.path.basename(name) == "pyproject.toml" else None
    return text if found is None else json.dumps(tools(found).get("uv"), sort_keys=True, default=str)


def selections(build: Build) -> list[str]:
    """The options of uv for what is installed of a lock. Groups for development are not, unless they are named."""
    python = build.spec["python"]
    groups = list(python.get("groups") or [])
    return [
        *([] if "dev" in groups else ["--no-dev"]),
        *(part for one in groups for part in ("--group", one)),
        *(part for one in python.get("extras") or [] for part in ("--extra", one)),
    ]


def project_folder(build: Build, name: str, work: Workspace) -> str:
    """The project of a lock. From a workspace, uv exports what the member in the application root needs."""
    lock = os.path.normpath(os.path.join(build.root, name))
    is_above = os.path.realpath(build.root).startswith(os.path.realpath(os.path.dirname(lock)) + "/")
    folder = build.root if is_above and member_name(lock, build.root) else os.path.dirname(lock)
    needs_copy = with_absolute_indexes(content(lock), "/") != content(lock)
    return work.inside(folder) if needs_copy else folder


def exported_lines(build: Build, name: str, work: Workspace) -> list[Line]:
    """The lines of a requirements file with the packages that a lock installs, without folders of the source."""
    path = work.output("requirements.txt")
    options = ["--quiet", "--frozen", "--no-emit-local", "--no-header", "--no-annotate", *selections(build)]
    arguments = ["export", *options, "--project", project_folder(build, name, work), "--output-file", path]
    run_uv(build, arguments, f"read {name}", in_source=True)
    # The build account has written the file, so it may be anything.
    try:
        text = read_untrusted(path, MOST_BYTES).decode(errors="replace")
    except OSError as error:
        raise build.error(f"{path}, which uv has made of {name}, can't be read: {error.strerror}.") from error
    return [Line(text) for text in logical_lines(text)]


def check_requirements(build: Build, wanted: Requirements) -> None:
    """Refuse an app server that is too old, before anything is installed. Report indexes that only the source names."""
    for name in settings_of_uv(build):
        text = content(os.path.normpath(os.path.join(build.root, name)))
        index = index_of_source(text, indexes_of(build.spec["python"]))
        if index and any(kind(one) in ("project", "text") for one in wanted.files):
            build.spec.get("notes", []).append(
                f"webapps '{build.name}': packages may also come from the index '{index}', which {name} names. To end "
                "this warning, name the index in python.extra_index_urls too, or remove it there."
            )
    for server in build.spec["server_packages"][:1]:
        problem = pinned_too_old(build.root, wanted.files, wanted.packages, server, build.source)
        if problem:
            raise build.error(problem)
        for name in (name for name in wanted.files if kind(name) == "lock"):
            for package, found in pins(server, [line.text for line in wanted.lines[name]]):
                if is_too_old(found, server):
                    raise build.error(old_server_message(server, f"'{name}'", package, found))
