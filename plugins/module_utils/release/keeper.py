# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A program that runs a command, then ends every process that the command has left: on hosts without systemd.

It runs by itself, as root, and needs the standard library alone. Processes whose parent has ended become its children
(prctl PR_SET_CHILD_SUBREAPER), also those that have left their session or their process group.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# Seconds within which killed processes must have ended.
PATIENCE = 10


def adopt_orphans() -> None:
    """Become the parent of all orphaned descendants, and get SIGTERM when the deployment itself is killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_CHILD_SUBREAPER, 1), (PR_SET_PDEATHSIG, int(signal.SIGTERM))):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def children() -> list[int]:
    """The processes whose parent this process is. The kernel lists them; a search takes so long that some escape."""
    with suppress(OSError, ValueError), open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as stream:
        return [int(pid) for pid in stream.read().split()]
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{pid}/stat", "rb") as stream:
                # The name of a program may contain anything, so the fields are counted after its last parenthesis.
                parent = stream.read().rpartition(b")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(int(pid))
    return found


def end_descendants() -> bool:
    """Kill the children until there are none; the children of a killed one follow. Return whether all have ended."""
    with suppress(OSError):
        # A program that forks all the time must not be faster.
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    until = time.monotonic() + PATIENCE
    while True:
        for pid in children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            # Only the kernel can say that there are none: each list may miss a process that has just been forked.
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.0005)


def stop(_number: int, _frame: object) -> None:
    end_descendants()
    os._exit(128 + signal.SIGTERM)


def main(record: str, command: list[str]) -> int:
    adopt_orphans()
    signal.signal(signal.SIGTERM, stop)
    if record:
        # The next holder of the lock ends what is in this session.
        with open(os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as stream:
            stream.write(f"{os.getsid(0)}\n")
    os.umask(0o027)
    first = os.posix_spawn(command[0], command, os.environ, setsigdef=[signal.SIGTERM, signal.SIGPIPE])
    pid = status = 0
    while pid != first:
        pid, status = os.waitpid(-1, 0)
    if not end_descendants():
        sys.stderr.write(f"processes that the command has left can't be ended: {children()}\n")
        return 1
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
