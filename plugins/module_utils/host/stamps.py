# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The stamp of a host: which parts of a plan were verified on it, and whether anything was touched since.

A part that is found or made as planned is recorded with a key and with witnesses. The key stands for the desired state
and for the code that checked it. There is a witness of every file and process that the look depended on. The first look
of a later run compares the witnesses; if they agree and the key is the same, the part needs no second look.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
import time
from collections.abc import Iterable
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.host.instances import IMAGE_DROP_IN, INSTANCE

# Gone after a boot, as are the processes that the stamp names.
STAMP = "/run/pyweb/stamp.json"

# How many keys of a part are kept: two playbooks for one host do not void each other's records.
KEPT = 5

OF_INSTANCE = re.compile(rf"[-@]{INSTANCE.pattern}\.[^./]*\Z")


def file_witness(path: str) -> list[Any]:
    """The attributes that change with a file, its permissions or its path; for a folder, also with its entries."""
    try:
        found = os.lstat(path)
    except OSError:
        return []
    return [found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_ctime_ns]


def rights_witness(path: str) -> list[Any]:
    """The attributes that change with ownership and permissions, not with the content, which the owner may change."""
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
    """The files that match, except those of instances, which come and go with releases, and of their images."""
    found = [path for path in glob.glob(pattern) if not OF_INSTANCE.search(path)]
    return sorted(path for path in found if os.path.basename(path) != IMAGE_DROP_IN)


def witnesses(
    paths: Iterable[str], pids: Iterable[int] = (), patterns: Iterable[str] = (), owned: Iterable[str] = ()
) -> dict[str, dict[str, list[Any]]]:
    """Take these before the look that they stand for: a change in between then voids the record.

    For a pattern, only the matching paths are recorded: a folder would also show names that do not matter. For what is
    ``owned``, only owner, mode and access rights are recorded.
    """
    return {
        "matches": {pattern: matching(pattern) for pattern in sorted(set(patterns))},
        "files": {path: file_witness(path) for path in sorted(set(paths))},
        "rights": {path: rights_witness(path) for path in sorted(set(owned))},
        "processes": {str(pid): process_witness(pid) for pid in pids},
    }


def record(part: str, key: str, seen: dict[str, Any], report: dict[str, Any] | None = None) -> None:
    """Record that a part of a plan, identified by its key, is up to date on this host.

    ``seen`` are the witnesses; its ``until`` (seconds since 1970) is given where only time can change the part.
    ``report`` is the result for a run that skips the look. A host that can't keep a stamp is only slower.
    """
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(STAMP), mode=0o755, exist_ok=True)
        # For root alone, and without waiting: no other account may hold it, and a stamp is not worth a wait.
        with open(os.open(f"{STAMP}.lock", os.O_RDWR | os.O_CREAT, 0o600), "a", encoding="utf-8") as lock:
            os.fchmod(lock.fileno(), 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            parts = read()
            records = {known: entry for known, entry in parts.get(part, {}).items() if known != key}
            records[key] = {"seen": {"until": None, **seen}, "report": report or {}}
            parts[part] = dict(list(records.items())[-KEPT:])
            descriptor = os.open(f"{STAMP}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as stream:
                json.dump(parts, stream)
            os.replace(f"{STAMP}.new", STAMP)


def read() -> dict[str, dict[str, Any]]:
    """The records of all parts, by their keys, oldest first; none where the stamp can't be read."""
    try:
        with open(STAMP, encoding="utf-8") as stream:
            parts = json.load(stream)
    except (OSError, ValueError):
        return {}
    if not isinstance(parts, dict) or not all(isinstance(records, dict) for records in parts.values()):
        return {}
    return parts


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
    """The reports of all records that still hold, by part and key."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for part, records in read().items():
        for key, entry in records.items():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                if holds(entry["seen"]):
                    found.setdefault(part, {})[key] = entry["report"]
    return found
