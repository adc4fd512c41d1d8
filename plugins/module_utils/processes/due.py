# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run a command if it is due by the clock of a time zone: cron of Debian knows the zone of the host alone.

The module supervisor_programs installs this file on hosts. cron starts it at every minute that may be one of the
schedule. Times that a clock change leaves out are due right after it, and a repeated time is due once. A schedule of
every hour continues while an hour is repeated.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

# Where the file is installed.
PROGRAM = "/usr/local/lib/pyweb/due.py"
MINUTE = timedelta(minutes=1)


def is_due(moment: datetime, zone: ZoneInfo, fields: list[set[int]], either_day: bool) -> bool:
    """Whether a schedule has a time in this minute (UTC)."""
    now = moment.replace(second=0, microsecond=0)
    local, before = now.astimezone(zone), (now - MINUTE).astimezone(zone)
    every_hour = len(fields[1]) == 24
    if is_at(local, fields, either_day):
        return every_hour or local.fold == 0
    skipped = (local.utcoffset() or MINUTE * 0) - (before.utcoffset() or MINUTE * 0)
    if every_hour or skipped <= MINUTE * 0:
        return False
    wall = before.replace(tzinfo=None)
    return any(is_at(wall + MINUTE * number, fields, either_day) for number in range(1, int(skipped / MINUTE) + 1))


def is_at(time: datetime, fields: list[set[int]], either_day: bool) -> bool:
    minutes, hours, days, months, weekdays = fields
    matches = (time.day in days, time.isoweekday() % 7 in weekdays)
    is_day = any(matches) if either_day else all(matches)
    return time.minute in minutes and time.hour in hours and time.month in months and is_day


def main(arguments: list[str]) -> None:
    zone, days, fields, command = arguments[0], arguments[1], arguments[2:7], arguments[7:]
    numbers = [{int(number) for number in field.split(",")} for field in fields]
    # A release that is older than the job has no such program.
    if os.access(command[0], os.X_OK) and is_due(datetime.now(timezone.utc), ZoneInfo(zone), numbers, days == "either"):
        os.execv(command[0], command)  # noqa: S606  # the job takes the place of this process


if __name__ == "__main__":
    main(sys.argv[1:])
