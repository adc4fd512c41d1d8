# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""One line of an access log of a site, in either of the formats of the role nginx. Pure.

Visitors choose the user name, the address, the referrer and the user agent. nginx writes a quote in them as ``\\x22``
or ``\\"``, so none of them can end its own field. Only the user name has no quotes around it. It precedes the time.
"""

from __future__ import annotations

import calendar
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LOCAL = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\] $")
ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)([+-])(\d\d):(\d\d)$")
STATUS = re.compile(r" (\d{3}) \d+ $")
TIMES = re.compile(r" rt=(\d+\.\d+) uct=[^\"]*? urt=([0-9., :-]*?)(?: cache=| id=|$)")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
# nginx's own answers when the application can't be reached, or says nothing in time.
UNREACHED = (502, 504)
SWITCHING_PROTOCOLS = 101


@dataclass(frozen=True)
class Access:
    """A request: when it began and ended (seconds since 1970), its path, and its status.

    ``reached`` says that the application got it. ``seconds`` is the time that the application took; None if it has no
    meaning, as of a WebSocket.
    """

    begin: float
    end: float
    path: str
    status: int
    reached: bool
    seconds: float | None

    @property
    def failed(self) -> bool:
        return self.reached and self.status >= 500


def access_of(line: str) -> Access | None:
    """The request of a line; None if the line is of another format."""
    with suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError, IndexError, RecursionError):
        return from_json(json.loads(line)) if line.startswith("{") else from_combined(line)
    return None


def from_combined(line: str) -> Access | None:
    fields = line.split('"')
    if len(fields) != 7:
        return None
    moment = LOCAL.search(fields[0].rpartition("[")[2])
    status, times = STATUS.match(fields[2]), TIMES.match(fields[6])
    if not (moment and status and times):
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = moment.groups()
    numbers = (int(year), MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
    uri = [*fields[1].split(" "), ""][1]
    return made(seconds_of(numbers, sign, hours, minutes), float(times[1]), uri, int(status[1]), times[2])


def from_json(entry: dict[str, Any]) -> Access | None:
    moment = ISO.match(entry["time"])
    if not moment:
        return None
    *numbers, sign, hours, minutes = moment.groups()
    end = seconds_of(tuple(int(number) for number in numbers), sign, hours, minutes)
    return made(end, float(entry["request_time"]), entry["uri"], int(entry["status"]), entry["upstream_response_time"])


def seconds_of(numbers: tuple[int, ...], sign: str, hours: str, minutes: str) -> float:
    ahead = int(hours) * 3600 + int(minutes) * 60
    return calendar.timegm((*numbers, 0, 0, 0)) - (ahead if sign == "+" else -ahead)


def made(end: float, lasted: float, uri: str, status: int, upstream: str) -> Access:
    """A request from its fields. With several attempts, the times of all count."""
    times = [float(number) for number in NUMBER.findall(upstream)]
    reached = bool(times) or status in UNREACHED
    seconds = sum(times) if times and status != SWITCHING_PROTOCOLS else None
    return Access(end - lasted, end, path_of(uri), status, reached, seconds)


def path_of(uri: str) -> str:
    """The path as nginx compares it: decoded, and with single slashes."""
    if uri[:4].lower() == "http" and "://" in uri:
        uri = "/" + uri.partition("://")[2].partition("/")[2]
    return re.sub("/{2,}", "/", unquote(uri.partition("?")[0], errors="replace"))


def mount_of(path: str, mounts: list[str]) -> str:
    """The path of the application that a request goes to; empty if it goes to none."""
    around = [mount for mount in mounts if f"{path}/".startswith(mount.rstrip("/") + "/")]
    return max(around, key=len, default="")
