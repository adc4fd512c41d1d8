# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the data that an application has to write, and at the groups of its account. Changes nothing."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.acl import permits
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import mode_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import Budget, walk
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import open_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout

# Entries of `shared` that are looked at, and files that are reported.
MOST_ENTRIES = 2000
MOST_TOLD = 3
# Files without an extension whose first bytes are read.
MOST_READ = 20
DATABASES = re.compile(r"\.(db|db3|sqlite|sqlite3|s3db)(-wal|-shm|-journal)?$")
# An absolute path of SQLite in a variable such as DATABASE_URL.
SQLITE_URL = re.compile(r"sqlite(?:\+\w+)?:///(/[^\s?#'\"]+)")
READ, WRITE, ENTER = 4, 2, 1


def look_at_writing(layout: Layout, variables: dict[str, str], pid: int) -> list[dict[str, Any]]:
    """The databases and folders that the account of an application cannot write, databases first.

    ``why`` is ``mode`` or ``mount``: a mode of the file, or a file system that is read-only for its process.
    """
    try:
        account = pwd.getpwnam(layout.name)
    except KeyError:
        return []
    groups = os.getgrouplist(layout.name, account.pw_gid)
    found = []
    for path, is_database in [*named_databases(variables), *shared_data(layout)]:
        why = refusal(path, account.pw_uid, groups, pid)
        if why:
            found.append({**why, "named": path, "database": is_database})
    found.sort(key=lambda one: not one["database"])
    return found[:MOST_TOLD]


def refusal(path: str, uid: int, groups: list[int], pid: int) -> dict[str, Any]:
    """The file or folder that keeps an account from writing to a path, or from making it; empty if it can."""
    with suppress(OSError):
        there = os.path.lexists(path)
        folder = os.path.dirname(path) if not os.path.isdir(path) else path
        # SQLite also creates files beside a database.
        for one, wanted in (*([(path, WRITE | READ)] if there else []), (folder, WRITE | ENTER)):
            if not all(permits(one, uid, groups, bit) for bit in (READ, WRITE, ENTER) if bit & wanted):
                return {**mode_of(one), "why": "mode"}
        if pid and os.statvfs(f"/proc/{pid}/root{folder}").f_flag & os.ST_RDONLY:
            return {**mode_of(folder), "why": "mount"}
    return {}


def named_databases(variables: dict[str, str]) -> Iterator[tuple[str, bool]]:
    for value in variables.values():
        for path in SQLITE_URL.findall(str(value)):
            yield os.path.normpath(path), True


def shared_data(layout: Layout) -> Iterator[tuple[str, bool]]:
    """The folders of ``shared``, and the databases in it."""
    reads = 0
    with suppress(OSError):
        for visit in walk(layout.shared, Budget(entries=MOST_ENTRIES)):
            if visit.leaving:
                continue
            here = os.path.join(layout.shared, visit.path) if visit.path else layout.shared
            yield here, False
            for name, status in sorted(visit.files.items()):
                if not stat.S_ISREG(status.st_mode):
                    continue
                reads += "." not in name
                if DATABASES.search(name) or ("." not in name and reads <= MOST_READ and is_sqlite(here, name)):
                    yield os.path.join(here, name), True


def is_sqlite(folder: str, name: str) -> bool:
    """Whether a file begins as a database of SQLite, whatever its name is."""
    with suppress(OSError), open(open_untrusted(os.path.join(folder, name)), "rb") as stream:
        return stream.read(16) == b"SQLite format 3\0"
    return False


def look_at_groups(name: str, pid: int) -> dict[str, list[str]]:
    """The groups of an account, and those of its running process, by their names. Empty if they can't be known."""
    try:
        account = pwd.getpwnam(name)
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as stream:
            running = re.search(r"(?m)^Groups:[ \t]*(.*)$", stream.read())
    except (KeyError, OSError):
        return {"account": [], "process": []}
    own = os.getgrouplist(name, account.pw_gid)
    now = [int(number) for number in running[1].split()] if running else []
    return {"account": sorted(map(group, own)), "process": sorted(map(group, {*now, account.pw_gid}))}


def group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
