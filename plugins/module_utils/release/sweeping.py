# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""End all processes of an account that nothing else uses."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress

# Seconds within which killed processes must have ended.
PATIENCE = 10
# The signal goes to all processes of the account at once. So a program that forks all the time can't escape.
KILL_ALL = ("/bin/sh", "-c", "kill -KILL -1")


def processes_of(uid: int) -> list[int]:
    """The living processes that have a user ID as the real, effective, saved or file system one."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        # The owner of /proc/PID is not always the account of the process. Its status has it.
        with suppress(OSError, ValueError), open(f"/proc/{pid}/status", "rb") as stream:
            fields = dict(line.split(b":", 1) for line in stream if b":" in line)
            if uid in map(int, fields[b"Uid"].split()) and fields[b"State"].split()[0] not in (b"Z", b"X"):
                found.append(int(pid))
    return found


def end_processes_of(uid: int) -> list[int]:
    """Kill all processes of an account until none is left; return those that did not end in time."""
    until = time.monotonic() + PATIENCE
    while found := processes_of(uid):
        if uid <= 0 or time.monotonic() > until:
            return found
        drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *KILL_ALL]
        subprocess.run(drop, stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd="/")
        time.sleep(0.005)
    return []
