# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Read the locks of a source: what they pin, and what an export of them would lose.

Used on the controller and on the host, so the standard library is enough.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import content, kind, table

# The index that uv asks where none is named.
PUBLIC_INDEX = re.compile(r"https://pypi\.[a-z]+/simple")


def member_name(lock: str, root: str) -> str:
    """The name that the lock of a workspace has for the package in the application root; empty for no member."""
    place = os.path.relpath(os.path.realpath(root), os.path.dirname(os.path.realpath(lock)))
    for package in (table(content(lock)) or {}).get("package", []):
        source = package.get("source", {})
        places = [source[key] for key in ("editable", "virtual", "directory") if key in source]
        if any(os.path.normpath(str(one)) == place for one in places):
            return str(package.get("name", ""))
    return ""


def locked_pins(root: str, name: str) -> list[str]:
    """The pins of the packages that a lock installs on every host, as lines."""
    path = os.path.normpath(os.path.join(root, name))
    found = table(content(path)) or {}
    with suppress(AttributeError, KeyError, TypeError):
        if kind(name) == "pylock":
            pinned = [one for one in found["packages"] if "marker" not in one and "version" in one]
            return [f"{one['name']}=={one['version']}" for one in pinned]
        start = member_name(path, root) or member_name(path, os.path.dirname(path))
        packages: dict[str, list[dict[str, Any]]] = {}
        for package in found["package"]:
            packages.setdefault(package["name"], []).append(package)
        waiting, reached = [start], {""}
        while waiting:
            name = waiting.pop()
            if name in reached or len(packages.get(name, [])) != 1:
                continue
            reached.add(name)
            waiting += [one["name"] for one in packages[name][0].get("dependencies", []) if "marker" not in one]
        return [
            f"{name}=={packages[name][0]['version']}" for name in reached if "version" in packages.get(name, [{}])[0]
        ]
    return []


def with_absolute_indexes(text: str, folder: str) -> str:
    """A uv.lock whose indexes that are folders beside it have absolute addresses.

    uv writes the address of the author's folder, and reads no relative address. Another key has the folder of the
    files, relative to the lock.
    """
    return re.sub(
        r'(\{ name = "[^"\n]*"[^}\n]*, index = )"(?![a-z+]+://)([^"\n]+)"',
        lambda found: f'{found[1]}"file://{os.path.normpath(os.path.join(folder, found[2]))}"',
        text,
    )


def unverified_package(lock: str, indexes: list[str]) -> tuple[str, str]:
    """A package that uv.lock takes from another index without a hash, and that index; empty where there is none.

    An export leaves the index out, so another package of that name and version could be installed unnoticed.
    """
    for package in (table(content(lock)) or {}).get("package", []):
        index = package.get("source", {}).get("registry")
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        if index is None or (files and all(file.get("hash") for file in files)):
            continue
        if without_login(index) in map(without_login, indexes):
            continue
        return str(package.get("name", "")), without_login(index)
    return "", ""


def index_of_source(text: str, indexes: list[str]) -> str:
    """An index of a pyproject.toml for any package, which the inventory does not name; empty for none."""
    with suppress(AttributeError, KeyError, TypeError):
        for index in (table(text) or {}).get("tool", {}).get("uv", {}).get("index", []):
            address = without_login(str(index["url"]))
            is_known = bool(PUBLIC_INDEX.fullmatch(address)) or address in map(without_login, indexes)
            if not index.get("explicit") and not is_known:
                return address
    return ""


def without_login(address: str) -> str:
    """The address of an index without credentials, so that it may be recorded."""
    return re.sub(r"^([a-z+]+://)[^/@]*@", r"\1", address.split("?")[0].split("#")[0]).rstrip("/")
