# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The requirements of one build: its files, read and checked, and its packages."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import indexes_of, run_uv
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    MOST_BYTES,
    Line,
    content,
    kind,
    lines_of,
    logical_lines,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.locks import (
    member_name,
    unused_index,
    unverified_package,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.reading import (
    automatic,
    check_files,
    ignored,
    is_too_old,
    old_server_message,
    pinned_too_old,
    pins,
)


@dataclass
class Requirements:
    """The requirements of an application: files, by their names in the application root, and packages."""

    files: list[str]
    packages: list[str]
    # The lines of requirements files and of exported locks, by the names of the files.
    lines: dict[str, list[Line]] = field(default_factory=dict)
    # The paths of the requirements files that uv has written for locks, by the names of the locks.
    exported: dict[str, str] = field(default_factory=dict)


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


def read_requirements(build: Build, wanted: Requirements) -> None:
    """Read the lines of requirements files, and have uv write the locks as requirements files for this host."""
    for name in wanted.files:
        if kind(name) == "text":
            wanted.lines[name] = lines_of(build.root, name, build.source)
        if kind(name) == "lock":
            export_lock(build, wanted, name)


def export_lock(build: Build, wanted: Requirements, name: str) -> None:
    lock = os.path.normpath(os.path.join(build.root, name))
    package, index = unverified_package(lock, indexes_of(build.spec["python"]))
    if package:
        raise build.error(
            f"'{name}' takes {package} from the index '{index}' without a hash, so another {package} could be "
            "installed in its place. Name the index in python.extra_index_urls, or the file itself: "
            f'[tool.uv.sources] {package} = {{path = "…"}}.'
        )
    # From a workspace, uv exports what the member in the application root needs. Its paths begin at the lock.
    is_above = os.path.realpath(build.root).startswith(os.path.realpath(os.path.dirname(lock)) + "/")
    project = build.root if is_above and member_name(lock, build.root) else os.path.dirname(lock)
    path = os.path.join(build.layout.build, f"{build.identity}-{secrets.token_hex(8)}.txt")
    wanted.exported[name] = path
    options = ["--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate"]
    run_uv(build, ["export", *options, "--project", project, "--output-file", path], f"read {name}")
    # The build account has written the file, so it may be anything.
    try:
        text = read_untrusted(path, MOST_BYTES).decode(errors="replace")
    except OSError as error:
        raise build.error(f"{path}, which uv has made of {name}, can't be read: {error.strerror}.") from error
    wanted.lines[name] = [Line(text) for text in logical_lines(text)]


def check_requirements(build: Build, wanted: Requirements) -> None:
    """Refuse requirements that would install other packages than the application asks for."""
    for name in (name for name in wanted.files if kind(name) == "project"):
        index = unused_index(content(os.path.join(build.root, name)), indexes_of(build.spec["python"]))
        if index:
            raise build.error(
                f"'{name}' names the index '{index}', which would not be asked. Name it in the inventory, as "
                "python.index_url or in python.extra_index_urls."
            )
    for server in build.spec["server_packages"][:1]:
        problem = pinned_too_old(build.root, wanted.files, wanted.packages, server, build.source)
        if problem:
            raise build.error(problem)
        for name in wanted.exported:
            for package, found in pins(server, [line.text for line in wanted.lines[name]]):
                if is_too_old(found, server):
                    raise build.error(old_server_message(server, f"'{name}'", package, found))
