# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Conflicts between the Python that an application needs and the host, found before anything is changed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import (
    PROVIDED_MINORS,
    VERSION_FILE,
    Request,
    is_version,
)

# Only the minor version of the host's Python is known. It counts as the newest patch level.
NEWEST = "999"
UV_PROVIDES = f"uv provides 3.{PROVIDED_MINORS[0]} to 3.{PROVIDED_MINORS[-1]}"


def interpreter_problems(
    app: dict[str, Any], facts: dict[str, Any], asked: Request, packages: list[str]
) -> Iterator[str]:
    """The problems of one application. ``asked`` is what its source asks for, if the controller knows the source."""
    # ansible-core depends on it, but ansible-test imports plugins without it.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        bounds = SpecifierSet(asked.requires)
    except InvalidSpecifier:
        yield (
            f".source: pyproject.toml says requires-python = '{asked.requires}', which is not a version specifier. "
            "Write one, such as '>=3.11'."
        )
        return
    given = app["python"]["interpreter"] or ""
    if given and is_version(given):
        yield from version_problems(given, facts, asked, bounds)
        return
    name = given or "python3"
    found = facts["interpreters"].get(name, {})
    there = ", ".join(facts["pythons"]) or "none"
    if not found.get("path"):
        yield from missing(name, there, packages)
    elif found.get("closed"):
        yield (
            f".python.interpreter: '{name}' is in {found['closed']}, a folder of {found.get('owner', 'root')} that the "
            "accounts of applications may not enter. Set a version, such as '3.13', which uv provides for all "
            "applications, or install Python below /opt."
        )
    elif not found["version"]:
        yield (
            f".python.interpreter: '{name}' ({found['path']}) is not a Python interpreter, or other accounts than "
            "root can't run it. Set one that they can, such as python3."
        )
    elif given and not fits(found["version"], bounds):
        yield (
            f".python.interpreter: '{name}' is Python {found['version']} on the host, but pyproject.toml says "
            f"requires-python = '{asked.requires}'. Set python.interpreter to a version that fits, which uv provides "
            f"(the host has: {there}), or change requires-python if the application supports {found['version']}."
        )
    elif not given:
        yield from source_problems(found["version"], there, facts, asked, bounds)


def missing(name: str, there: str, packages: list[str]) -> Iterator[str]:
    program = name.rpartition("/")[2]
    if not any(re.fullmatch(rf"{re.escape(program)}(-minimal|-venv|-dev|-full)?", one) for one in packages):
        yield (
            f".python.interpreter: '{name}' is not on the host, which has: {there}. Choose one of these, add the "
            f"Debian package of '{name}' to python_packages, or set a version, such as '3.13', which uv provides."
        )


def version_problems(given: str, facts: dict[str, Any], asked: Request, bounds: Any) -> Iterator[str]:
    """The problems of an interpreter that the inventory gives by its version."""
    if not fits(given, bounds):
        yield (
            f".python.interpreter: '{given}' is set, but pyproject.toml says requires-python = '{asked.requires}'. Set "
            "a version that fits, or leave python.interpreter out."
        )
    elif not facts["interpreters"].get(given, {}).get("path") and not can_provide(given):
        yield (
            f".python.interpreter: the host has no Python {given}, and {UV_PROVIDES}. Choose another version, or "
            "install this one below /opt."
        )


def source_problems(system: str, there: str, facts: dict[str, Any], asked: Request, bounds: Any) -> Iterator[str]:
    """The problems of a source that chooses its interpreter itself."""
    if (not asked.version or asked.minor == system) and fits(system, bounds):
        return
    if asked.version and not fits(asked.minor, bounds):
        yield (
            f".source: {VERSION_FILE} says {asked.version}, but pyproject.toml says requires-python = "
            f"'{asked.requires}', so no Python fits both. Correct one of them."
        )
        return
    known = [one.removeprefix("python") for one in facts["pythons"]]
    known += [
        ".".join(str(one.get("version", "")).split(".")[:2])
        for one in facts["provided_pythons"]
        if isinstance(one, dict)
    ]
    known += [f"3.{minor}" for minor in PROVIDED_MINORS]
    if not any(fits(minor, bounds) and asked.minor in ("", minor) for minor in known):
        yield (
            f".python.interpreter: the host's python3 is Python {system}, but {asked}. The host has: {there}, and "
            f"{UV_PROVIDES}, so no Python fits. Correct the source, or install this Python below /opt, and name it as "
            "python.interpreter."
        )


def fits(version: str, bounds: Any) -> bool:
    """Whether a version fits, or any patch level of a minor version."""
    return bool(bounds.contains(f"{version}.{NEWEST}" if version.count(".") == 1 else version, prereleases=True)) or (
        version.count(".") == 1 and any(bounds.contains(f"{version}.{patch}", prereleases=True) for patch in range(40))
    )


def can_provide(version: str) -> bool:
    """Whether the tested uv knows archives of a version."""
    return int(version.split(".")[1]) in PROVIDED_MINORS
