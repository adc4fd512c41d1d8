# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Decide what to do about systemd services, from their desired state and the state of the host."""

from __future__ import annotations

import calendar
import glob
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, differs
from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import (
    foreign_file_error,
    foreign_file_warning,
    is_foreign,
    is_ours,
)

# The properties of a unit that the decisions need.
PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,ExecMainStartTimestamp,NRestarts,ExecMainStatus"
)
# A service that systemd restarted less than this many seconds ago may be in a crash loop.
RECENT_RESTART = 5.0


class ServiceError(HostError):
    """An error about a service: the action, the service, the response and the remedy."""


@dataclass
class Plan:
    """The changes that the services need."""

    files: list[File] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    restart: list[str] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    enable: list[str] = field(default_factory=list)
    disable: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)
    watch: list[str] = field(default_factory=list)  # running, but possibly in a crash loop
    reload: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        units = (self.start, self.restart, self.stop, self.enable, self.disable, self.reset)
        return bool(self.files or self.reload or any(units))


def timestamp(text: str) -> float | None:
    """Seconds since the epoch of a time as `systemctl show --timestamp=us+utc` prints it, None if there is none."""
    match = re.search(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)? UTC", text)
    if not match:
        return None
    return calendar.timegm(time.strptime(match.group(1), "%Y-%m-%d %H:%M:%S")) + float(match.group(2) or 0)


def is_crashing(unit: dict[str, str]) -> bool:
    """Whether a unit has died and systemd is about to start it again, or is doing so."""
    if unit.get("ActiveState") != "activating":
        return False
    return unit.get("SubState", "").startswith("auto-restart") or int(unit.get("NRestarts") or 0) > 0


def is_running(unit: dict[str, str]) -> bool:
    """Whether a unit runs. A unit in a crash loop does not."""
    active = ("active", "reloading", "refreshing", "activating", "deactivating")
    return unit.get("ActiveState") in active and not is_crashing(unit)


def unit_name(name: str) -> str:
    """The full name of a unit."""
    return name if name.endswith((".timer", ".socket")) else f"{name}.service"


def is_template(name: str) -> bool:
    return name.endswith(("@", "@.socket"))


def instances(name: str) -> tuple[str, str]:
    """How the names of a template's instances begin and end."""
    prefix, _at, suffix = unit_name(name).partition("@")
    return f"{prefix}@", suffix


def resolve_removals(services: list[dict[str, Any]], directory: str) -> list[dict[str, Any]]:
    """The list with every pattern replaced by the units that match it. Timers and sockets go with their services."""
    listed = {service["name"] for service in services}
    result = []
    for service in services:
        name = service["name"]
        if service["state"] == "present":
            result.append(service)
            continue
        if "*" not in name:
            result.append(service)
        template = name.endswith("@")
        for suffix in (".service", ".socket") if template else (".service", ".timer", ".socket"):
            for path in sorted(glob.glob(os.path.join(directory, f"{name}{suffix}"))):
                found = os.path.basename(path).removesuffix(".service")
                if found not in listed and is_template(found) == template and is_ours(path):
                    listed.add(found)
                    result.append({**service, "name": found})
    return result


def plan(
    services: list[dict[str, Any]],
    directory: str,
    units: dict[str, dict[str, str]],
    links: Callable[[str], list[str]],
    mtime: Callable[[str], float | None],
    now: float,
) -> Plan:
    """Decide what to do. ``links`` lists the links that enable a unit; ``mtime`` returns when a file was written."""
    result = Plan()
    # A change of its socket unit restarts an ordinary service together with it.
    new_sockets = {
        service["name"].removesuffix(".socket")
        for service in services
        if service["name"].endswith(".socket")
        and service["state"] == "present"
        and differs(File(os.path.join(directory, service["name"]), service["content"]))
    }
    for service in services:
        name = service["name"]
        unit = unit_name(name)
        path = os.path.join(directory, unit)
        template = is_template(name)
        prefix, suffix = instances(name)
        if is_foreign(path):
            if service["state"] == "present":
                raise ServiceError(foreign_file_error(path, "service"))
            result.warnings.append(foreign_file_warning(path))
            continue
        shown = {
            one: properties
            for one, properties in units.items()
            if one == unit or (template and one.startswith(prefix) and one.endswith(suffix))
        }
        if service["state"] == "absent":
            _plan_removal(result, File(path, None), shown, links(f"{prefix}*{suffix}" if template else unit))
            continue
        file = File(path, service["content"])
        changed = differs(file)
        if changed:
            result.files.append(file)
        if any(properties.get("NeedDaemonReload") == "yes" for properties in shown.values()):
            result.reload = True
        if not template and not service.get("triggered"):
            changed = changed or name in new_sockets
            _plan_service(result, service, shown.get(unit, {}), changed, mtime(path), now)
            if name in new_sockets and unit in result.restart:
                result.restart.insert(result.restart.index(unit), f"{name}.socket")
    result.reload = result.reload or bool(result.files)
    return result


def _plan_removal(result: Plan, file: File, units: dict[str, dict[str, str]], links: list[str]) -> None:
    exists = differs(file)
    if not exists and not links:
        # Only a file or a link shows that a unit is ours.
        return
    result.stop += [
        unit for unit, properties in units.items() if properties.get("ActiveState") not in ("inactive", "failed")
    ]
    result.reset += [unit for unit, properties in units.items() if properties.get("ActiveState") == "failed"]
    result.disable += links
    if exists:
        result.files.append(file)


def _plan_service(
    result: Plan, service: dict[str, Any], found: dict[str, str], changed: bool, written: float | None, now: float
) -> None:
    unit = unit_name(service["name"])
    started = timestamp(found.get("ExecMainStartTimestamp", ""))
    # An interrupted run may have written the file without restarting the process.
    stale = changed or (started is not None and written is not None and started < written)
    if service["started"]:
        if not is_running(found):
            result.start.append(unit)
            if found.get("ActiveState") == "failed" or is_crashing(found):
                result.reset.append(unit)
        elif stale:
            result.restart.append(unit)
        elif int(found.get("NRestarts") or 0) > 0 and started is not None and now - started < RECENT_RESTART:
            result.watch.append(unit)
    elif is_running(found) or is_crashing(found):
        result.stop.append(unit)
    enabled = found.get("UnitFileState") in ("enabled", "enabled-runtime")
    if service["enabled"] and not enabled:
        result.enable.append(unit)
    elif not service["enabled"] and enabled:
        result.disable.append(unit)
