# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Decide which locked packages are installed for an app server beside the packages of an application. Pure.

A lock has ``requirements``: those that it is for; ``versions``: of each Python, the packages with their version and
their requirements; ``hashes`` of each version; and ``sources``: of each Python, the packages without wheels.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import EXTRAS, HASH, NAME, normalized
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.reading import package_name
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.versions import fits

REQUIREMENT = re.compile(rf"(?P<name>{NAME}){EXTRAS}\s*(?P<clauses>[^;@]*)(?P<rest>;.*)?")


class LockProblem(ValueError):
    """The reason why the locked versions can't be used."""


def clauses_of(requirement: str) -> str:
    """The clauses about the version in a requirement without a marker."""
    found = REQUIREMENT.fullmatch(HASH.sub("", requirement).strip())
    return found["clauses"] if found else "no version"


def locked_packages(
    lock: dict[str, Any], python: str, missing: list[str], installed: dict[str, str], limits: list[str]
) -> dict[str, str]:
    """The versions to install, by the names of the packages, for the requirements that are missing.

    ``installed`` are the application's own packages. They stay as they are, and so do its ``limits``, the lines of its
    files of constraints. Raises LockProblem if a locked version does not fit them.
    """
    packages = lock["versions"].get(python, {})
    found: dict[str, str] = {}
    waiting = [(one, "the collection") for one in missing]
    while waiting:
        requirement, who = waiting.pop(0)
        name = package_name(requirement)
        if name not in installed and name not in packages:
            raise LockProblem(f"the lock has no {name} for Python {python}")
        version = installed.get(name) or packages[name][0]
        if not fits(version, clauses_of(requirement)):
            raise LockProblem(f"{who} needs {requirement}, but {name} {version} is there")
        if name in installed or name in found:
            continue
        found[name] = version
        waiting += [(one, f"{name} {version}") for one in packages[name][1]]
    for limit in limits:
        name = package_name(limit)
        if name in found and not fits(found[name], clauses_of(limit)):
            raise LockProblem(f"a constraint of the application is {limit}, but the lock has {name} {found[name]}")
    return found


def locked_lines(lock: dict[str, Any], packages: dict[str, str]) -> str:
    """The text of a requirements file with the hashes of packages."""
    lines = []
    for name, version in sorted(packages.items()):
        hashes = " ".join(f"--hash={one}" for one in lock["hashes"][f"{name}=={version}"])
        lines.append(f"{name}=={version} {hashes}\n")
    return "".join(lines)


def only_wheels(lock: dict[str, Any], python: str, packages: dict[str, str]) -> list[str]:
    """The options of uv that refuse to build those packages from source that have wheels."""
    sources = {normalized(one) for one in lock["sources"].get(python, ())}
    return [part for name in sorted(packages) if name not in sources for part in ("--only-binary", name)]
