# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Lists of exact packages, as uv writes them (``pylock.toml``). Pure; the standard library is enough.

Only the form that uv writes is read: each package is a block that begins with ``[[packages]]``. Paths inside the source
begin with SOURCE, so a list is the same wherever the source is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

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


def problem_of(text: str) -> str:
    """Why a list that comes from elsewhere can't be used; empty if it can.

    A list names packages, versions, and files with hashes. No file of the host is one of them.
    """
    if len(text) > MOST_LIST:
        return f"it has more than {MOST_LIST // 1024**2} MiB"
    for package in packages_of(text):
        if not package.name:
            return "a package has no valid name"
        if "\nversion = " in package.text and not package.version:
            return f"the version of {package.name} is not valid"
        if not all(map(is_in_source, re.findall(r'\b(?:path = "|url = "file:)([^"]*)"', package.text))):
            return f"{package.name} is a file of a host"
        if re.search(r"^(wheels|sdist|archive) = ", package.text, re.MULTILINE) and not HASHED.search(package.text):
            return f"{package.name} has no hash"
    return ""


def is_in_source(path: str) -> bool:
    """Whether a path of a list, or an address without its scheme, stays in the source."""
    rest = path.removeprefix("//")
    is_below = rest == SOURCE or rest.startswith(f"{SOURCE}/")
    return is_below and os.path.normpath(rest) == rest and not re.search(r"\\|%2e", rest, re.IGNORECASE)


def seed_of(versions: dict[str, str]) -> str:
    """A list that has uv prefer versions. It has no hashes, so uv asks the index for them."""
    return list_of([Package(f'name = "{name}"\nversion = "{version}"') for name, version in sorted(versions.items())])
