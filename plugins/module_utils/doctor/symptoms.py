# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Faults that a working health URL hides: failed requests, and refusals in the log of a process. Changes nothing."""

from __future__ import annotations

import calendar
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import mode_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail

# Seconds for which failed requests count, and bytes of an access log that are read.
WINDOW = 3600.0
LOG_BYTES = 256 * 1024
# The most kinds of requests, and the most lines of a log, that are reported.
MOST_KINDS = 3
MOST_SIGNS = 8
MOST_CHARACTERS = 400

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The format pyweb_combined. nginx writes a quote in a value as \x22.
COMBINED = re.compile(
    r"\[(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\] "
    r'"([A-Z]+ [^" ]+)[^"]*" (\d{3}) .* uht=(?:\S+ )*?([-0-9.]+) urt='
)
# A start of an app server in its log. The lines before it belong to an earlier process.
STARTS = re.compile(r"\] Starting gunicorn |^\*\*\* Starting uWSGI |Starting granian")
# Refusals of the kernel, a sandbox, a database or an app server.
REFUSED = re.compile(
    r"\[Errno (?:1|13|30|97)\]|Read-only file system|readonly database|unable to open database file"
    r"|Address family not supported|Operation not permitted|Permission denied|no new privileges"
    r"|[Ll]imit request headers|invalid request block size"
    r"|No such file or directory: '/(?:home|root|tmp|dev|run/user)/"
)
PATH = re.compile(r"'(/[^'\s]+)'")


@dataclass(frozen=True)
class Request:
    """One line of an access log: when, what, and whether the application itself gave the answer."""

    when: float
    what: str
    status: int
    answered: bool


def look_at_requests(logs: list[str], own: str, mounts: list[str], since: float) -> dict[str, Any]:
    """The requests of an application since a time: all, those that it failed, and those that nginx found too large.

    ``mounts`` are the paths of all applications of the site, and ``own`` is that of this one.
    """
    total, large = 0, 0
    kinds: dict[str, dict[str, Any]] = {}
    for path in logs:
        for request in requests_in(lines_of(tail(path, LOG_BYTES))):
            if request.when < since or mount_of(request.what.partition(" ")[2], mounts) != own:
                continue
            total += 1
            kind = kinds.setdefault(request.what[:MOST_CHARACTERS], {"of": 0, "failed": 0, "status": 0, "last": 0.0})
            kind["of"] += 1
            if request.status >= 500 and request.answered:
                kind.update(failed=kind["failed"] + 1, status=request.status, last=request.when)
            large += not request.answered and request.status in (400, 414)
    failed = [{"request": what, **kind} for what, kind in kinds.items() if kind["failed"]]
    failed.sort(key=lambda kind: -kind["failed"])
    count = sum(kind["failed"] for kind in failed)
    return {"since": since, "total": total, "count": count, "failed": failed[:MOST_KINDS], "large": large}


def requests_in(lines: list[str]) -> Iterator[Request]:
    """The requests of an access log, in either of its formats. Their query strings are left out."""
    for line in lines:
        with suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError):
            if line.startswith("{"):
                entry = json.loads(line)
                when = calendar.timegm(time.strptime(entry["time"][:19], "%Y-%m-%dT%H:%M:%S")) - offset(entry["time"])
                what, status = f"{entry['method']} {entry['uri']}", int(entry["status"])
                answered = str(entry["upstream_header_time"]).rpartition(" ")[2] not in ("", "-")
            else:
                found = COMBINED.search(line)
                if found is None:
                    continue
                day, month, year, hour, minute, second = found.group(1, 2, 3, 4, 5, 6)
                moment = (int(year), MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
                when = calendar.timegm(moment) - offset(f"{found[7]}{found[8]}:{found[9]}")
                what, status, answered = found[10], int(found[11]), found[12] != "-"
            yield Request(float(when), what.partition("?")[0], status, answered)


def offset(text: str) -> int:
    """The seconds that a time ending with ``+02:00`` is ahead of UTC."""
    sign, hours, minutes = text[-6], text[-5:-3], text[-2:]
    return (1 if sign == "+" else -1) * (int(hours) * 3600 + int(minutes) * 60)


def mount_of(path: str, mounts: list[str]) -> str:
    """The path of the application that a request goes to."""
    around = [mount for mount in mounts if f"{path}/".startswith(mount.rstrip("/") + "/")]
    return max(around, key=len, default="")


def refusals(log: str) -> list[str]:
    """The lines of a log since the last start that say what was refused, each once. The newest are last."""
    lines = lines_of(log)
    begin = max((number for number, line in enumerate(lines) if STARTS.search(line)), default=0)
    found = [line.strip()[:MOST_CHARACTERS] for line in lines[begin:] if REFUSED.search(line)]
    return list(dict.fromkeys(found))[-MOST_SIGNS:]


def look_at_refusals(log: str) -> list[dict[str, Any]]:
    """These lines, each with the file that it names, as root sees it: ``file`` is empty if it is not there."""
    found = []
    for line in refusals(log):
        path = (PATH.findall(line) or [""])[-1]
        found.append({"line": line, "path": path, "file": nearest(path), "folder": folder_of(path)})
    return found


def folder_of(path: str) -> str:
    """The folder of a path that exists."""
    while path and path != "/":
        with suppress(ValueError):
            if os.path.isdir(path):
                return path
        path = os.path.dirname(path)
    return ""


def nearest(path: str) -> dict[str, Any]:
    """Owner and mode of a file, or of the nearest folder above it. The text of a log names the path."""
    while path and path != "/":
        with suppress(OSError, ValueError):
            if found := mode_of(path):
                return found
        path = os.path.dirname(path)
    return {}
