# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The effect of a clock change on a schedule, and the further times that a timer of systemd needs for it. Pure.

systemd skips a time that a clock change leaves out, and lets jobs of every hour pause while an hour is repeated.
Debian's cron starts the former soon after the change, and continues the latter. These times let timers do the same.
"""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.schedule import DAYS, Schedule

# The years whose changes show the rule of a zone. A rule is kept for years to come.
YEARS = range(2026, 2038)
# A week has each day of the week once, so "Sunday, the 25th to the 31st" is one day of a year.
WEEK = 7
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
# cron takes a longer jump for a corrected clock.
LONGEST = timedelta(hours=3)


@dataclass(frozen=True)
class Change:
    """A clock change: its moment, and the offsets from UTC before and after it."""

    moment: datetime
    before: timedelta
    after: timedelta

    @property
    def is_gap(self) -> bool:
        """Whether it leaves out times. Otherwise it repeats some."""
        return self.after > self.before

    @property
    def times(self) -> list[datetime]:
        """The minutes that are left out or repeated, as clocks show them."""
        first = (self.moment + min(self.before, self.after)).replace(tzinfo=None)
        return [first + MINUTE * number for number in range(int(abs(self.after - self.before) / MINUTE))]

    @property
    def day(self) -> date:
        return self.times[0].date()


def is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


@cache
def changes(name: str) -> tuple[Change, ...]:
    """The regular clock changes of a zone; none for an unknown one.

    A zone whose changes follow no rule of the calendar, such as the begin of a lunar month, has none here.
    """
    if not is_zone(name):
        return ()
    zone, found = zoneinfo.ZoneInfo(name), []
    moment = datetime(YEARS.start, 1, 1, tzinfo=UTC)
    while moment.year < YEARS.stop:
        before, after = offset(moment, zone), offset(moment + DAY, zone)
        if before != after and abs(after - before) < LONGEST:
            low, high = 0, 24 * 60
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(moment + MINUTE * middle, zone) == before else (low, middle)
            found.append(Change(moment + MINUTE * high, before, after))
        moment += DAY
    return tuple(one for one in found if is_regular([other for other in found if other.is_gap == one.is_gap]))


def offset(moment: datetime, zone: zoneinfo.ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def is_regular(found: list[Change]) -> bool:
    """Whether all changes of a kind are on one day of the week, within one week of the year."""
    days = [one.day for one in found]
    places = [day.replace(year=2026).timetuple().tm_yday for day in days if (day.month, day.day) != (2, 29)]
    same_day = len({day.weekday() for day in days}) == 1
    return same_day and len(days) == len(YEARS) and max(places) - min(places) < WEEK


def further_times(schedule: Schedule, zone: str, suffix: str) -> list[str]:
    """Further OnCalendar values of a timer for the clock changes of a zone. ``suffix`` names the zone, or is empty."""
    minutes, hours = schedule.numbers[0], schedule.numbers[1]
    every_hour = len(hours) == 24
    found: dict[tuple[int, str], set[date]] = {}
    for change in changes(zone):
        times = [time for time in change.times if time.minute in minutes and time.hour in hours]
        if not times or change.is_gap == every_hour or not is_on(schedule, change.day):
            continue
        if change.is_gap:
            end = change.times[-1] + MINUTE
            note(found, end.date(), f"{end:%H:%M}:00{suffix}")
            continue
        for hour, listed in by_hour([time - change.after for time in times]).items():
            clock = f"{hour:%H}:{','.join(f'{minute:02}' for minute in listed)}:00 UTC"
            note(found, hour.date(), clock)
    return [
        f"{DAYS[(min(dates).weekday() + 1) % 7].title()} "
        f"*-{month:02}-{','.join(sorted({f'{one.day:02}' for one in dates}))} {clock}"
        for (month, clock), dates in sorted(found.items())
    ]


def note(found: dict[tuple[int, str], set[date]], day: date, clock: str) -> None:
    found.setdefault((day.month, clock), set()).add(day)


def by_hour(times: list[datetime]) -> dict[datetime, list[int]]:
    """The minutes of each hour."""
    found: dict[datetime, list[int]] = {}
    for time in times:
        found.setdefault(time.replace(minute=0), []).append(time.minute)
    return found


def is_on(schedule: Schedule, day: date) -> bool:
    """Whether a schedule has times on a day."""
    _minute, _hour, days, months, weekdays = schedule.numbers
    matches = (day.day in days, (day.weekday() + 1) % 7 in weekdays)
    return day.month in months and (any(matches) if schedule.either_day else all(matches))
