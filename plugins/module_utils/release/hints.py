# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Remedies for errors in the output of an application. Pure."""

from __future__ import annotations

import re

# How programs report a lock that another process holds: flock, DuckDB, SQLite, LevelDB, ZODB.
LOCKED = re.compile(
    r"BlockingIOError: \[Errno 11\]|Could not set lock on file|database is locked|[Ll]ock .*: Resource temporarily "
    r"unavailable|LockError: Couldn't lock"
)


def lock_hint(output: str) -> str:
    """The remedy for an application that can't run twice; empty for others."""
    if not LOCKED.search(output):
        return ""
    return (
        "Another process holds a lock that the application needs. During a deployment, the live release and the new "
        "one run side by side, and each has several workers. Let one background process with exclusive: true open "
        "this file, or use a store that several processes can open.\n"
    )
