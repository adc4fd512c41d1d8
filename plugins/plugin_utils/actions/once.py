# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Values that one task has computed from the results of all hosts, for the same task on the other hosts.

Each task on each host has a process of its own. If each of them read the results of all hosts, the work for one host
would grow with their number, and each process would copy the memory that it touches.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


class Once:
    """Results in a folder of this run, which Ansible removes at its end. Without it, each task computes its own.

    ``task`` is the same for one task on all hosts, and different for every other task. ``batch`` are the hosts that
    have not failed.
    """

    def __init__(self, folder: Path, task: str, batch: str = "") -> None:
        self.folder, self.task, self.batch = folder, task, batch
        self.known: dict[str, Any] = {}

    def result(self, name: str, compute: Callable[[], Result]) -> Result:
        """The result with this name, which JSON must be able to hold. The first process computes it, others wait."""
        if name not in self.known:
            self.known[name] = self.found(name, compute)
        known: Result = self.known[name]
        return known

    def found(self, name: str, compute: Callable[[], Result]) -> Result:
        if self.path("outdated").exists():
            return compute()
        try:
            stream = self.path(f"{self.batch} {name}").open("ab+", buffering=0)
        except OSError:
            return compute()
        try:
            # Some file systems have no locks. A process that was killed leaves a part of a result.
            with suppress(OSError, ValueError):
                fcntl.flock(stream, fcntl.LOCK_EX)
                stream.seek(0)
                known: Result = json.loads(stream.read())
                return known
            found = compute()
            with suppress(OSError):
                stream.truncate(0)
                stream.write(json.dumps(found).encode())
            return found
        finally:
            # A full network file system may report it only here.
            with suppress(OSError):
                stream.close()

    def forget(self) -> None:
        """Let the later hosts of this task compute for themselves, because this one has failed."""
        with suppress(OSError):
            self.path("outdated").touch()

    def path(self, name: str) -> Path:
        return self.folder / f"pyweb-{hashlib.sha256(f'{self.task} {name}'.encode()).hexdigest()}"
