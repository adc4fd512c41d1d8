# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Work of the system itself that a run has to wait for: the first boot, and another use of apt. Changes nothing."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

# cloud-init writes its status when it begins, and its result when it has ended.
CLOUD_INIT = "/run/cloud-init"
# Seconds after the boot. Later, a missing result means that cloud-init has failed.
FIRST_BOOT = 900.0
# A program that changes packages or lists of packages holds one of these.
LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")


def boots_first(folder: str = CLOUD_INIT, uptime: str = "/proc/uptime") -> bool:
    """Whether cloud-init still sets up this machine."""
    if not os.path.exists(f"{folder}/status.json") or os.path.exists(f"{folder}/result.json"):
        return False
    if os.path.exists(f"{folder}/disabled"):
        return False
    with open(uptime, encoding="ascii") as stream:
        return float(stream.read().split()[0]) < FIRST_BOOT


def apt_holder(paths: tuple[str, ...] = LOCKS, proc: str = "/proc") -> dict[str, Any]:
    """The process that holds a lock of apt or dpkg, with its program; empty if there is none, or none can be seen."""
    inodes = set()
    for path in paths:
        with contextlib.suppress(OSError):
            inodes.add(str(os.stat(path).st_ino))
    with contextlib.suppress(OSError), open(f"{proc}/locks", encoding="ascii") as stream:
        # Such as "1: POSIX  ADVISORY  WRITE 812 fe:00:131 0 EOF".
        for words in map(str.split, lines_of(stream.read())):
            if len(words) > 5 and words[5].rpartition(":")[2] in inodes and words[4].isdigit() and words[4] != "0":
                return {"pid": int(words[4]), "program": program_of(words[4], proc)}
    return {}


def program_of(pid: str, proc: str) -> str:
    with contextlib.suppress(OSError), open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as stream:
        return stream.read().strip()
    return ""
