# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The runs of this user on this controller, so that the next run knows which of them have ended.

A run that is killed leaves leases on its hosts, and a run that fails leaves builds. Other runs keep both for a time,
because it might still commit. If its process is gone, it can't. Each run is recorded in a file with its process.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible import constants

# The longest time in seconds for which a run is remembered. No lease is longer.
REMEMBERED = 24 * 3600
# The number of ended runs that a host gets, the newest first, and that of runs that are remembered.
MOST, MOST_REMEMBERED = 50, 200


def folder() -> Path:
    return Path(str(constants.config.get_config_value("ANSIBLE_HOME"))).expanduser() / "pyweb-runs"


def lease(run: str, seconds: int) -> dict[str, Any]:
    """A lease for this run. The run is recorded before it takes the lease."""
    record(run)
    return {"run": run, "seconds": seconds}


def record(run: str) -> None:
    """Write down the process of this run, once. Call it in a task: its parent is the run."""
    with suppress(OSError):
        path = folder() / run
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = path.with_name(f"{run}.{os.getpid()}.new")
            temporary.write_text(" ".join([*world(), process(os.getppid())]))
            temporary.replace(path)
            forget()


def forget() -> None:
    """Remove the files of runs that no host remembers."""
    for number, (modified, _owner, path) in enumerate(recorded()):
        if number >= MOST_REMEMBERED or time.time() - modified > REMEMBERED:
            os.unlink(path)


def ended() -> list[str]:
    """The runs of this user whose process on this machine is gone. Runs in other containers are never among them.

    Each task on each host asks for them, so no more files are read than a host gets.
    """
    found: list[str] = []
    with suppress(OSError):
        here = world()
        for modified, owner, path in recorded():
            if time.time() - modified > REMEMBERED or len(found) == MOST:
                break
            # Another user's process can be hidden (hidepid), and so look like one that is gone.
            if owner != os.geteuid() or path.endswith(".new"):
                continue
            words = Path(path).read_text(errors="replace").split()
            if words[:2] == here and len(words) == 4 and not runs(words[2], words[3]):
                found.append(os.path.basename(path))
    return found


def recorded() -> list[tuple[float, int, str]]:
    """The files of runs, the newest first: when each was written, its owner, and its path. Raises OSError."""
    found = []
    with os.scandir(folder()) as entries:
        for entry in entries:
            # A run may remove its temporary file meanwhile.
            with suppress(FileNotFoundError):
                status = entry.stat()
                found.append((status.st_mtime, status.st_uid, entry.path))
    return sorted(found, reverse=True)


def world() -> list[str]:
    """This boot of the machine, and the namespace of its process IDs. Raises OSError without /proc."""
    return [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]


def process(pid: int | str) -> str:
    """The ID of a process and its start, in clock ticks after the boot. Raises OSError if it is gone."""
    # The name of the program is in parentheses, and may contain spaces.
    fields = re.sub(r"\(.*\)", "()", Path(f"/proc/{pid}/stat").read_text(errors="replace"), flags=re.DOTALL).split()
    return f"{pid} {fields[21]}"


def runs(pid: str, start: str) -> bool:
    try:
        return process(pid) == f"{pid} {start}"
    except OSError:
        return False
