# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Ask a Python interpreter for its version, never as root: the inventory names it, and anyone may have written it."""

from __future__ import annotations

import os
import pwd
import re
import selectors
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress

CODE = "import sys; print('%s-%d.%d' % (sys.implementation.name, *sys.version_info[:2]))"
# Seconds that an interpreter may take, and bytes that are read of its answer.
PATIENCE = 20.0
MOST_BYTES = 200
VERSION = re.compile(r"[a-z]+-3\.[0-9]{1,3}")
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}


def version_of(path: str, root: str = "/srv/webapps") -> str:
    """Implementation and version of an interpreter, such as ``cpython-3.11``; empty for any other program.

    It runs as the account of the application whose folder below ``root`` it is in, else as the account ``nobody``.
    """
    if os.path.realpath(path) == os.path.realpath(sys.executable):
        # This interpreter runs this module, as on most hosts, so it need not be started again.
        return f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}"
    answer = output([path, "-I", "-c", CODE], account_for(path, root)).strip()
    return answer if VERSION.fullmatch(answer) else ""


def changeable_by(path: str, uid: int, gid: int) -> str:
    """The part of a program's path that an account can write: the file or a folder; empty if there is none."""
    here = os.path.realpath(path)
    while True:
        status = os.stat(here)
        bits = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid == gid else 0)
        is_open = status.st_mode & bits and not status.st_mode & stat.S_ISVTX
        if status.st_uid == uid or is_open:
            return here
        if here == "/":
            return ""
        here = os.path.dirname(here)


def account_for(path: str, root: str) -> tuple[int, int]:
    """The user ID and the group ID that a program of the inventory runs with."""
    real, base = os.path.realpath(path), os.path.realpath(root)
    with suppress(KeyError):
        if real.startswith(f"{base}/"):
            owner = pwd.getpwnam(real[len(base) + 1 :].split("/")[0])
            if owner.pw_uid and owner.pw_dir.startswith(f"{root.rstrip('/')}/"):
                return owner.pw_uid, owner.pw_gid
    with suppress(KeyError):
        nobody = pwd.getpwnam("nobody")
        return nobody.pw_uid, nobody.pw_gid
    return 65534, 65534


def output(command: list[str], account: tuple[int, int]) -> str:
    """The first bytes that a program prints; empty where it fails. It is killed with its group at the end."""
    drop = {"user": account[0], "group": account[1], "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        process = subprocess.Popen(
            command,
            cwd="/",
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **drop,  # type: ignore[call-overload]
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    data = b""
    with process, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        until = time.monotonic() + PATIENCE
        while len(data) < MOST_BYTES and selector.select(max(0.0, until - time.monotonic())):
            chunk = os.read(process.stdout.fileno(), MOST_BYTES)
            if not chunk:
                break
            data += chunk
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, min(5.0, until - time.monotonic())))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return data.decode(errors="replace") if process.wait() == 0 else ""
