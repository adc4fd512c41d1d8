# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The locked versions and hashes of app servers, as far as a host needs them. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.server_lock import HASHES, SOURCES, VERSIONS


def name_of(requirement: str) -> str:
    """The name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~(;@]", requirement.strip(), maxsplit=1)[0]).lower()


def needed(packages: dict[str, tuple[str, tuple[str, ...]]], requirements: Collection[str]) -> set[str]:
    """The names of the packages that requirements lead to."""
    found: set[str] = set()
    waiting = [name_of(one) for one in requirements]
    while waiting:
        name = waiting.pop()
        if name in packages and name not in found:
            found.add(name)
            waiting += [name_of(one) for one in packages[name][1]]
    return found


def lock_of(requirements: Collection[str], only_wheels: bool = True) -> dict[str, Any]:
    """The part of the lock that some requirements need, for all versions of Python; empty for no requirements."""
    if not requirements:
        return {}
    versions = {
        python: {name: [packages[name][0], list(packages[name][1])] for name in sorted(needed(packages, requirements))}
        for python, packages in VERSIONS.items()
    }
    pins = {f"{name}=={found[0]}" for packages in versions.values() for name, found in packages.items()}
    return {
        "requirements": sorted(requirements),
        "versions": versions,
        "hashes": {pin: list(HASHES[pin]) for pin in sorted(pins)},
        "sources": {
            python: [name for name in packages if not only_wheels or name in SOURCES[python]]
            for python, packages in versions.items()
        },
    }
