# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The dependencies that an application asks for: the files that count, and the app server that they may pin.

Used on the controller and on the host, so the standard library is enough.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    EXTRAS,
    HASH,
    NAME,
    check_inside,
    content,
    kind,
    lines_of,
    normalized,
    table,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.locks import locked_pins, member_name

# The files that list dependencies, the most exact first.
REQUIREMENT_FILES = ("uv.lock", "pylock.toml", "requirements.txt", "pyproject.toml")

# Locks that uv can't read, and how to turn each into a file that it reads.
IGNORED_LOCKS = {
    "poetry.lock": "Run: poetry export -f requirements.txt -o requirements.txt",
    "pdm.lock": "Run: pdm export --prod -o requirements.txt",
    "Pipfile.lock": "Run: pipenv requirements > requirements.txt",
    "Pipfile": "Run: pipenv lock && pipenv requirements > requirements.txt",
    "pixi.lock": "List the versions in a requirements.txt",
    "conda-lock.yml": "List the versions in a requirements.txt",
}
# Locks that uv can read if they are named.
UNNAMED_LOCKS = ("pylock.*.toml", "requirements.lock", "requirements-lock.txt", "requirements.lock.txt")

# Packages that install the same program as another.
SAME_PROGRAM = {"pyuwsgi": ("uwsgi",)}


def automatic(root: str, top: str) -> str:
    """The file that counts where none is named, relative to the application root; empty where the source has none.

    The lock of a workspace is above its members, at most at the top of the source. If the application root has no list
    of its own, that of the nearest folder above it counts.
    """
    found = own(root, top)
    for prefix, folder in [] if found else folders_up(root, top):
        for name in REQUIREMENT_FILES:
            if os.path.isfile(os.path.join(folder, name)) and (name != "pyproject.toml" or lists_dependencies(folder)):
                return f"{prefix}{name}"
    return found


def folders_up(root: str, top: str) -> Iterator[tuple[str, str]]:
    """The application root and the folders above it up to the top of the source, and how a path goes up to each."""
    prefix, folder, highest = "", os.path.realpath(root), os.path.realpath(top)
    yield prefix, folder
    while folder.startswith(f"{highest}/"):
        prefix, folder = f"../{prefix}", os.path.dirname(folder)
        yield prefix, folder


def own(root: str, top: str) -> str:
    """The file that lists the dependencies of an application root itself, or of the workspace that it belongs to."""
    found = next((name for name in REQUIREMENT_FILES if os.path.isfile(os.path.join(root, name))), "")
    if found not in ("", "pyproject.toml"):
        return found
    if found and not lists_dependencies(root):
        found = ""
    folder = os.path.realpath(root)
    while folder != os.path.realpath(top) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        lock = os.path.join(folder, "uv.lock")
        if os.path.isfile(lock):
            return os.path.relpath(lock, os.path.realpath(root)) if member_name(lock, root) else found
    return found


def tools(found: dict[str, Any]) -> dict[str, Any]:
    """The settings of tools in a pyproject.toml, each a table."""
    given = found.get("tool")
    return {name: one for name, one in given.items() if isinstance(one, dict)} if isinstance(given, dict) else {}


def lists_dependencies(root: str) -> bool:
    """Whether a pyproject.toml is more than settings of other tools."""
    found = table(content(os.path.join(root, "pyproject.toml")))
    if found is None or "project" in found or "build-system" in found or "poetry" in tools(found):
        return True
    return any(os.path.exists(os.path.join(root, name)) for name in ("setup.py", "setup.cfg"))


def ignored(root: str, top: str, named: list[str] | None) -> str:
    """Why the dependencies would not be installed as the source locks them; empty where they are."""
    for name in named or []:
        if os.path.basename(name) in IGNORED_LOCKS:
            remedy = IGNORED_LOCKS[os.path.basename(name)]
            return f"python.requirements names '{name}', which uv can't read. {remedy}, and name that file."
    counted = automatic(root, top)
    if named is not None or os.path.basename(counted) not in ("", "pyproject.toml"):
        return ""
    for prefix, folder in folders_up(root, top):
        if problem := ignored_in(folder, prefix):
            return problem
        if counted and prefix == counted[: -len("pyproject.toml")]:
            break
    return ""


