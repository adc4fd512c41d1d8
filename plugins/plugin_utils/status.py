# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""How applications are, in one row each."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.views import View, answer_text

COLUMNS = {
    "host": "host",
    "application": "application",
    "release": "release",
    "since": "since (UTC)",
    "server": "server",
    "process_manager": "kept by",
    "workers": "workers",
    "memory": "memory",
    "restarts": "restarts",
    "health": "health",
    "certificate_days": "certificate",
}


def status_row(view: View) -> dict[str, Any]:
    """One application, for machines: bytes, whole numbers, None where there is nothing to tell."""
    found, process = view.found, view.process
    return {
        "host": view.host["name"],
        "application": view.name,
        "release": found["release"],
        "since": found["since"],
        "server": found["server"],
        "process_manager": found["process_manager"],
        "state": process["state"],
        "workers": process["workers"],
        "memory": process["memory"],
        "restarts": process["restarts"],
        "healthy": view.front_works,
        "health": health(view),
        "certificate_days": found.get("certificate_days"),
    }


def health(view: View) -> str:
    """The answer through nginx; where it is not well, also what the process is doing."""
    if not view.found["release"]:
        return "not deployed"
    told = answer_text(view.found["front"])
    if view.front_works:
        closed = ", in maintenance" if view.found["maintenance"] else ""
        return f"ok ({view.found['front']['status']}){closed}"
    state = view.process["state"]
    return f"BAD: {told}" if state == "running" else f"BAD: {told}; its process is {state}"


def status_table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as lines of a table."""
    cells = [list(COLUMNS.values()), *([cell(row, key) for key in COLUMNS] for row in rows)]
    # Nobody needs an empty column: without TLS there are no certificates.
    shown = [place for place in range(len(COLUMNS)) if not rows or any(line[place] for line in cells[1:])]
    widths = {place: max(len(line[place]) for line in cells) for place in shown}
    return ["  ".join(line[place].ljust(widths[place]) for place in shown).rstrip() for line in cells]


def cell(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if key == "certificate_days":
        return "" if value is None else f"{value} days"
    if key == "since":
        return str(value).replace("T", " ").rstrip("Z")
    if key in ("workers", "memory", "restarts") and not row["release"]:
        return ""
    return size(value) if key == "memory" else str(value)


def size(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 1024**2:.0f} MiB" if count < 10 * 1024**3 else f"{count / 1024**3:.0f} GiB"
