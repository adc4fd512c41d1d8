# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Keep uv's cache of an application as small as its environments.

Each application has a cache of its own: the build account of one application could otherwise change what another one
installs.
"""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.source_text import source_text
from ansible_collections.pyweb.stack.plugins.module_utils.release import trimming
from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import site_packages
from ansible_collections.pyweb.stack.plugins.module_utils.release.listed_pythons import prune as prune_pythons
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import Program, run_as_builder, tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    COMPLETE,
    Layout,
    build_account,
    builder_of,
)

# Seconds for the removal.
TIMEOUT = 300
PYTHON = "/usr/bin/python3"
# A cache that is larger than twice the kept environments and this many bytes is removed as a whole.
SPARE = 512 * 1024**2
# A file of root with the environments, and the releases with own ones, for which the cache was trimmed.
TRIMMED = ".cache_trimmed"


def free_space(layout: Layout) -> list[str]:
    """Remove from the cache, and from the interpreters that uv has provided, what no release needs; return warnings.

    The release is live already, so a failure only leaves files behind.
    """
    warnings = []
    try:
        warnings.append(trim_cache(layout))
        prune_pythons(layout)
    except (HostError, OSError, subprocess.SubprocessError) as error:
        warnings.append(f"webapps '{layout.name}': unused files of uv could not be removed: {error}")
    return list(filter(None, warnings))


def trim_cache(layout: Layout) -> str:
    """Remove from the cache what no kept environment uses. Return a warning where that is not possible.

    The same environments are trimmed once. So a change of code, which uses its environment again, costs nothing. An own
    environment of a release is always a new one: the build of the project is in the cache.
    """
    cache = os.path.join(layout.build, "uv")
    venvs = environments(layout)
    state = "".join(f"{name}\n" for name in [*venvs, *releases_with_own(layout)])
    if builder_of(layout.name) is None or not os.path.isdir(cache) or read_state(layout) == state:
        return ""
    paths = [os.path.join(layout.venvs, name) for name in venvs]
    used = {package for path in paths for package in packages_of(path)}
    oldest = min((os.lstat(path).st_mtime for path in paths), default=0.0)
    most = 2 * sum(map(size_of, paths)) + SPARE
    listed = layout.path(f".{secrets.token_hex(8)}.new")
    write(File(listed, "\n".join(sorted(used)), mode=0o400, owner=build_account(layout.name)))
    try:
        code = source_text(trimming)
        command = [PYTHON, "-I", "-c", code, cache, f"{oldest:.0f}", str(most), listed]
        answer = run_as_builder(layout, Program(command, layout.build, {}, TIMEOUT))
    finally:
        os.unlink(listed)
    if answer.returncode != 0:
        return f"webapps '{layout.name}': uv's cache {cache} could not be trimmed: {tail(answer.stderr, 1)}"
    write(File(layout.path(TRIMMED), state, mode=0o600))
    return ""


def environments(layout: Layout) -> list[str]:
    """The names of the complete environments."""
    try:
        names = sorted(os.listdir(layout.venvs))
    except OSError:
        return []
    return [name for name in names if os.path.lexists(os.path.join(layout.venvs, name, COMPLETE))]


def releases_with_own(layout: Layout) -> list[str]:
    """The releases that have an environment of their own."""
    try:
        names = sorted(os.listdir(layout.releases))
    except OSError:
        return []
    paths = [os.path.join(layout.release(name), "venv") for name in names]
    return [name for name, path in zip(names, paths) if os.path.isdir(path) and not os.path.islink(path)]


def read_state(layout: Layout) -> str:
    try:
        with open(layout.path(TRIMMED), encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return ""


def packages_of(path: str) -> set[str]:
    """The packages of an environment, as ``name==version``."""
    found = set()
    for folder in site_packages(path):
        for name in os.listdir(folder):
            parts = trimming.INFO.fullmatch(name)
            if parts:
                found.add(f"{trimming.normalized(parts[1])}=={parts[2]}")
    return found


def size_of(path: str) -> int:
    """The bytes that the files of an environment take."""
    total = 0
    with suppress(OSError):
        for visit in trees.walk(path):
            if not visit.leaving:
                total += sum(one.st_blocks * 512 for one in visit.files.values() if stat.S_ISREG(one.st_mode))
    return total
