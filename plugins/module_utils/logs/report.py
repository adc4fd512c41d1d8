# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Choose the lines of all logs of an application that an operator asks for, and write them down. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.module_utils.host.outputs import as_printed
from ansible_collections.pyweb.stack.plugins.module_utils.logs import levels, requests
from ansible_collections.pyweb.stack.plugins.module_utils.logs.records import Record, records_of, shown, since
from ansible_collections.pyweb.stack.plugins.module_utils.logs.services import Log

# The part of each log that is searched for the lines that an operator selects.
SEARCHED_LINES = 20_000
SEARCHED_BYTES = 16 * 1024**2
CUT = "(Older lines were not searched, because there are very many.)"
TIMELESS = "(No line of this log has a time, so lines from before that time can be among these.)"
MEANWHILE = "(No line has the request ID. These lines are from the time of the request, so others can be among them.)"
UNKNOWN = (
    "No access log of the site has the request ID {}. nginx writes its access log up to a second later, and compressed "
    "logs are not searched."
)


@dataclass(frozen=True)
class Wanted:
    """The selection of an operator: the number of lines of each log, and their time, level and request."""

    lines: int
    start: float | None = None
    level: int | None = None
    request: str = ""

    @property
    def is_filtered(self) -> bool:
        return self.start is not None or self.level is not None or bool(self.request)

    @property
    def searched_lines(self) -> int:
        return max(self.lines, SEARCHED_LINES) if self.is_filtered else self.lines


def report(wanted: Wanted, services: list[Log], errors: list[Log], access: list[Log]) -> list[str]:
    """The lines of all logs, each log with a heading."""
    if wanted.request:
        return of_request(wanted, services, errors, access)
    told = [line for log in services + errors for line in section(wanted, log, records_of(log.lines))]
    if wanted.level is not None:
        told += [line for log in access for line in section(wanted, log, records_of(log.lines, levels.of_request))]
    return told


def asked_at(wanted: Wanted, access: list[Log]) -> list[requests.Request]:
    """The times and connections of the wanted request."""
    lines = [line for log in access for line in log.lines]
    return requests.requests_of(lines, wanted.request) if wanted.request else []


def of_request(wanted: Wanted, services: list[Log], errors: list[Log], access: list[Log]) -> list[str]:
    """The lines about one request, from outside in."""
    found = asked_at(wanted, access)
    told = [] if found else [UNKNOWN.format(wanted.request), ""]
    for log in access:
        records = records_of(log.lines, levels.of_request)
        told += section(wanted, log, [one for one in records if is_of(one, wanted.request)])
    for log in errors:
        told += section(wanted, log, requests.errors_of(records_of(log.lines), found))
    for log in services:
        records = records_of(log.lines)
        exact = with_id(records, wanted.request)
        meanwhile = [] if exact else requests.during(records, found)
        told += section(wanted, log, exact or meanwhile, [MEANWHILE] if meanwhile else [])
    return told


def is_of(record: Record, identity: str) -> bool:
    """Whether a record of an access log is that of a request. Visitors can write its ID into the others."""
    return requests.accessed(record.lines[0].text)[0] == identity


def with_id(records: list[Record], identity: str) -> list[Record]:
    return [one for one in records if any(requests.has_id(line.text, identity) for line in one.lines)]


def section(wanted: Wanted, log: Log, records: list[Record], notes: list[str] | None = None) -> list[str]:
    """One log with its heading: the last lines of the selected records."""
    notes = notes or []
    if wanted.start is not None and records and all(one.time is None for one in records):
        notes.append(TIMELESS)
    chosen = [one for one in since(records, wanted.start) if wanted.level is None or one.level >= wanted.level]
    lines = shown(chosen, wanted.lines)
    oldest = next((one.time for one in log.lines if one.time is not None), None)
    reaches = wanted.start is not None and oldest is not None and oldest < wanted.start
    if log.cut and wanted.is_filtered and len(lines) < wanted.lines and not reaches:
        notes.append(CUT)
    tidied = as_printed("\n".join(lines))
    problem = [f"({log.problem})"] if log.problem else []
    return [f"== {log.name} ==", *problem, *notes, *(tidied or ([] if problem else ["(nothing)"])), ""]
