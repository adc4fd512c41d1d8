# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run git and container engines on the controller, with time limits for everything that waits for a server."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from pathlib import Path

# Seconds that git may report no progress, and that one command may take, if it waits for a server.
QUIET = 60
LONGEST = 3600

# Seconds that git-lfs waits for a server, and how many times it asks again.
LFS_SETTINGS = [
    ("lfs.dialtimeout", "30"),
    ("lfs.tlstimeout", "30"),
    ("lfs.activitytimeout", "30"),
    ("lfs.transfer.maxretries", "2"),
]

# The progress of git, which is no part of a message.
PROGRESS = re.compile(r"^(?:remote: )?[A-Z][a-z]+ing [a-z]+:.*$|^.*\r.*$", re.M)


class Silent(Exception):
    """A command was ended, because its server did not answer; the text says after how long."""


def run_bounded(
    command: list[str], cwd: Path | None, environment: dict[str, str], quiet: float = 0.0
) -> subprocess.CompletedProcess[str]:
    """Run a command that waits for a server; raises Silent if it reports nothing for ``quiet`` seconds (QUIET)."""
    quiet = quiet or QUIET
    began = heard = time.monotonic()
    output: dict[int, bytes] = {}
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        # git has child processes, such as git-remote-https, which have to end with it.
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            streams = (process.stdout.fileno(), process.stderr.fileno())
            with selectors.DefaultSelector() as selector:
                for stream in streams:
                    selector.register(stream, selectors.EVENT_READ)
                    output[stream] = b""
                while selector.get_map():
                    for key, _events in selector.select(0.5):
                        chunk = os.read(key.fd, 1 << 16)
                        heard = time.monotonic()
                        output[key.fd] += chunk
                        if not chunk:
                            selector.unregister(key.fd)
                    now = time.monotonic()
                    if now - heard > quiet:
                        raise Silent(f"the server did not answer for {quiet} seconds")
                    if now - began > LONGEST:
                        raise Silent(f"it did not end within {LONGEST} seconds")
        finally:
            with contextlib.suppress(ProcessLookupError):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
    out, err = (output[stream].decode(errors="replace") for stream in streams)
    return subprocess.CompletedProcess(command, process.returncode, out, PROGRESS.sub("", err))
