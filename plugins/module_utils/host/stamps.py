# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Stamps: what was found to be as wanted, and how to see at a glance that nobody has touched it since.

A module that finds a host as wanted leaves a stamp: a key, which stands for what was wanted and for the code that
looked, a witness of every file and process that it looked at, and what it would tell again. A later run's preflight
compares the witnesses in its own trip; where they agree and the same is wanted again, the module's trip is spared.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.host.instances import INSTANCE

# Gone after a boot, as are the processes that a stamp tells of.
FOLDER = "/run/pyweb/stamps"

# A stamp for each set of inputs: two playbooks for one host spare each other's trips; more are somebody's trials.
KEPT = 5

# Of every module that leaves stamps by itself, as the documentation fragment of the same name tells.
OPTIONS = {"stamp": {"type": "str"}, "foresee": {"type": "bool", "default": False}}

OF_INSTANCE = re.compile(rf"[-@]{INSTANCE.pattern}\.[^./]*\Z")


def file_witness(path: str) -> list[Any]:
    """What changes when somebody changes a file, its rights or its place; for a folder, what is in it."""
    try:
        found = os.lstat(path)
    except OSError:
        return []
    return [found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_ctime_ns]


def rights_witness(path: str) -> list[Any]:
    """What changes when somebody changes whose a file or folder is; not what is in it, which its owner may change."""
    try:
        listed = os.getxattr(path, acl.ACCESS, follow_symlinks=False).hex()
    except OSError:
        listed = ""
    return [*file_witness(path)[:4], listed]


def process_witness(pid: int) -> list[Any]:
    """When a process began, by the kernel's clock: its number alone may be another's by now."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
            return [] if fields[0] == "Z" else [fields[19]]
    except (OSError, IndexError):
        return []


def matching(pattern: str) -> list[str]:
    """The files that match, but for those of instances, which come and go with releases."""
    return sorted(path for path in glob.glob(pattern) if not OF_INSTANCE.search(path))


def witnesses(
    paths: Iterable[str], pids: Iterable[int] = (), patterns: Iterable[str] = (), owned: Iterable[str] = ()
) -> dict[str, dict[str, list[Any]]]:
    """To be taken before the look that it is to stand for: what changes meanwhile then makes the stamp void.

    Of a pattern it is seen what matches: a folder would also tell of names that do not matter. Of what is ``owned``
    only the rights count.
    """
    return {
        "matches": {pattern: matching(pattern) for pattern in sorted(set(patterns))},
        "files": {path: file_witness(path) for path in sorted(set(paths))},
        "rights": {path: rights_witness(path) for path in sorted(set(owned))},
        "processes": {str(pid): process_witness(pid) for pid in pids},
    }


def leave(
    name: str, key: str, seen: dict[str, Any], until: float | None = None, told: dict[str, Any] | None = None
) -> None:
    """Say that what the key stands for is there, until a time (seconds since 1970) where only time can change that.

    ``told`` is what whoever is spared the trip wants to know. A host that can't keep a stamp is only slower.
    """
    with contextlib.suppress(OSError):
        os.makedirs(FOLDER, mode=0o700, exist_ok=True)
        path = f"{FOLDER}/{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        with open(f"{path}.new", "w", encoding="utf-8") as stream:
            json.dump({"name": name, "key": key, "seen": {**seen, "until": until}, "told": told or {}}, stream)
        os.replace(f"{path}.new", path)
        others = [entry.path for entry in os.scandir(FOLDER) if entry.name.startswith(f"{name}-")]
        for old in sorted(others, key=lambda other: os.stat(other).st_mtime_ns)[:-KEPT]:
            os.unlink(old)


def holds(seen: dict[str, Any]) -> bool:
    """Whether everything is as it was seen."""
    if seen["until"] is not None and time.time() > seen["until"]:
        return False
    files = {path: file_witness(path) for path in seen["files"]}
    processes = {pid: process_witness(int(pid)) for pid in seen["processes"]}
    rights = {path: rights_witness(path) for path in seen["rights"]}
    matches = {pattern: matching(pattern) for pattern in seen["matches"]}
    return (
        files == seen["files"]
        and rights == seen["rights"]
        and matches == seen["matches"]
        and processes == seen["processes"]
        and all(processes.values())
    )


def valid() -> dict[str, dict[str, dict[str, Any]]]:
    """What the stamps that still hold tell, by the name of what left them and by their keys."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with contextlib.suppress(OSError):
        for entry in sorted(os.scandir(FOLDER), key=lambda entry: entry.name):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                with open(entry.path, encoding="utf-8") as stream:
                    stamp = json.load(stream)
                if entry.name.endswith(".json") and holds(stamp["seen"]):
                    found.setdefault(stamp["name"], {})[stamp["key"]] = stamp["told"]
    return found
