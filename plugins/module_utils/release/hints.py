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

# How programs report a file or a table that does not exist: Python, SQLite, PostgreSQL, MySQL, Django and Oracle.
MISSING = re.compile(
    r"FileNotFoundError: |no such table|unable to open database file|UndefinedTable|NoSuchTableError|"
    r"(?:relation|table|database) \S+ (?:does not|doesn't) exist|Table '\S+' doesn't exist|ORA-00942",
    re.I,
)


def import_hint(trace: str) -> str:
    """The remedy for an import that has failed, by the end of its traceback; empty for others."""
    known = lock_hint(trace) or family_hint(trace)
    if known or not MISSING.search(trace):
        return known
    return (
        "Something that it reads does not exist. A deployment imports the application before it runs the commands of "
        "commands.release. If one of them creates it, let the application read it when a request needs it, or set "
        "import_check: false. Files that must exist before can be put into the release by the key files.\n"
    )


def family_hint(output: str) -> str:
    """The remedy for a socket that the sandbox of systemd does not allow; empty for others."""
    if "Address family not supported by protocol" not in output:
        return ""
    return (
        "The sandbox allows unix, internet and netlink sockets. Add the family that the application needs, such as "
        "systemd: {RestrictAddressFamilies: AF_PACKET}.\n"
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