def ignored_in(folder: str, prefix: str) -> str:
    """Why a list of dependencies in a folder would be ignored. ``prefix`` leads there from the application root."""
    explicit = "To install something else, name its files as python.requirements ([] for none)."
    for name, remedy in IGNORED_LOCKS.items():
        if os.path.isfile(os.path.join(folder, name)):
            return f"'{prefix}{name}' lists the versions to install, but uv can't read it. {remedy}. {explicit}"
    for name in sorted(os.listdir(folder)):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in UNNAMED_LOCKS):
            return (
                f"'{prefix}{name}' lists the versions to install, but it is not read by default. Set "
                f"python: {{requirements: [{prefix}{name}]}}. {explicit}"
            )
    found = table(content(os.path.join(folder, "pyproject.toml"))) or {}
    poetry = tools(found).get("poetry", {})
    if poetry.get("package-mode") is False and "project" not in found:
        return (
            f"'{prefix}pyproject.toml' lists dependencies for Poetry alone. {IGNORED_LOCKS['poetry.lock']}. {explicit}"
        )
    return ""


def package_name(requirement: str) -> str:
    """The normalized name that a requirement begins with; empty where it begins with none."""
    found = re.match(rf"\s*({NAME})", requirement)
    return normalized(found.group(1)) if found else ""


def version_numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, comparable, without zeros at the end."""
    found = re.match(r"\s*v?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    parts = [int(number) for number in found.group(1).split(".")] if found else []
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def is_too_old(version: str, requirement: str) -> bool:
    """Whether a version is below the minimum of a requirement."""
    least = [version_numbers(bound) for bound in re.findall(r">=\s*([^,;\s]+)", requirement)]
    return bool(version_numbers(version)) and any(version_numbers(version) < bound for bound in least)


def same_program(requirement: str) -> tuple[str, ...]:
    """The packages that install the program of a requirement."""
    name = package_name(requirement)
    return (name, *SAME_PROGRAM.get(name, ()))


def pins(requirement: str, lines: list[str]) -> list[tuple[str, str]]:
    """The packages and exact versions that lines pin for the program of a requirement, on every host."""
    found = []
    for line in lines:
        pin = re.fullmatch(rf"({NAME}){EXTRAS}\s*\(?={{2,3}}\s*([^\s,;()*]+)\)?", HASH.sub("", line).strip())
        if pin and normalized(pin.group(1)) in same_program(requirement):
            found.append((pin.group(1), pin.group(2)))
    return found


def old_server_message(requirement: str, place: str, name: str, version: str) -> str:
    """The message for an app server that is pinned to a version which this collection can't run."""
    return (
        f"{place} asks for {name} {version}, but the application is served by {requirement}. Ask for a version that "
        f"fits, or remove {name} from {place}: the app server is added automatically."
    )


def check_files(root: str, top: str, named: list[str] | None) -> None:
    """Refuse lists of dependencies that are outside of the source, by a link. Raises RequirementsError."""
    for name in named or []:
        if os.path.lexists(os.path.join(root, name)):
            check_inside(os.path.normpath(os.path.join(root, name)), top)
    for _prefix, folder in folders_up(root, top):
        for name in (*REQUIREMENT_FILES, *IGNORED_LOCKS):
            if os.path.lexists(os.path.join(folder, name)):
                check_inside(os.path.join(folder, name), top)


def pinned_too_old(root: str, files: list[str], packages: list[str], requirement: str, top: str = "") -> str:
    """The message for an app server that the application pins too low; empty where it does not."""
    for name in files:
        if kind(name) == "text":
            lines = [line.text for line in lines_of(root, name, top)]
        elif kind(name) == "project":
            lines = project_dependencies(content(os.path.join(root, name)))
        elif kind(name) in ("lock", "pylock"):
            lines = locked_pins(root, name)
        else:
            continue
        for package, version in pins(requirement, lines):
            if is_too_old(version, requirement):
                return old_server_message(requirement, f"'{name}'", package, version)
    for package, version in pins(requirement, packages):
        if is_too_old(version, requirement):
            return old_server_message(requirement, "python.packages", package, version)
    return ""


def project_dependencies(text: str) -> list[str]:
    with suppress(AttributeError, TypeError):
        found = (table(text) or {}).get("project", {}).get("dependencies", [])
        return [one for one in found if isinstance(one, str)]
    return []
