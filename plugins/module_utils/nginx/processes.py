# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The processes of nginx on this host, read from /proc without privileges."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass


@dataclass
class Process:
    """One process of nginx."""

    pid: int
    parent: int
    session: int
    title: str

    @property
    def is_master(self) -> bool:
        return self.title.startswith("nginx: master process")

    @property
    def is_worker(self) -> bool:
        return self.title.startswith("nginx: worker process")

    @property
    def is_leaving(self) -> bool:
        return self.title.endswith("is shutting down")


def processes() -> dict[int, Process]:
    """Every process of nginx on the host."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stream:
                stat = stream.read()
            if "(nginx)" not in stat:
                continue
            fields = stat.rpartition(")")[2].split()
            if fields[0] in "ZX":  # ended, and waits for its parent to notice
                continue
            with open(f"/proc/{entry}/cmdline", encoding="utf-8", errors="replace") as stream:
                title = stream.read().replace("\0", " ").strip()
            found[int(entry)] = Process(int(entry), int(fields[1]), int(fields[3]), title)
    return found


def recorded_pid(pid_file: str) -> int | None:
    """The process id in the file. A killed nginx leaves the file, and the id may be another program's by now."""
    try:
        with open(pid_file, encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):  # nginx -t leaves an empty file where there was none
        return None


def master(pid_file: str) -> int | None:
    """The running master of the instance with this file; None where there is none."""
    pid = recorded_pid(pid_file)
    process = processes().get(pid) if pid else None
    return pid if process and process.is_master else None


def workers(master: int) -> set[int]:
    """The master's workers that take new connections. For a moment after a reload, the old ones do, too."""
    return {
        process.pid
        for process in processes().values()
        if process.parent == master and process.is_worker and not process.is_leaving
    }
