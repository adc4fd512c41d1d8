# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What jobs have written down of their runs."""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout

KEYS = ("job", "release", "started", "state", "status", "seconds")


def last_run(layout: Layout, job: str) -> dict[str, Any]:
    """The last run of a job, as it has written it down itself; empty where it never ran.

    One that neither runs nor has ended was cut off: its state is ``interrupted``.
    """
    path = f"{layout.jobs}/{job}"
    try:
        # The application's account writes there: no link, and nothing that is not what a job writes.
        with open(os.open(f"{path}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as stream:
            entry = json.loads(stream.read(4096))
        told = {key: entry[key] for key in KEYS}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if told["state"] == "running" and not held(f"{path}.lock"):
        told["state"] = "interrupted"
    return told


def held(path: str) -> bool:
    """Whether somebody holds the lock of a job."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
