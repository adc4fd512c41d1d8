# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run the programs of a deployment as the application's account, and kill the processes that they leave running."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import IO

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import read
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, account, existing_account

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Set for every program that a deployment starts, so that the next run finds the programs of a killed deployment.
DEPLOYMENT_VARIABLE = "WEBAPP_DEPLOYMENT"

# Other accounts can't read the files that programs of an application's account create.
UMASK = 0o027

# Seconds for a command of a build. A command that takes longer is stuck.
COMMAND_TIMEOUT = 3600
# Bytes of a program's output that are kept; messages show the last lines.
MOST_OUTPUT = 1024**2

# Writes the session ID into the file that is standard input, then becomes the command.
RECORD_SESSION = ("/bin/sh", "-c", 'echo $$ >&0 && exec "$@" </dev/null', "sh")


def run_as_account(
    layout: Layout, command: list[str], cwd: str, environment: dict[str, str], timeout: float | None
) -> subprocess.CompletedProcess[str]:
    """Run a program of a deployment as the application's account, then kill every process that it has left running.

    Otherwise they would keep files and ports open. If this process is killed first, the next holder of the lock kills
    them.
    """
    owner = existing_account(layout.name)
    base = {"PATH": SYSTEM_PATH, "HOME": layout.cache, "LANG": "C.UTF-8", DEPLOYMENT_VARIABLE: layout.name}
    # Output goes to files: a daemon that inherits a pipe would keep it open forever.
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        open(layout.command, "w+b", opener=open_private) as session,
    ):
        process = subprocess.Popen(
            [*RECORD_SESSION, *command],
            cwd=cwd,
            env={**base, **environment},
            user=owner.pw_uid,
            group=owner.pw_gid,
            extra_groups=[],
            umask=UMASK,
            stdin=session,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            session.truncate(0)
        return subprocess.CompletedProcess(command, status, last_bytes(output), last_bytes(errors))


def open_private(path: str, flags: int) -> int:
    """Open a file that only root may read; refuse a link."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def last_bytes(stream: IO[bytes]) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - MOST_OUTPUT))
    return stream.read().decode(errors="replace")


def tail(text: str, lines: int) -> str:
    """The last lines of a string."""
    return "\n".join(lines_of(text.strip())[-lines:])


def kill_abandoned(layout: Layout) -> None:
    """Kill the programs of this application that a killed deployment has left running."""
    until = time.monotonic() + 5
    # Repeat this, because a program may just have started another, and a killed program does not end at once.
    while (found := programs_of_deployments(layout)) and time.monotonic() < until:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def programs_of_deployments(layout: Layout) -> list[int]:
    """The processes of an application that a deployment has started, rather than the process manager.

    They are found by their session. A process that has left it is found by its environment, which root can't read in
    some containers.
    """
    owner = account(layout.name)
    session = (read(layout.command) or b"").strip()
    mark = f"{DEPLOYMENT_VARIABLE}={layout.name}".encode()
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with suppress(OSError):
            if owner is None or os.stat(f"/proc/{pid}").st_uid != owner.pw_uid or not read(f"/proc/{pid}/cmdline"):
                continue
            if str(os.getsid(pid)).encode() == session or mark in (read(f"/proc/{pid}/environ") or b"").split(b"\0"):
                found.append(pid)
    return found
