# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Links of the chain that a host and all its applications share: disks, memory, the clock, the next boot. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status.paths import UNIT
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import drained_text, page_problem
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.starts import (
    PROGRAM,
    by_hand,
    start_problem,
    start_reason,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

# Seconds that a clock may be wrong before certificates, sessions and package lists fail.
CLOCK = 30.0
# The part of a disk and of the memory that must be free.
DISK_LOW, MEMORY_LOW = 0.05, 0.05
# Bytes of free space below which no file can be written.
DISK_FULL = 16 * 1024**2


def drained(view: View) -> Finding | None:
    """A host that balancers send no requests to."""
    text = drained_text(view.host.get("drained"))
    return (
        Finding(
            "drain",
            f"the host is {text}",
            "an operator drained it, or a run of rolling.yml stopped at it",
            f"end its drain: ansible-playbook drain.yml -e drain=off --limit {view.host['name']}",
            works=True,
        )
        if text
        else None
    )


def full_disk(view: View) -> dict[str, Any] | None:
    disks: list[dict[str, Any]] = view.host["disks"]
    for one in disks:
        if (one["size"] and one["free"] < DISK_FULL) or (one["files"] and one["files_free"] == 0):
            return one
    return None


def disk(view: View) -> Finding | None:
    full = full_disk(view)
    if full:
        left = f"{full['free'] // 1024**2} MiB are left" if full["free"] < DISK_FULL else "no further file can be made"
        return Finding(
            "disk",
            f"the disk of {full['path']} is full: {left}",
            "logs, uploads, old releases or a forgotten file fill it",
            f"find the largest: du -xh {full['path']} | sort -h | tail; webapp_keep_releases limits the releases",
            works=view.front_works,
        )
    disks: list[dict[str, Any]] = view.host["disks"]
    for one in disks:
        if one["size"] and one["free"] < DISK_LOW * one["size"]:
            return Finding(
                "disk",
                f"the disk of {one['path']} is nearly full: {one['free'] // 1024**2} MiB of "
                f"{one['size'] // 1024**2} MiB are left",
                "logs, uploads or old releases",
                f"find the largest: du -xh {one['path']} | sort -h | tail",
                works=True,
            )
    return None


def memory(view: View) -> Finding | None:
    found = view.host["memory"]
    if found["available"] >= MEMORY_LOW * found["total"]:
        return None
    return Finding(
        "memory",
        f"{found['available'] // 1024**2} MiB of {found['total'] // 1024**2} MiB memory are left",
        f"the processes of the host need more than it has; those of {view.name} take "
        f"{view.process['memory'] // 1024**2} MiB",
        "lower workers, set limits.memory, or give the host more",
        works=True,
    )


def clock(view: View) -> Finding | None:
    ahead = view.host["ahead"]
    if abs(ahead) <= CLOCK:
        return None
    return Finding(
        "clock",
        f"the host's clock is {abs(ahead):.0f} seconds {'ahead of' if ahead > 0 else 'behind'} the controller's",
        "no service sets the clock of the host (or of the controller)",
        by_hand(
            view,
            "apt install systemd-timesyncd (or chrony)",
            "set the clock of the machine that runs the container",
        )
        + "; certificates and sessions depend on the time",
        works=True,
    )


def status_page(view: View) -> Finding | None:
    """Whether the page that the host publishes of itself is renewed."""
    text = page_problem(view.host.get("status_page"), view.host["time"])
    if not text:
        return None
    return Finding(
        "status page",
        f"the host has a problem: {text}",
        "its timer was stopped, or its program failed",
        f"ansible-playbook site.yml; on the host: journalctl -u {UNIT}",
        works=True,
    )


def next_boot(view: View) -> Finding | None:
    """Whether everything that runs now would be started by a boot."""
    problem = start_problem(view)
    if view.host["nginx"]["installed"] and problem:
        part = "supervisor" if "supervisor" in problem else "nginx"
        return Finding(
            "next boot",
            f"{part} would not be started by a boot",
            f"systemctl disable {part}",
            f"systemctl enable {part} on the host, or ansible-playbook site.yml",
            works=True,
        )
    if view.process["state"] == "running" and not view.process["enabled"]:
        return Finding(
            "next boot",
            "the live release would not be started by a boot",
            "its instance was disabled by hand",
            f"ansible-playbook restart.yml -e app={view.name}",
            works=True,
        )
    if start_reason(view):
        return Finding(
            "next boot",
            "after a restart of its container, the site would stay down",
            f"the start command of the container does not run {PROGRAM}, and there is no init",
            f"let that command run {PROGRAM}, see docs/guides/operations.md",
            works=True,
        )
    return None
