# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Lists of exact packages, as uv writes them (``pylock.toml``). Pure; the standard library is enough.

Only the form that uv writes is read: each package is a block that begins with ``[[packages]]``. Paths inside the source
begin with SOURCE, so a list is the same wherever the source is. Another host gets the versions of a list alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    NAME,
    normalized,
)

HEAD = 'lock-version = "1.0"\ncreated-by = "uv"\n'
SOURCE = "@SOURCE@"
BLOCK = "\n[[packages]]\n"
PATH = re.compile(r'(?<=[{\s])path = "([^"\\]*)"')
VERSION = r"[A-Za-z0-9.!+_-]+"
HASHED = re.compile(r"hashes = \{ [a-z0-9]+ = \"[0-9a-f]+\"")
# Bytes of a recorded list.
MOST_LIST = 8 * 1024**2
# The packages of one application, and the characters of a name, a version, an address or a branch.
MOST_PACKAGES, MOST_CHARACTERS = 2000, 300
GIT = re.compile(r'^vcs = \{ type = "git", url = "([^"\\]*)"(?:, requested-revision = "([^"\\]*)")?', re.MULTILINE)
COMMIT = re.compile(r'\bcommit-id = "([0-9a-f]{40})"')
LOGIN = re.compile(r"(?<=://)[^\s/@]*@")
# The permitted values of an entry in the versions.
VALUES = {
    "name": NAME,
    "version": VERSION,
    "git": r"(?:https?|ssh|git|file)://[A-Za-z0-9._~:/@%+-]+",
    "revision": r"[A-Za-z0-9._/+@-]*",
    "commit": r"[0-9a-f]{40}",
}


@dataclass(frozen=True)
class Package:
    """One package of a list. ``text`` is its block."""

    text: str

    @property
    def name(self) -> str:
        found = re.search(rf'^name = "({NAME})"$', self.text, re.MULTILINE)
        return normalized(found[1]) if found else ""

    @property
    def version(self) -> str:
        found = re.search(rf'^version = "({VERSION})"$', self.text, re.MULTILINE)
        return found[1] if found else ""

    @property
    def folder(self) -> str:
        """The folder of a package that is built from a folder of the source, relative to the source; else empty."""
        found = re.search(rf'^directory = \{{ path = "{SOURCE}/?([^"]*)"', self.text, re.MULTILINE)
        return (found[1] or ".") if found else ""

    @property
    def index(self) -> str:
        found = re.search(r'^index = "([^"]+)"$', self.text, re.MULTILINE)
        return found[1] if found else ""

    @property
    def may_change(self) -> bool:
        """Whether files of the source are installed that the list has no hash of."""
        return SOURCE in self.text and not HASHED.search(self.text)

    def as_copy(self) -> Package:
        """The package without a link to the folder that it is built from."""
        return replace(self, text=self.text.replace("editable = true", "editable = false"))


def packages_of(text: str) -> list[Package]:
    return [Package(block.strip("\n")) for block in f"\n{text}".split(BLOCK)[1:]]


def list_of(packages: list[Package]) -> str:
    """The text of a list; empty for no packages."""
    return HEAD + "".join(f"{BLOCK}{package.text}\n" for package in packages) if packages else ""


def without_places(text: str, folder: str, tops: list[str]) -> str:
    """A list whose paths inside the source begin with SOURCE.

    ``folder`` is the one in which uv has written the list; relative paths begin there. ``tops`` are the folders of the
    source and of its copy. Other paths are those of the host.
    """

    def placed(match: re.Match[str]) -> str:
        path = os.path.normpath(os.path.join(folder, match[1]))
        for top in tops:
            if path == top or path.startswith(f"{top}/"):
                return f'path = "{f"{SOURCE}/{os.path.relpath(path, top)}" if path != top else SOURCE}"'
        return f'path = "{path}"'

    for top in tops:
        text = text.replace(f"file://{top}/", f"file://{SOURCE}/").replace(f'"file://{top}"', f'"file://{SOURCE}"')
    return PATH.sub(placed, text)


def with_places(text: str, top: str) -> str:
    """A list whose paths are those in a folder with the source."""
    return text.replace(SOURCE, top)


def versions_of(text: str) -> list[dict[str, str]]:
    """The packages of a list with their versions, and the commits of repositories.

    Packages of folders in the source are left out: the source decides about them.
    """
    return [entry_of(package) for package in packages_of(text) if not package.folder]


def entry_of(package: Package) -> dict[str, str]:
    git, commit = GIT.search(package.text), COMMIT.search(package.text)
    entry = {"name": package.name, "version": package.version}
    if git and commit:
        entry |= {"git": LOGIN.sub("", git[1]), "revision": git[2] or "", "commit": commit[1]}
    return {key: value for key, value in entry.items() if value or key == "name"}


def digest_of(versions: Iterable[Mapping[str, str]]) -> str:
    """A digest of versions, the same for equal ones in any order."""
    ordered = sorted(json.dumps(one, sort_keys=True) for one in versions)
    return hashlib.sha256("\n".join(ordered).encode()).hexdigest()


def problem_of(versions: Any) -> str:
    """Why the versions that another host has resolved can't be used; empty if they can.

    They name packages, versions and commits: no file, no address of a file, and no option.
    """
    if not isinstance(versions, list) or len(versions) > MOST_PACKAGES:
        return f"they are no list of up to {MOST_PACKAGES} packages"
    for one in versions:
        if not isinstance(one, dict) or "name" not in one or not set(one) <= set(VALUES):
            return "an entry is no package with its version"
        for key, value in one.items():
            fits = isinstance(value, str) and len(value) <= MOST_CHARACTERS and re.fullmatch(VALUES[key], value)
            if not fits:
                return f"{str(value)[:40]!r} is no valid {key}"
    names = [normalized(one["name"]) for one in versions]
    twice = next((name for name in names if names.count(name) > 1), "") if len(set(names)) < len(names) else ""
    return f"{twice} is listed twice" if twice else ""


def differences(wanted: Iterable[Mapping[str, str]], found: Iterable[Mapping[str, str]]) -> list[str]:
    """The packages whose versions differ, in words: ``wanted`` are those of another host."""
    before, after = ({one["name"]: told(one) for one in versions} for versions in (wanted, found))
    return [
        f"{name} ({before.get(name, 'not listed')} there, {after.get(name, 'not needed')} here)"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def told(entry: Mapping[str, str]) -> str:
    return entry.get("commit", "")[:12] or entry.get("version", "") or "no version"


def seed_of(versions: Iterable[Mapping[str, str]]) -> str:
    """A list that has uv prefer versions. It has no hashes, so uv asks the index for them."""
    blocks = []
    for one in sorted(versions, key=lambda entry: entry["name"]):
        lines = [f'name = "{one["name"]}"', *([f'version = "{one["version"]}"'] if "version" in one else [])]
        if "commit" in one:
            revision = f', requested-revision = "{one["revision"]}"' if one.get("revision") else ""
            lines.append(f'vcs = {{ type = "git", url = "{one["git"]}"{revision}, commit-id = "{one["commit"]}" }}')
        blocks.append(Package("\n".join(lines)))
    return list_of(blocks)
