# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Moments: those that an operator names, and those in the lines of logs. Pure. Used on both sides."""

from __future__ import annotations

import datetime
import re
from typing import Any

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
UNITS = r"s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?"
AGO = re.compile(rf"((?:\d{{1,6}}\s*(?:{UNITS})\s*)+)(?:ago)?", re.IGNORECASE)
SPAN = re.compile(rf"(\d+)\s*({UNITS})(?![a-z])", re.IGNORECASE)
CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")
DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|[+-]\d\d:?\d\d)?)?", re.IGNORECASE
)
# The same, and the forms of nginx, of the common log format, of Django's server and of uWSGI, in a line.
IN_LINE = (
    re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?"),
    re.compile(
        r"(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4})[: ](?P<clock>\d\d:\d\d:\d\d)(?: (?P<zone>[+-]\d{4}))?"
    ),
    re.compile(
        r"[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<clock>\d\d:\d\d:\d\d) (?P<year>\d{4})(?P<zone>)"
    ),
)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The part of a line in which its time is looked for.
HEAD = 300
# datetime.UTC needs Python 3.11.
UTC = datetime.timezone(datetime.timedelta(0))

WRONG = (
    "since is '{}'. Give a time, such as -e since='10 min ago', -e since=14:30, -e since='2026-01-31 14:30' or "
    "-e since=2026-01-31T14:30:00Z. Without an offset, it is in the time zone of the host."
)


def moment(text: str, now: datetime.datetime) -> datetime.datetime | None:
    """The moment that a text names; None if it names none. ``now`` is the local time, without a time zone.

    A moment without an offset is local time as well. A time of day is the last one that was: before 23:50, that of
    yesterday.
    """
    text = text.strip()
    if found := AGO.fullmatch(text):
        seconds = sum(int(number) * SECONDS[unit[0].lower()] for number, unit in SPAN.findall(found[1]))
        return dated(lambda: now - datetime.timedelta(seconds=seconds))
    if found := CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in found.groups())
        today = dated(lambda: now.replace(hour=hour, minute=minute, second=second, microsecond=0))
        return today - datetime.timedelta(days=1) if today and today > now else today
    if found := DATE.fullmatch(text):
        return from_numbers(found.groups())
    return None


def in_line(line: str) -> datetime.datetime | None:
    """The first moment in the beginning of a line of a log; None if there is none."""
    head = line[:HEAD]
    numbers, *named = (pattern.search(head) for pattern in IN_LINE)
    found = [match for match in (numbers, *named) if match]
    if not found:
        return None
    first = min(found, key=lambda match: match.start())
    if first is numbers:
        return from_numbers(first.groups())
    if first["month"] not in MONTHS:
        return None
    month = MONTHS.index(first["month"]) + 1
    hour, minute, second = first["clock"].split(":")
    parts = (first["year"], str(month), first["day"], hour, minute, second, None, first["zone"])
    return from_numbers(parts)


def from_numbers(parts: Any) -> datetime.datetime | None:
    """A moment from year, month, day, hour, minute, second, fraction and offset. None if there is no such moment."""
    year, month, day, hour, minute, second = (int(part or 0) for part in parts[:6])
    fraction = int((parts[6] or "0").ljust(6, "0")[:6])
    zone = parts[7]
    return dated(
        lambda: datetime.datetime(year, month, day, hour, minute, second, fraction, offset(zone) if zone else None)
    )


def offset(text: str) -> datetime.tzinfo:
    if text in "Zz":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return datetime.timezone(datetime.timedelta(minutes=-minutes if text[0] == "-" else minutes))


def dated(make: Any) -> datetime.datetime | None:
    """A moment, or None where its numbers are none of a date."""
    try:
        made: datetime.datetime = make()
        made.timestamp()
    except (ValueError, OverflowError):
        return None
    return made
