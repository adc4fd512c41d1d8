# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Remedies for errors in the output of an application. Pure."""

from __future__ import annotations

import re

# How the system says that only one process may have something: EAGAIN, EBUSY, EADDRINUSE.
ERRNO = (
    r"\[Errno (?:11|16|98)\]|\b(?:EAGAIN|EWOULDBLOCK|EBUSY|EADDRINUSE)\b|Resource temporarily unavailable"
    r"|(?:Device|Resource) (?:or resource )?busy|devices? (?:is |are )?(?:busy|unavailable)|Address already in use"
    r"|\bGPIO busy"
)
# Names of exceptions: AlreadyLocked, LockError, LockException, DatabaseLockedError, LockTimeout, LockBusy. The server
# of a database reports its own locks as DeadlockDetected or LockNotAvailable, which have other causes.
EXCEPTION = r"\b\w*(?:AlreadyLocked|Lock(?:ed|ing|file)?(?:Error|Exception|Timeout|Fail(?:ed|ure)|Busy|Held))\w*"
# Sentences: database is locked, could not set lock on file, unable to get write lock, lock held by process 7.
LOCK = r"\w*lock(?:file)?\b"
SENTENCE = (
    r"(?:database|table|schema|file|store|storage|environment|repository|index|folder|directory|port|device)\b[^\n]{0,80}"
    r"\bis (?:already |currently )?(?:locked|opened by|open in|in use|being used|used by|accessed by)"
    rf"|(?:could not|couldn't|can(?:no|')t|unable to|failed to|failure to) [^\n]{{0,20}}"
    rf"(?:acquire|obtain|get|take|set|lock)\b[^\n]{{0,40}}\b{LOCK}"
    r"|lock\b[^\n]{0,200} could not be acquired|could not (?:exclusively )?lock\b"
    rf"|\b{LOCK}[^\n]{{0,40}} (?:is |already )*(?:held|hold|owned|taken) by"
    r"|database already open|already (?:locked|open(?:ed)?|in use|accessed|running) (?:by|in|for|with)\b"
    r"|\bpid ?file\b[^\n]{0,80}\b(?:exists|locked)"
    r"|another (?:instance|process|program|copy)\b[^\n]{0,60}\b(?:running|uses|using|holds?|holding|has)\b"
    r"|(?:used|opened|accessed|locked) by another (?:instance|process|program)"
)
LOCKED = re.compile(f"(?:{EXCEPTION})|(?i:{ERRNO}|{SENTENCE})")
# The same error numbers are those of a process or thread too many, and of a read that has to wait.
OTHER = re.compile(r"os\.fork|_fork_exec|forkpty|start new thread|unable to fork|pthread_create|\bdeadlock", re.I)

# How programs report a file or a table that does not exist: Python, SQLite, PostgreSQL, MySQL, Django and Oracle.
MISSING = re.compile(
    r"FileNotFoundError: |no such table|unable to open database file|UndefinedTable|NoSuchTableError|"
    r"(?:relation|table|database) \S+ (?:does not|doesn't) exist|Table '\S+' doesn't exist|ORA-00942",
    re.I,
)


def import_hint(trace: str, stopped_first: bool = False) -> str:
    """The remedy for an import that has failed, by the end of its traceback; empty for others."""
    known = lock_hint(trace, stopped_first) or family_hint(trace)
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


def is_locked_out(output: str) -> bool:
    """Whether a program says that another process has what it needs for itself alone."""
    return bool(LOCKED.search(output)) and not OTHER.search(output)


def lock_hint(output: str, stopped_first: bool = False) -> str:
    """The remedy for an application that can't run twice; empty for others.

    With ``stopped_first``, no other release was running.
    """
    if not is_locked_out(output):
        return ""
    if stopped_first:
        return (
            "Another process has what the application needs for itself alone: a lock, a port or a device. No other "
            "release was running (switch: stop_first), so it is another one: a second worker, a background process, a "
            "job, or a program outside of this application. Set workers: 1, and end the others.\n"
        )
    return (
        "Another process has what the application needs for itself alone: a lock, a port or a device. During a "
        "deployment, the live release and the new one run side by side, and each has several workers. If the "
        "application can't run twice, set switch: stop_first, which stops the live release first, and workers: 1. Or "
        "let one background process with exclusive: true open this file, or use a store that several processes can "
        "open.\n"
    )
