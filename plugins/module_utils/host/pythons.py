# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Find the Python interpreters of a host: the system's, those below /usr/local and /opt, and those that uv provided."""

from __future__ import annotations

import glob
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.host.interpreters import account_for, output

# The folder of the interpreters that uv provides. All applications of a host share it.
FOLDER = "/opt/pyweb/python"
# Where other interpreters are searched, the first choice first.
PLACES = (
    "/usr/bin",
    "/usr/local/bin",
    "/usr/local/*/bin",
    "/opt/*/bin",
    "/opt/*/*/bin",
    "/opt/*/*/*/bin",
)
# The folders that uv makes, such as cpython-3.13.5-linux-x86_64-gnu.
PROVIDED = re.compile(r"cpython-(3\.\d{1,2}\.\d{1,3})-linux-[a-z0-9_]+-(?:gnu|musl)[a-z0-9]*")
# A file in the folder of an interpreter that the inventory lists: it stays while no release uses it.
LISTED = ".listed"
CODE = "import sys; v = sys.version_info; print('%d.%d.%d' % v[:3] if v[3] == 'final' else '')"
FULL_VERSION = re.compile(r"3\.\d{1,2}\.\d{1,3}")


@dataclass(frozen=True)
class Python:
    """An interpreter of this host, with its full version, such as 3.13.5."""

    path: str
    version: str


def find(fits: Callable[[str], bool], minor: str = "", folder: str = FOLDER) -> Python | None:
    """The first interpreter that fits: one that is there, else one that uv has provided before.

    Without a ``minor`` version, such as 3.13, it is the newest one.
    """
    found = [one for one in (*installed(minor), *provided(folder)) if fits(one.version)]
    return max(found, key=lambda one: numbers(one.version), default=None) if not minor else next(iter(found), None)


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def installed(minor: str = "") -> Iterator[Python]:
    """The interpreters that root alone can change, each once."""
    seen = set()
    for place in PLACES:
        for path in sorted(glob.glob(f"{place}/python{minor or '3.*'}")):
            real = os.path.realpath(path)
            known = real in seen or not re.fullmatch(r"python3\.\d{1,2}", os.path.basename(path))
            seen.add(real)
            if known or path.startswith(f"{FOLDER}/") or is_environment(path) or not is_roots(path):
                continue
            version = full_version(path)
            if version:
                yield Python(path, version)


def provided(folder: str = FOLDER) -> Iterator[Python]:
    """The interpreters that uv has provided, the newest first."""
    with suppress(OSError):
        names = [name for name in os.listdir(folder) if PROVIDED.fullmatch(name)]
        for name in sorted(names, key=lambda name: numbers(version_in(name)), reverse=True):
            version = version_in(name)
            path = os.path.join(folder, name, "bin", f"python{version.rpartition('.')[0]}")
            if os.path.isfile(path) and not os.path.islink(os.path.join(folder, name)) and is_roots(path):
                yield Python(path, version)


def version_in(name: str) -> str:
    """The version in the name of a folder that uv made."""
    found = PROVIDED.fullmatch(name)
    return found[1] if found else "0"


def full_version(path: str, root: str = "/srv/webapps") -> str:
    """The version of an interpreter, such as 3.13.5; empty for a preliminary version, and for any other program."""
    answer = output([path, "-I", "-c", CODE], account_for(path, root)).strip()
    return answer if FULL_VERSION.fullmatch(answer) else ""


def is_environment(path: str) -> bool:
    """Whether an interpreter is that of a virtual environment."""
    return os.path.exists(os.path.join(os.path.dirname(os.path.dirname(path)), "pyvenv.cfg"))


def is_roots(path: str) -> bool:
    """Whether root alone can change a program and all folders above it."""
    for start in (path, os.path.realpath(path)):
        here = start
        while True:
            try:
                status = os.stat(here)
            except OSError:
                return False
            # Debian's group of administrators of /usr/local has no members.
            is_open = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid not in (0, 50))
            if status.st_uid != 0 or (is_open and not status.st_mode & stat.S_ISVTX):
                return False
            if here == "/":
                break
            here = os.path.dirname(here)
    return True


def closed_folder(path: str, uid: int = acl.NOBODY, gids: tuple[int, ...] = ()) -> str:
    """The first folder on the way to a program that an account can't enter; empty if there is none."""
    for target in (path, os.path.realpath(path)):
        here = ""
        for name in target.split("/")[1:-1]:
            here = f"{here}/{name}"
            with suppress(OSError):
                if not acl.permits(here, uid, list(gids), 1):
                    return here
    return ""


def owner_of(path: str) -> str:
    """The name of the account that owns a folder."""
    number = os.stat(path).st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def home_of(one: Python) -> str:
    """The folder of a provided interpreter."""
    return os.path.dirname(os.path.dirname(one.path))


def state(folder: str = FOLDER) -> list[dict[str, Any]]:
    """The provided interpreters: version, path, and the checksum of the archive that the inventory has listed."""
    return [{"version": one.version, "path": one.path, "listed": listed_checksum(one)} for one in provided(folder)]


def listed_checksum(one: Python) -> str:
    try:
        with open(os.path.join(home_of(one), LISTED), encoding="ascii") as stream:
            return stream.read().strip()
    except (OSError, ValueError):
        return ""
