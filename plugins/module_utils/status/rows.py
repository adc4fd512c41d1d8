# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The rows of the status, as the page shows them: cells, details, and what needs attention. Pure.

A row shows every value of the JSON output. A value that has no cell becomes a detail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status import values
from ansible_collections.pyweb.stack.plugins.module_utils.status.leases import lease_of, lease_text
from ansible_collections.pyweb.stack.plugins.module_utils.status.values import dictionaries
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import drained_text, hold_line, shown_revision

# Days before the end of a certificate from which on it needs attention. It should have been renewed by then.
CERTIFICATE_DAYS = 14
OK, NOTE, WARN, BAD = "ok", "note", "warn", "bad"
LEVELS = (OK, NOTE, WARN, BAD)

Row = Mapping[str, Any]


def processes_text(row: Row) -> str:
    found = dictionaries(row.get("processes"))
    return f"{sum(1 for one in found if one.get('state') == 'running')}/{len(found)}" if found else values.NONE


def restarts_text(row: Row) -> str:
    deaths = row.get("worker_deaths")
    died = f", workers {deaths}" if values.is_number(deaths) and deaths else ""
    return f"{values.text(row.get('restarts'))}{died}"


def certificate_text(row: Row) -> str:
    days = row.get("certificate_days")
    return values.plural(int(days), "day") if values.is_number(days) else values.text(days)


def jobs_text(row: Row) -> str:
    found = dictionaries(row.get("jobs"))
    failed = sum(1 for one in found if one.get("state") in ("failed", "timed out"))
    if not found:
        return values.NONE
    good = sum(1 for one in found if one.get("state") == "succeeded")
    return f"{failed} of {len(found)} failed" if failed else f"{good}/{len(found)} ok"


def revision_text(row: Row) -> str:
    revision, source = str(row.get("revision") or ""), str(row.get("source") or "")
    return values.text(shown_revision(revision, source), 40) if revision or source else values.NONE


# The columns of the table: the key of the JSON output, the title, the text, and whether it is sorted as a number.
COLUMNS: tuple[tuple[str, str, Callable[[Row], str], bool], ...] = (
    ("application", "application", lambda row: values.text(row.get("application")), False),
    ("host", "host", lambda row: values.text(row.get("host")), False),
    ("health", "health", lambda row: values.text(row.get("health"), 120), False),
    ("revision", "revision", revision_text, False),
    ("since", "since (UTC)", lambda row: values.moment(row.get("since")), False),
    ("workers", "workers", lambda row: values.text(row.get("workers")), True),
    ("memory", "memory", lambda row: values.size(row.get("memory")), True),
    ("restarts", "restarts", restarts_text, True),
    ("certificate_days", "certificate", certificate_text, True),
    ("processes", "processes", processes_text, False),
    ("jobs", "jobs", jobs_text, False),
)


def process_line(one: Mapping[str, Any]) -> str:
    restarts = one.get("restarts")
    again = f", {values.plural(int(restarts), 'restart')}" if values.is_number(restarts) and restarts else ""
    return f"{values.text(one.get('service'))}: {values.text(one.get('state'))}{again}"


def job_line(one: Mapping[str, Any]) -> str:
    if not one.get("state"):
        return f"{values.text(one.get('name'))}: has not run yet"
    status = f" (status {values.text(one.get('status'))})" if one.get("status") is not None else ""
    begun = f", {values.moment(one.get('started'))}" if one.get("started") else ""
    return f"{values.text(one.get('name'))}: {values.text(one.get('state'))}{status}{begun}"


def drift_text(row: Row) -> Any:
    drift = row.get("drift")
    return drift.get("text") if isinstance(drift, Mapping) else drift


# How the details of a row are shown; by default, as their text. A list has a line for each of its items.
DETAILS: dict[str, tuple[str, Callable[[Row], Any]]] = {
    "release": ("release", lambda row: row.get("release")),
    "source": ("source", lambda row: row.get("source")),
    "run": ("run", lambda row: row.get("run")),
    "server": ("app server", lambda row: row.get("server")),
    "python": ("Python", lambda row: row.get("python")),
    "process_manager": ("process manager", lambda row: row.get("process_manager")),
    "state": ("web process", lambda row: row.get("state")),
    "processes": (
        "background processes",
        lambda row: [process_line(one) for one in dictionaries(row.get("processes"))],
    ),
    "jobs": ("jobs", lambda row: [job_line(one) for one in dictionaries(row.get("jobs"))]),
    "worker_deaths": ("workers that died", lambda row: row.get("worker_deaths")),
    "without_service": (
        "time without service at its switch",
        lambda row: values.seconds(row["without_service"]) if row.get("without_service") is not None else None,
    ),
    "balancers": ("balancers", lambda row: balancer_lines(row.get("balancers"))),
    "drained": ("drained", lambda row: drained_text(row.get("drained"))),
    "status_page": ("published status page", lambda row: row.get("status_page")),
    "hold": ("hold", lambda row: hold_text(row)),
    "lease": ("provisional switch", lambda row: lease_text(row.get("lease"))),
    "drift": ("drift", drift_text),
    "in_inventory": ("in the inventory", lambda row: row.get("in_inventory")),
    "healthy": ("healthy", lambda row: row.get("healthy")),
}
CELLS = frozenset(key for key, *_rest in COLUMNS)


