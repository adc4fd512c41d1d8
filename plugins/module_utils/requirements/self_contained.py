# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Decide whether dependencies provably need no other file of the source. Unknown forms may need one.

Used on the controller and on the host, so the standard library is enough.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    EXTRAS,
    HASH,
    NAME,
    Line,
    content,
    kind,
    table,
)

# Patterns of lines that name a package of an index, an address, or a setting: no other file of the source.
CLAUSE = r"(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
CLAUSES = rf"{CLAUSE}(?:\s*,\s*{CLAUSE})*"
MARKER = r"""(?:\s*;[A-Za-z0-9_.\s()'"<>=!~,*+-]*)?"""
ADDRESS = r"(?:https?|git\+https?|git\+ssh)://\S+"
PACKAGE = re.compile(rf"(?P<name>{NAME}){EXTRAS}\s*(?:{CLAUSES}|\(\s*{CLAUSES}\s*\))?{MARKER}")
DIRECT = re.compile(rf"(?:{NAME}{EXTRAS}\s*@\s*)?{ADDRESS}(?:\s+;.*)?")
OPTION = re.compile(
    rf"--pre|--no-index|--prefer-binary|--require-hashes|--(?:no-binary|only-binary|trusted-host)[=\s]\s*\S+"
    rf"|(?:-i\s|-f\s|--(?:index-url|extra-index-url|find-links)[=\s])\s*{ADDRESS}"
)
# uv takes a name that ends like this for a file.
ARCHIVE = re.compile(r"\.(?:whl|egg|zip|tar|tgz|tbz2?|txz|tlz|gz|bz2|xz|lz|lzma|zst)", re.IGNORECASE)
# The keys of [tool.uv] that name no file.
HARMLESS_UV = frozenset(
    {
        "cache-keys",
        "conflicts",
        "default-groups",
        "dependency-groups",
        "environments",
        "exclude-newer",
        "exclude-newer-package",
        "managed",
        "no-binary",
        "no-binary-package",
        "no-build",
        "no-build-package",
        "package",
        "prerelease",
        "required-environments",
        "required-version",
        "resolution",
    }
)
REMOTE_SOURCE = frozenset(
    {"git", "url", "index", "rev", "tag", "branch", "subdirectory", "marker", "extra", "group", "lfs"}
)


def is_self_contained(text: str) -> bool:
    """Whether a requirement provably needs no file of the source."""
    text = HASH.sub("", text).strip()
    if OPTION.fullmatch(text) or DIRECT.fullmatch(text):
        return True
    package = PACKAGE.fullmatch(text)
    return package is not None and not ARCHIVE.fullmatch(os.path.splitext(package["name"])[1])


def are_lines_self_contained(lines: list[Line]) -> bool:
    return all(line.followed or is_self_contained(line.text) for line in lines)


def is_project_self_contained(text: str) -> bool:
    """Whether a pyproject.toml lists all of its dependencies itself, and none of them is in the source."""
    found = table(text)
    if found is None:
        return False
    try:
        project, uv = found["project"], found.get("tool", {}).get("uv", {})
        if {"dependencies", "optional-dependencies"} & set(project.get("dynamic", [])):
            return False
        optional = project.get("optional-dependencies", {}).values()
        listed = [*project.get("dependencies", []), *(one for group in optional for one in group)]
        for key, value in uv.items():
            if key == "sources":
                listed += [source for sources in value.values() for source in sources_of(sources)]
            elif key == "index":
                listed += [f"--index-url {index['url']}" for index in value]
            elif key.endswith("dependencies"):
                listed += value
            elif key not in HARMLESS_UV:
                return False
        return all(isinstance(one, str) and is_self_contained(one) for one in listed)
    except (AttributeError, KeyError, TypeError):
        return False


def sources_of(given: Any) -> list[str]:
    """Each source of a package in [tool.uv.sources] as a line: its address, or a path for a source in a folder."""
    lines = []
    for source in given if isinstance(given, list) else [given]:
        if not set(source) <= REMOTE_SOURCE:
            return ["./"]
        address = source.get("url", "")
        repository = re.sub(r"^(?!git\+)", "git+", source["git"]) if "git" in source else ""
        lines += [one for one in (address, repository) if one]
    return lines


def is_pylock_self_contained(text: str) -> bool:
    """Whether a pylock.toml lists addresses alone."""
    found = table(text)
    if found is None:
        return False
    try:
        for package in found.get("packages", []):
            if "directory" in package:
                return False
            files = [*package.get("wheels", []), *(package[key] for key in ("sdist", "archive") if key in package)]
            if any("path" in file or not is_self_contained(file["url"]) for file in files):
                return False
            vcs = package.get("vcs")
            if vcs and ("path" in vcs or not is_self_contained(re.sub(r"^(?!git\+)", "git+", vcs["url"]))):
                return False
    except (AttributeError, KeyError, TypeError):
        return False
    return True


def is_file_self_contained(root: str, top: str, name: str) -> bool:
    """Whether a pyproject.toml or a pylock.toml provably needs no other file of the source."""
    path = os.path.normpath(os.path.join(root, name))
    if kind(name) == "project":
        return is_project_self_contained(content(path)) and not is_below_project(os.path.dirname(path), top)
    return kind(name) == "pylock" and is_pylock_self_contained(content(path))


def is_below_project(folder: str, top: str) -> bool:
    """Whether a folder above has a pyproject.toml, which may say where dependencies come from."""
    folder = os.path.realpath(folder)
    while folder != os.path.realpath(top) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        if os.path.isfile(os.path.join(folder, "pyproject.toml")):
            return True
    return False
