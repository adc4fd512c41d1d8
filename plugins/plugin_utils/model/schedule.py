# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The schedule of a job: a word or the five fields of a crontab. Checked, and converted for systemd and cron."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import nearest

# The words have the meanings of systemd. In cron, @weekly is a Sunday.
WORDS = {
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * 1",
    "monthly": "0 0 1 * *",
    "quarterly": "0 0 1 1,4,7,10 *",
    "yearly": "0 0 1 1 *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

STEP = re.compile(r"(?P<range>\*|[0-9]+(?:-[0-9]+)?)(?:/(?P<step>[0-9]+))?\Z")


@dataclass(frozen=True)
class Part:
    """One of the five fields: its name in messages, its bounds, and its names for numbers."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


PARTS = (
    Part("minute", 0, 59),
    Part("hour", 0, 23),
    Part("day of the month", 1, 31),
    Part("month", 1, 12, MONTHS),
    Part("day of the week", 0, 7, DAYS),
)


class ScheduleError(ValueError):
    """The problem of a schedule, as the end of a sentence that begins with the schedule."""


@dataclass(frozen=True)
class Schedule:
    """The five fields with names replaced by numbers, and the numbers that each field matches."""

    fields: tuple[str, ...]
    numbers: tuple[frozenset[int], ...]

    @property
    def either_day(self) -> bool:
        """Whether one matching kind of day is enough: cron's rule if neither field begins with ``*``."""
        return not any(field.startswith("*") for field in (self.fields[2], self.fields[4]))

    @property
    def cron(self) -> str:
        """The fields in cron's notation.

        After a clock change, cron makes up for a time without ``*`` in its first two fields, and repeats no such time.
        So only a schedule of every hour has a ``*`` there.
        """
        minute, hour, *days = self.fields
        if len(self.numbers[1]) < 24:
            minute, hour = (
                plain(self.numbers[place]) if "*" in self.fields[place] else self.fields[place] for place in (0, 1)
            )
        return " ".join((minute, hour, *days))

    @property
    def explicit(self) -> list[str]:
        """The numbers of each field, and how the two kinds of days are combined, for the program ``due``."""
        return ["either" if self.either_day else "both", *map(plain, self.numbers)]

    @property
    def minutes_in_any_zone(self) -> str:
        """The minutes of an hour at which a time of the schedule can be, in any zone, or the end of a clock change.

        The offsets of all zones differ by quarters of an hour.
        """
        return plain(frozenset((minute + 15 * part) % 60 for minute in {0, *self.numbers[0]} for part in range(4)))

    @property
    def on_calendar(self) -> list[str]:
        """The equivalent OnCalendar values.

        systemd requires both the date and the weekday to match, so either-day schedules need two values.
        """
        minute, hour, day, month, weekday = self.numbers
        dates = [(day, weekday)]
        if self.either_day:
            dates = [(day, frozenset(range(7))), (frozenset(range(1, 32)), weekday)]
        clock = f"{listed(hour, 24)}:{listed(minute, 60)}:00"
        return [f"{named(on, DAYS)}*-{listed(month, 12)}-{listed(days, 31)} {clock}" for days, on in dates]


def plain(numbers: frozenset[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def listed(numbers: frozenset[int], count: int) -> str:
    """Numbers for OnCalendar, or ``*`` for all of them."""
    return "*" if len(numbers) == count else ",".join(f"{number:02}" for number in sorted(numbers))


def named(numbers: frozenset[int], names: tuple[str, ...]) -> str:
    return "" if len(numbers) == len(names) else ",".join(names[number].title() for number in sorted(numbers)) + " "


def parse(text: str) -> Schedule:
    """Parse a schedule; raises ScheduleError."""
    words = text.split()
    if len(words) == 1:
        word = words[0].lower()
        if word not in WORDS:
            raise ScheduleError(f"is not one of {', '.join(WORDS)}.{nearest(word.lstrip('@'), list(WORDS))}")
        words = WORDS[word].split()
    if len(words) != 5:
        raise ScheduleError(
            f"has {len(words)} fields instead of five: minute, hour, day of the month, month, day of the week, "
            f"such as '30 2 * * *'. Or write one of {', '.join(WORDS)}."
        )
    fields, numbers = [], []
    for part, word in zip(PARTS, words, strict=True):
        field = numbered(part, word)
        found = {number for item in field.split(",") for number in numbers_of(part, item, word)}
        # Sunday is both 0 and 7.
        numbers.append(frozenset(0 if part.high == 7 and number == 7 else number for number in found))
        fields.append(field)
    schedule = Schedule(tuple(fields), tuple(numbers))
    if not schedule.either_day and min(numbers[2]) > max(LONGEST[month - 1] for month in numbers[3]):
        raise ScheduleError(
            f"never occurs: no such month has a day {min(numbers[2])}. Choose an earlier day or another month."
        )
    return schedule


def numbered(part: Part, word: str) -> str:
    """A field with numbers instead of names, because cron does not support ranges or lists of names."""

    def number(match: re.Match[str]) -> str:
        name = match.group().lower()
        if name not in part.names:
            raise ScheduleError(invalid(part, match.group()))
        return str(part.names.index(name) + part.low)

    return re.sub(r"[A-Za-z]+", number, word)


def numbers_of(part: Part, item: str, word: str) -> set[int]:
    """The numbers that one item of a field's list matches."""
    match = STEP.match(item)
    if not match or (match["step"] and not re.search(r"\*|-", match["range"])):
        raise ScheduleError(f"{invalid(part, word)} Ranges such as 1-5, steps such as */2, and lists are also valid.")
    low, high = part.low, part.high
    if match["range"] == "*":
        high = min(high, 6) if part.high == 7 else high
    else:
        ends = [int(end) for end in match["range"].split("-")]
        low, high = ends[0], ends[-1]
    step = int(match["step"] or 1)
    if not part.low <= low <= high <= part.high or step < 1:
        raise ScheduleError(invalid(part, word))
    return set(range(low, high + 1, step))


def invalid(part: Part, word: str) -> str:
    """The problem of a field, and the values that it may have."""
    names = f", or {part.names[0]} to {part.names[-1]}" if part.names else ""
    return f"has an invalid {part.name} '{word}'. Use a number from {part.low} to {part.high}{names}."