def balancer_lines(found: Any) -> Any:
    return [f"{name}: {state}" for name, state in found.items()] if isinstance(found, Mapping) else found


def hold_text(row: Row) -> str:
    hold = row.get("hold")
    return (
        hold_line(str(row.get("application")), hold, str(row.get("host"))) if isinstance(hold, Mapping) and hold else ""
    )


@dataclass(frozen=True)
class Problem:
    """Something that needs attention: how much, and in which words. The words name no host."""

    level: str
    text: str


def problems(row: Row) -> list[Problem]:
    """The problems of an application on a host, the worst first."""
    if row.get("in_inventory") is False:
        return [Problem(WARN, values.text(row.get("health"), 120))]
    if not row.get("release"):
        return [Problem(WARN, "not deployed")]
    health = values.text(row.get("health"), 120)
    found = [] if row.get("healthy") is True else [Problem(BAD, health)]
    if row.get("healthy") is True and ", BUT " in health:
        found.append(Problem(WARN, health))
    elif "in maintenance" in health:
        found.append(Problem(NOTE, "in maintenance"))
    found += [
        Problem(BAD, f"the background process {process_line(one)}")
        for one in dictionaries(row.get("processes"))
        if one.get("state") != "running"
    ]
    found += [
        Problem(WARN, f"the job {job_line(one)}")
        for one in dictionaries(row.get("jobs"))
        if one.get("state") in ("failed", "timed out", "interrupted")
    ]
    days = row.get("certificate_days")
    if values.is_number(days) and days < CERTIFICATE_DAYS:
        ends = (
            "its certificate has expired"
            if days < 0
            else f"its certificate expires in {values.plural(int(days), 'day')}"
        )
        found.append(Problem(BAD if days < 0 else WARN, ends))
    lease = lease_of(row.get("lease"))
    if lease:
        words = "a provisional switch is overdue" if lease["overdue"] else "a provisional switch is under way"
        found.append(Problem(WARN if lease["overdue"] else NOTE, words))
    if isinstance(row.get("hold"), Mapping) and row["hold"]:
        found.append(Problem(NOTE, "a rollback holds a release back"))
    return sorted(found, key=lambda one: LEVELS.index(one.level), reverse=True)


def level(row: Row) -> str:
    """How an application on a host is."""
    return next((one.level for one in problems(row)), OK)


def instance(row: Row) -> dict[str, Any]:
    """One row of the table: its level, its cells, and its details."""
    return {
        "level": level(row),
        "application": values.text(row.get("application")),
        "host": values.text(row.get("host")),
        "cells": [cell(key, shown(row), row.get(key), is_number) for key, _title, shown, is_number in COLUMNS],
        "details": details(row),
    }


def cell(key: str, text: str, value: Any, is_number: bool) -> dict[str, Any]:
    """A cell with the number by which it is sorted, if it has one, and its classes."""
    kinds = [kind for kind, has in (("number", is_number), ("none", text == values.NONE)) if has]
    return {
        "key": key,
        "text": text,
        "value": value if is_number and values.is_number(value) else None,
        "kind": " ".join(kinds),
    }


def details(row: Row) -> list[dict[str, Any]]:
    """The values of a row that have no cell, except missing ones. Those that this page does not know come last."""
    found = []
    for key in dict.fromkeys([*DETAILS, *row]):
        if key not in row or (key in CELLS and key not in DETAILS):
            continue
        label, shown = DETAILS.get(key, (str(key).replace("_", " "), lambda row, key=key: row[key]))
        value = shown(row)
        lines = [
            text
            for one in (value if isinstance(value, list) else [value])
            if (text := values.text(one, 600)) != values.NONE
        ]
        if lines:
            found.append({"key": str(key), "label": values.text(label), "lines": lines})
    return found
