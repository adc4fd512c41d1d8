# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The recorded results of job runs."""

from __future__ import annotations

import fcntl
import json
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.instances import INSTANCE
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import open_untrusted, read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout

KEYS = ("job", "release", "started", "state", "status", "seconds")
STATES = ("running", "succeeded", "failed", "timed out")
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
# Bytes of a record.
MOST_BYTES = 4096


def last_run(layout: Layout, job: str) -> dict[str, Any]:
    """The last run of a job, from its own record; empty if it never ran.

    An unfinished run that is no longer running has the state ``interrupted``.
    """
    path = f"{layout.jobs}/{job}"
    try:
        entry = json.loads(read_untrusted(f"{path}.json", MOST_BYTES))
        run = {key: entry[key] for key in KEYS}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not is_run(run, job):
        return {}
    if run["state"] == "running" and not is_locked(f"{path}.lock"):
        run["state"] = "interrupted"
    return run


def is_run(run: dict[str, Any], job: str) -> bool:
    """Whether each value of a record is one that bin/job writes: the application's account can write others."""
    return (
        run["job"] == job
        and run["state"] in STATES
        and isinstance(run["release"], str)
        and INSTANCE.fullmatch(run["release"]) is not None
        and isinstance(run["started"], str)
        and MOMENT.fullmatch(run["started"]) is not None
        and (run["status"] is None or type(run["status"]) is int)
        and (run["seconds"] is None or type(run["seconds"]) is int)
    )


def is_locked(path: str) -> bool:
    """Whether a process holds the lock of a job."""
    try:
        with open(open_untrusted(path), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
