# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Records of a log: a line with the lines that belong to it, such as a traceback. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ansible_collections.pyweb.stack.plugins.module_utils.logs import levels, times

CHAINED = re.compile(r"(?:During handling of the above exception|The above exception was the direct cause)")


@dataclass
class Line:
    """One line of a log: ``text`` is what the process wrote. ``time`` is in seconds since 1970."""

    text: str
    shown: str
    time: float | None = None
    level: int | None = None
    # The process that wrote the line. Several processes can write at the same time.
    process: str = ""


@dataclass
class Record:
    """A line and those that belong to it."""

    lines: list[Line] = field(default_factory=list)
    level: int = levels.INFO
    time: float | None = None
    in_traceback: bool = False

    def add(self, line: Line) -> None:
        self.lines.append(line)
        if levels.TRACEBACK.match(line.text):
            self.in_traceback, self.level = True, max(self.level, levels.ERROR)
        elif self.in_traceback and line.text.strip() and not line.text[:1].isspace():
            # The exception itself ends a traceback.
            self.in_traceback = False

    def takes(self, line: Line) -> bool:
        """Whether a line belongs to this record."""
        text = line.text
        if not text.strip() or text[:1].isspace() or self.in_traceback or CHAINED.match(text):
            return True
        return bool(levels.TRACEBACK.match(text)) and (self.level >= levels.ERROR or len(self.lines) == 0)


def read_text(lines: Iterable[str]) -> list[Line]:
    """The lines of a text file, with the times that they name. Without an offset, they are local times of this host."""
    found = []
    for text in lines:
        moment = times.in_line(text)
        found.append(Line(text, text, moment.timestamp() if moment else None))
    return found


def records_of(lines: Iterable[Line], level_of: Callable[[str], int | None] = levels.marked) -> list[Record]:
    """The records of a log, in the order of their first lines. A line without a time has that of the record before."""
    found: list[Record] = []
    latest: dict[str, Record] = {}
    time: float | None = None
    for line in lines:
        time = time if line.time is None else line.time
        last = latest.get(line.process)
        if last and last.takes(line):
            last.add(line)
            continue
        marks = [level for level in (level_of(line.text), line.level) if level is not None]
        record = Record(level=max(marks, default=levels.INFO), time=time)
        record.add(line)
        found.append(record)
        latest[line.process] = record
    return found


def since(records: list[Record], start: float | None) -> list[Record]:
    """The records from a moment on. Records before the first time of a log have none; they stay if the others do."""
    if start is None:
        return records
    first = next((one.time for one in records if one.time is not None), None)
    timed = [(one, first if one.time is None else one.time) for one in records]
    return [one for one, time in timed if time is None or time >= start]


def shown(records: list[Record], most: int) -> list[str]:
    """The last lines of these records."""
    return [line.shown for record in records for line in record.lines][-most:]
