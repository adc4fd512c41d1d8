# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The status of applications, in one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.status import row
from ansible_collections.pyweb.stack.plugins.module_utils.status.drift import drifts
from ansible_collections.pyweb.stack.plugins.module_utils.status.leases import lease_line, lease_of
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import drained_text, hold_line, shown_revision
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.balancers import states
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

COLUMNS = {
    "host": "host",
    "application": "application",
    "release": "release",
    "revision": "revision",
    "since": "since (UTC)",
    "server": "server",
    "python": "python",
    "process_manager": "process manager",
    "workers": "workers",
    "memory": "memory",
    "restarts": "restarts",
    "processes": "processes",
    "certificate_days": "certificate",
    "health": "health",
    "jobs": "jobs",
}


def status_row(view: View) -> dict[str, Any]:
    """One application, for machines: bytes, whole numbers, None where a value does not apply."""
    return row.status_row(view.found, view.host, view.front_works, states(view))


def status_table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as lines of a table."""
    cells = [list(COLUMNS.values()), *([cell(row, key) for key in COLUMNS] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(COLUMNS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    texts = [*leases(rows), *holds(rows), *drained_hosts(rows), *old_pages(rows), *differing(rows), *balanced(rows)]
    return [*lines, *map(one_line, texts)]


def differing(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each application whose hosts serve different deployments."""
    return [drift["text"] for drift in drifts(rows).values()]


def leases(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each provisional switch."""
    return [lease_line(row["application"], row["lease"], row["host"]) for row in rows if lease_of(row.get("lease"))]


def holds(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each application that is held on a host since a rollback."""
    return [hold_line(row["application"], row["hold"], row["host"]) for row in rows if row.get("hold")]


def drained_hosts(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each host that is drained."""
    found = {row["host"]: drained_text(row.get("drained")) for row in rows}
    return [f"{host} is {text}: it gets no requests from balancers." for host, text in found.items() if text]


def old_pages(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each host whose published status page is not renewed."""
    found = {row["host"]: row.get("status_page") for row in rows}
    return [f"{host}: {text}." for host, text in found.items() if text]


def balanced(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each application on a host behind balancers: its state, as each of them sees it."""
    return [
        f"{row['application']} on {row['host']}: {', '.join(f'{name} {state}' for name, state in found.items())}"
        for row in rows
        if (found := row.get("balancers"))
    ]


def cell(row: dict[str, Any], key: str) -> str:
    """A value as text; a dash where it does not apply."""
    if key == "revision":
        has_one = row["release"] and "revision" in row
        return shown_revision(row["revision"], str(row.get("source") or "")) if has_one else "-"
    value = row[key]
    if key == "restarts" and row["release"] and row["worker_deaths"]:
        return f"{value}, of workers {row['worker_deaths']}"
    if key == "since" and isinstance(row.get("without_service"), (int, float)):
        return f"{one_line(moment(value))} (after {row['without_service']:.1f} s without service)"
    if value in (None, "", []) or (key in ("workers", "memory", "restarts") and not row["release"]):
        return "-"
    return one_line(CELLS.get(key, str)(value))


def moment(time: str) -> str:
    return time.replace("T", " ").rstrip("Z")


def running(processes: list[dict[str, Any]]) -> str:
    """How many of the background processes run."""
    return f"{sum(1 for one in processes if one['state'] == 'running')}/{len(processes)}"


def last_results(jobs: list[dict[str, Any]]) -> str:
    return "; ".join(last_result(job) for job in jobs)


def last_result(job: dict[str, Any]) -> str:
    """The result of the last run of a job, and when it began."""
    if not job["state"]:
        return f"{job['name']}: has not run yet"
    state = f"FAILED ({job['status']})" if job["state"] == "failed" else job["state"]
    return f"{job['name']}: {state} {moment(job['started'] or '')}".rstrip()


def size(count: int) -> str:
    """Bytes in a unit that people read."""
    return f"{count / 1024**2:.0f} MiB" if count < 10 * 1024**3 else f"{count / 1024**3:.0f} GiB"


CELLS: dict[str, Callable[[Any], str]] = {
    "since": moment,
    "memory": size,
    "processes": running,
    "certificate_days": lambda days: f"{days} days",
    "jobs": last_results,
}
