# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The values by which an operator selects lines of logs: their checks and their meaning. Pure. Used on both sides."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.logs import levels, requests, times
from ansible_collections.pyweb.stack.plugins.module_utils.logs.report import Wanted

MOST_LINES = 10000


def problem(given: Mapping[str, Any], now: datetime.datetime, on_host: bool = True) -> str:
    """The problem with these values; empty if they are right. ``now`` is the local time.

    Only the host knows its clock and its time zone, and so which times are in the future.
    """
    app, names, lines = given["app"], given["names"], str(given["lines"])
    since, level, request = (str(given[key] or "").strip() for key in ("since", "level", "request"))
    if app not in names:
        unknown = f"'{app}' is not an application on this host" if app else "no application is given"
        return f"{unknown}. Set -e app=NAME. Available applications: {', '.join(names) or 'none'}."
    if not (lines.isdecimal() and 1 <= int(lines) <= MOST_LINES):
        return f"{lines} is not a valid number of lines. Give a number from 1 to {MOST_LINES} with -e lines=NUMBER."
    start = times.moment(since, now) if since else None
    if since and start is None:
        return times.WRONG.format(since)
    if on_host and start and start.timestamp() > now.timestamp() + 1:
        return f"since is '{since}', which is in the future: on this host, it is {now:%Y-%m-%d %H:%M:%S}."
    if level and levels.rank_of(level) is None:
        return levels.WRONG.format(level)
    if request and not requests.ID.fullmatch(request):
        return requests.WRONG.format(request)
    return ""


def wanted(given: Mapping[str, Any], now: datetime.datetime) -> Wanted:
    """The meaning of values that have no problem."""
    since, level, request = (str(given[key] or "").strip() for key in ("since", "level", "request"))
    start = times.moment(since, now) if since else None
    return Wanted(int(given["lines"]), start.timestamp() if start else None, levels.rank_of(level), request)
