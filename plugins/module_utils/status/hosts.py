# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts on the page: what they have left, and those that did not answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted
from ansible_collections.pyweb.stack.plugins.module_utils.status import values
from ansible_collections.pyweb.stack.plugins.module_utils.status.rows import BAD, NOTE, OK, WARN, Problem
from ansible_collections.pyweb.stack.plugins.module_utils.status.values import dictionaries
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import drained_text, page_problem

# The free part of a disk, and of the memory, below which it needs attention.
LOW = 0.1
# Seconds by which a clock may be wrong.
WRONG_CLOCK = 30.0


@dataclass(frozen=True)
class Answers:
    """The results of the tasks of the playbook on one host. A task that did not run has an empty one."""

    name: str
    status: Mapping[str, Any] = field(default_factory=dict)
    traffic: Mapping[str, Any] = field(default_factory=dict)
    releases: Mapping[str, Any] = field(default_factory=dict)
    # The applications that the inventory has for a host that did not answer.
    expected: tuple[str, ...] = ()

    @property
    def apps(self) -> list[Mapping[str, Any]]:
        return [] if self.problem else dictionaries(self.status.get("apps"))

    @property
    def problem(self) -> str:
        """Why the host has no status; empty if it has one."""
        if self.status.get("unreachable"):
            return first_line(self.status, "it can't be reached")
        if self.status.get("failed") or not isinstance(self.status.get("apps"), list):
            return first_line(self.status, "it was not inspected")
        return ""

    @property
    def is_unreachable(self) -> bool:
        return bool(self.status.get("unreachable"))


def first_line(result: Mapping[str, Any], default: str) -> str:
    lines = [line for line in lines_of(str(result.get("msg") or " ")) if line.strip()]
    return values.text(redacted(lines[0].strip()), 240) if lines else default


def problems(host: Answers) -> list[Problem]:
    """The problems of a host, apart from those of its applications."""
    if host.problem:
        return [Problem(BAD, f"{'unreachable' if host.is_unreachable else 'not inspected'}: {host.problem}")]
    found, seen = [], mapping(host.status.get("host"))
    nginx = mapping(seen.get("nginx"))
    if nginx.get("installed") and not nginx.get("running"):
        found.append(Problem(BAD, "nginx does not run"))
    for disk in disks(seen):
        if disk["used"] is not None and disk["used"] > 1 - LOW:
            found.append(Problem(WARN, f"the disk of {disk['path']} is nearly full: {disk['text']}"))
    memory = gauge(seen.get("memory"), "available", "total")
    if memory["used"] is not None and memory["used"] > 1 - LOW:
        found.append(Problem(WARN, f"memory is low: {memory['text']}"))
    ahead = seen.get("ahead")
    if values.is_number(ahead) and abs(ahead) > WRONG_CLOCK:
        found.append(Problem(WARN, f"its clock is {values.seconds(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}"))
    now = seen.get("time")
    if values.is_number(now) and (text := page_problem(seen.get("status_page"), now)):
        found.append(Problem(WARN, text))
    if drained := drained_text(seen.get("drained")):
        found.append(Problem(NOTE, drained))
    return found


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def gauge(value: Any, free: str, total: str) -> dict[str, Any]:
    """The used part of a resource, from 0 to 1, and what is left as text."""
    found = mapping(value)
    whole, left = found.get(total), found.get(free)
    if not (values.is_number(whole) and values.is_number(left) and whole > 0):
        return {"used": None, "text": values.NONE, "level": OK}
    used = min(1.0, max(0.0, 1 - left / whole))
    return {
        "used": used,
        "text": f"{values.size(left)} of {values.size(whole)} free",
        "level": WARN if used > 1 - LOW else OK,
    }


def disks(seen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The disks of a host. Folders of one disk are one entry."""
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for disk in dictionaries(seen.get("disks")):
        key = (str(disk.get("size")), str(disk.get("free")))
        if key in found:
            found[key]["path"] += f", {values.text(disk.get('path'), 80)}"
        else:
            found[key] = {"path": values.text(disk.get("path"), 80), **gauge(disk, "free", "size")}
    return list(found.values())


def card(host: Answers, levels: list[str]) -> dict[str, Any]:
    """A host as the page shows it. ``levels`` are those of its applications."""
    seen, found = mapping(host.status.get("host")), problems(host)
    level = max((one.level for one in found), key=[OK, NOTE, WARN, BAD].index, default=OK)
    well = sum(1 for one in levels if one in (OK, NOTE))
    return {
        "name": values.text(host.name),
        "level": level,
        "answered": not host.problem,
        "problems": [{"level": one.level, "text": one.text} for one in found],
        "applications": f"{well} of {values.plural(len(levels), 'application')} well" if levels else "no application",
        "memory": gauge(seen.get("memory"), "available", "total"),
        "disks": disks(seen),
        "init": "systemd" if seen.get("init") == "systemd" else "supervisor",
    }
