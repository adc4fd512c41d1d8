# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Follow one request through the logs of nginx and of the application, by its ID. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.module_utils.logs.records import Line, Record

# The IDs that nginx makes, and those that it takes from a trusted proxy.
ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
WRONG = (
    "request is '{}'. Give the ID of one request, as the access log of the site has it (id=…, or request_id in JSON): "
    "-e request=ID."
)
# The end of a line of the access log. The texts of visitors are in quotes before it.
ACCESS = re.compile(r"\brt=(\d+\.\d+) uct=[^\"]* id=([A-Za-z0-9._-]+)(?: conn=(\d+))?$")
# The connection of a line in the error log of nginx.
OF_CONNECTION = re.compile(r"^\S+ \S+ \[\w+\] \d+#\d+: \*(\d+) ")
# Seconds before and after a request: times of the logs are whole seconds, and the access log is written at the end.
MARGIN = 1.0


@dataclass(frozen=True)
class Request:
    """When a request was handled, and on which connection of nginx (empty if the log does not say)."""

    begin: float
    end: float
    connection: str


def has_id(line: str, identity: str) -> bool:
    """Whether a line has this ID, and not only a longer one that contains it."""
    return bool(re.search(rf"(?<![A-Za-z0-9._-]){re.escape(identity)}(?![A-Za-z0-9_-])", line))


def accessed(line: str) -> tuple[str, float, str]:
    """The ID, the seconds and the connection of a line of an access log; empty if it is of another format."""
    if line.startswith("{"):
        try:
            entry = json.loads(line)
            return str(entry["request_id"]), float(entry["request_time"]), str(entry.get("connection", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            return "", 0.0, ""
    found = ACCESS.search(line.rpartition('"')[2])
    return (found[2], float(found[1]), found[3] or "") if found else ("", 0.0, "")


def requests_of(lines: list[Line], identity: str) -> list[Request]:
    """The requests with this ID in an access log. An ID of a trusted proxy can be that of several."""
    found = []
    for line in lines:
        if line.time is not None and identity in line.text:
            own, seconds, connection = accessed(line.text)
            if own == identity:
                found.append(Request(line.time - seconds - MARGIN, line.time + 1 + MARGIN, connection))
    return found


def errors_of(records: list[Record], requests: list[Request]) -> list[Record]:
    """The records of nginx's error log about these requests: those of their connections, in their time."""
    found = []
    for record in records:
        match = OF_CONNECTION.match(record.lines[0].text)
        time = record.time
        if match and time is not None:
            wanted = [one for one in requests if one.begin <= time <= one.end and one.connection == match[1]]
            found += [record] if wanted else []
    return found


def during(records: list[Record], requests: list[Request]) -> list[Record]:
    """The records that were written while one of these requests was handled."""
    return [
        record
        for record in records
        if record.time is not None and any(one.begin <= record.time <= one.end for one in requests)
    ]
