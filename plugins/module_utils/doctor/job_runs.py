# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The recorded results of job runs."""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout

KEYS = ("job", "release", "started", "state", "status", "seconds")


def last_run(layout: Layout, job: str) -> dict[str, Any]:
    """The last run of a job, from its own record; empty if it never ran.

    An unfinished run that is no longer running has the state ``interrupted``.
    """
    path = f"{layout.jobs}/{job}"
    try:
        # The application's account can write there. So links are not followed, and only the keys of a job are accepted.
        with open(os.open(f"{path}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as stream:
            entry = json.loads(stream.read(4096))
        run = {key: entry[key] for key in KEYS}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if run["state"] == "running" and not is_locked(f"{path}.lock"):
        run["state"] = "interrupted"
    return run


def is_locked(path: str) -> bool:
    """Whether a process holds the lock of a job."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
