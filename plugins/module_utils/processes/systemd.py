# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Install unit files and bring systemd services to their state: the work of the module systemd_services."""

from __future__ import annotations

import glob
import os
import tempfile
import time
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, apply_files
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemctl import Systemctl
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemd_plan import (
    PROPERTIES,
    Plan,
    ServiceError,
    instances,
    is_template,
    plan,
    resolve_removals,
    unit_name,
)

RUNTIME_DIRECTORY = "/run/systemd/system"
# Seconds to watch a unit after its start: systemd calls it started as soon as its program is executed.
WATCH_SECONDS = 0.4


# The parameters of ``apply``, in the words of a module.
ARGUMENTS = {
    "services": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "content": {"type": "str"},
            "started": {"type": "bool", "default": True},
            "enabled": {"type": "bool", "default": True},
            "triggered": {"type": "bool", "default": False},
        },
        "required_if": [("state", "present", ["content"])],
    },
    "unit_directory": {"type": "path", "default": "/etc/systemd/system"},
}


def apply(params: dict[str, Any], run: Run, check_mode: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Bring the services to their state; the module's result, and the witnesses for a stamp or None.

    A stamp stands for files only: where an ordinary service is listed, it may have died since, so there is none.
    """
    wanted, directory = params["services"], params["unit_directory"]
    if not os.path.isdir(RUNTIME_DIRECTORY):
        raise ServiceError(
            "Looking for systemd: it is not PID 1 of this host, so it can't run services. "
            "Use the supervisor role here (webapp_process_manager: supervisor)."
        )
    host = Host(run, directory)
    # Take the witnesses before looking, so that a change made meanwhile makes the stamp void.
    seen = witnesses(wanted, directory)
    todo = host.look(resolve_removals(wanted, directory))
    _paths, diffs = apply_files(todo.files, check_mode=True)
    try:
        findings = verify(run, todo.files)
    except ServiceError as error:
        if not check_mode:
            raise
        findings = [str(error)]
    if not check_mode:
        host.act(todo)
    result = {
        "changed": todo.changes,
        "diff": diffs,
        "files": [file.path for file in todo.files],
        "started": todo.start,
        "restarted": todo.restart,
        "stopped": todo.stop,
        "enabled": todo.enable,
        "disabled": todo.disable,
        "reloaded": todo.reload,
        "warnings": todo.warnings + findings,
    }
    if check_mode or todo.warnings or not only_files_matter(wanted):
        return result, None
    if todo.changes:
        seen = witnesses(wanted, directory)
        if host.look(resolve_removals(wanted, directory)).changes:
            return result, None
    return result, seen


def only_files_matter(services: list[dict[str, Any]]) -> bool:
    """Whether files alone decide if the services are up to date. An ordinary service may also have died."""
    return all(
        is_template(service["name"]) or service["state"] == "absent" or service["triggered"] for service in services
    )


def witnesses(services: list[dict[str, Any]], directory: str) -> dict[str, Any]:
    """The unit files and their drop-ins; for a pattern, everything that matches it.

    The drop-ins of images come and go with releases, whose witnesses include them.
    """
    paths, patterns = [], []
    for folder in (directory, RUNTIME_DIRECTORY):
        paths.append(f"{folder}/service.d")
        for service in services:
            unit = f"{folder}/{unit_name(service['name'])}"
            found = [unit, *(f"{folder}/{service['name']}.{kind}" for kind in ("timer", "socket"))]
            drop_ins = f"{unit}.d/*"
            if "*" in service["name"]:
                patterns += found
                found = [path for pattern in found for path in stamps.matching(pattern)]
            patterns.append(drop_ins)
            paths += [*found, *stamps.matching(drop_ins)]
    return stamps.witnesses(paths, patterns=patterns)


def judge_verification(output: str) -> tuple[bool, list[str]]:
    """Whether systemd would refuse a unit, and its findings. A program that does not exist yet is none."""
    lines = [
        line.strip() for line in lines_of(output) if line.strip() and "is not executable: No such file" not in line
    ]
    refused = any("bad unit file setting" in line or "fatal error" in line or "Refusing" in line for line in lines)
    return refused, lines


def analyze(run: Run, paths: list[str]) -> tuple[int, str, str]:
    """Run systemd-analyze verify. Before version 250, it has no option to leave out other units of the host."""
    status, out, err = run(["systemd-analyze", "--man=no", "--recursive-errors=no", "verify", *paths])
    if status and "unrecognized option" in err:
        status, out, err = run(["systemd-analyze", "--man=no", "verify", *paths])
    return status, out, err


def verify(run: Run, files: list[File]) -> list[str]:
    """Check copies of new unit files by systemd-analyze; return warnings, raise for what systemd would refuse."""
    present = [file for file in files if file.content is not None]
    if not present:
        return []
    with tempfile.TemporaryDirectory(prefix="pyweb-units-") as folder:
        copies = []
        for file in present:
            copies.append(os.path.join(folder, os.path.basename(file.path)))
            with open(copies[-1], "wb") as stream:
                stream.write(file.data or b"")
        status, out, err = analyze(run, copies)
        refused, lines = judge_verification((out + err).replace(f"{folder}/", ""))
    # systemd-analyze also has findings about other units of the host.
    names = [os.path.basename(file.path).rpartition(".")[0] for file in present]
    own = [line for line in lines if any(name in line for name in names)]
    if status != 0 and refused:
        found = "; ".join(own or lines).rstrip(".")
        raise ServiceError(
            f"Checking the unit files by systemd-analyze verify, before any was installed: {found}. "
            "Correct the service's settings."
        )
    return [f"systemd: {line}" for line in own]


class Host:
    """The services of a running systemd."""

    def __init__(self, run: Run, directory: str) -> None:
        self.systemctl = Systemctl(run, ServiceError)
        self.directory = directory

    def look(self, services: list[dict[str, Any]]) -> Plan:
        """Plan the changes that the services need in their present state."""
        names = [service["name"] for service in services]
        patterns = ["*".join(instances(name)) if is_template(name) else unit_name(name) for name in names]
        return plan(services, self.directory, self.show(patterns), self.links, _mtime, time.time())

    def show(self, patterns: list[str]) -> dict[str, dict[str, str]]:
        return self.systemctl.show_all(patterns, PROPERTIES)

    def links(self, pattern: str) -> list[str]:
        """Units that a link to a unit file of this folder enables. Links to other folders are the distribution's."""
        found = []
        for link in glob.glob(os.path.join(self.directory, "*.wants", pattern)):
            target = os.path.join(os.path.dirname(link), os.readlink(link)) if os.path.islink(link) else ""
            if os.path.dirname(os.path.normpath(target)) == self.directory:
                found.append(os.path.basename(link))
        return sorted(set(found))

    def act(self, todo: Plan) -> None:
        """Do what the plan says."""
        if todo.stop:
            self.systemctl.must("Stopping services", "stop", *todo.stop)
        removed = any(file.content is None for file in todo.files)
        for unit in todo.disable:
            # systemctl refuses to disable an instance whose template is gone.
            for link in glob.glob(os.path.join(self.directory, "*.wants", unit)):
                os.unlink(link)
        apply_files(todo.files)
        if todo.reload or removed or todo.disable:
            self.systemctl.reload()
        if todo.reset:
            # This fails for units that are gone by now, which is fine.
            self.systemctl.try_to("reset-failed", *todo.reset)
        if todo.enable:
            remedy = "Look at [Install] in the service's settings."
            self.systemctl.must("Enabling services", "enable", *todo.enable, remedy=remedy)
        self._start("Restarting", "restart", todo.restart)
        self._start("Starting", "start", todo.start)
        self._watch(todo.restart + todo.start + todo.watch)

    def _start(self, doing: str, verb: str, units: list[str]) -> None:
        if not units:
            return
        status, out, err = self.systemctl.try_to(verb, *units)
        if status != 0:
            shown = self.show(units)
            failed = [unit for unit in units if shown.get(unit, {}).get("ActiveState") != "active"] or units
            raise ServiceError(
                f"{doing} {', '.join(failed)} failed: {lines_of((err or out).strip())[0]} "
                f"Its last output: {self._last_output(failed[0])}. Correct the service and run again."
            )

    def _watch(self, units: list[str]) -> None:
        """Raise for a unit that exits right after its start."""
        if not units:
            return
        before = self.show(units)
        deadline = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.05)
            for unit, found in self.show(units).items():
                restarts = int(found.get("NRestarts") or 0) - int(before.get(unit, {}).get("NRestarts") or 0)
                if found.get("ActiveState") == "failed" or restarts > 0 or found.get("SubState") == "auto-restart":
                    raise ServiceError(
                        f"Starting {unit}: it exited at once with status {found.get('ExecMainStatus', '?')}. "
                        f"Its last output: {self._last_output(unit)}. Correct the service and run again."
                    )

    def _last_output(self, unit: str) -> str:
        return self.systemctl.last_output(unit, 10).strip() or "(none)"


def _mtime(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None
