# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Bring the daemon's programs to their state, once the files are installed."""

from __future__ import annotations

import contextlib
import xmlrpc.client
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_groups import Comparison, Unit
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_paths import Paths
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_plan import Plan, ProgramError
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import LIVE, Rpc, SupervisorError

# Seconds that a program gets to stop if nothing else is known.
STOP_TIMEOUT = 40.0


def is_running(infos: list[dict[str, Any]]) -> bool:
    """Whether there are processes and all of them run. One that waits for its next attempt does not."""
    return bool(infos) and all(info["statename"] in ("STARTING", "RUNNING") for info in infos)


def longest_stop(items: list[dict[str, Any]]) -> float:
    return max((item["stop_timeout"] for item in items), default=STOP_TIMEOUT)


@dataclass
class Transition:
    """The present and the desired state of the daemon."""

    rpc: Rpc
    paths: Paths
    programs: list[dict[str, Any]]
    todo: Plan
    infos: dict[str, list[dict[str, Any]]]  # the daemon's processes before any change
    daemon_was_down: bool
    check_mode: bool

    def run(self, reread: tuple[list[str], list[str], list[str]]) -> tuple[list[str], list[str], list[str]]:
        """Make the transition, or predict it in check mode: what was started, restarted, stopped.

        ``reread`` are the groups that the daemon finds added, changed and removed in its files.
        """
        added, changed, removed = reread
        compared = self.compare(changed, removed)
        started: list[str] = []
        restarted: list[str] = []
        stopped = compared.ended(self.todo.units)
        to_add = set(added) if self.check_mode else set(added) | self._remove(compared)
        for unit in self.todo.units:
            stale = unit.name in compared.stale
            start, stop = [], []
            for program in unit.programs:
                label, moved = unit.label(program), compared.elsewhere(program, unit)
                found = unit.processes(program, self.infos) + moved
                alive = any(info["statename"] in LIVE for info in found)
                listed = program.get("listed", True)
                if not listed and not stale and not moved:
                    continue
                if not (program["started"] if listed else alive):
                    stop.append(program)
                    stopped += [label] if alive else []
                    continue
                if alive and (stale or moved):
                    restarted.append(label)
                elif not is_running(found):
                    started.append(label)
                elif not self.daemon_was_down:
                    continue
                start.append(program)
            if not self.check_mode:
                self._update(unit, stale, stale or unit.name in to_add, start, stop)
        return started, restarted, stopped

    def compare(self, changed: list[str], removed: list[str]) -> Comparison:
        """Compare the units with what the daemon has."""
        units = {unit.name: unit for unit in self.todo.units}
        stale = set(changed) & units.keys()
        if self.check_mode:
            written = {file.path for file in self.todo.files}
            for unit in self.todo.units:
                files = {unit.path, *(self.paths.program(program["name"]) for program in unit.programs)}
                stale |= {unit.name} if unit.name in self.infos and written & files else set()
        # An interrupted run may have removed a file without notifying the daemon.
        overdue = [item for item in self.programs if item["state"] == "absent" and item["name"] in removed]
        gone = {item["name"]: item["stop_timeout"] for item in overdue} | self.todo.absent
        groups = {item["name"] for item in self.programs if item["kind"] == "group"}
        lost = {}
        for name in (groups & gone.keys()) | {name for name in stale if units[name].is_group}:
            group = units.get(name)
            stay = (
                [info["name"] for one in group.programs for info in group.processes(one, self.infos)] if group else []
            )
            lost[name] = [info for info in self.infos.get(name, []) if info["name"] not in stay]
        return Comparison(self.infos, stale, gone, lost)

    def _remove(self, compared: Comparison) -> set[str]:
        """Remove from the daemon what is absent, and what joins or leaves a group, before a second copy starts."""
        timeouts = {name: timeout for name, timeout in compared.gone.items() if name not in compared.lost}
        members = [program for unit in self.todo.units for program in unit.programs]
        longest = longest_stop([*self.programs, *members])
        timeouts |= {
            group: longest for group, processes in compared.lost.items() if processes or group in compared.gone
        }
        for unit in self.todo.units:
            if unit.is_group:
                joining = [program for program in unit.programs if program["name"] in self.infos]
                timeouts |= {program["name"]: program["stop_timeout"] for program in joining}
        for name, timeout in timeouts.items():
            self.rpc.remove(name, timeout)
        return set(timeouts)

    def _update(
        self, unit: Unit, replace: bool, add: bool, start: list[dict[str, Any]], stop: list[dict[str, Any]]
    ) -> None:
        """Let the daemon take a unit from its files, and start and stop its programs."""
        if replace:
            self.rpc.remove(unit.name, longest_stop(unit.programs))
        if add:
            self.rpc.add(unit.name)
        infos = self.rpc.infos()
        if unit.name not in infos:
            kind = "group" if unit.is_group else "program"
            raise ProgramError(
                f"Adding the {kind} {unit.name}: supervisord does not see {unit.path}. "
                f"[include] in {self.paths.config_file} must have: files = {self.paths.programs}/*.conf"
            )
        for program in stop:
            processes = {info["name"] for info in unit.processes(program, infos)}
            self.rpc.stop(unit.name, program["stop_timeout"], processes)
        if start:
            self._start(unit, start)

    def _start(self, unit: Unit, programs: list[dict[str, Any]]) -> None:
        """Start all processes of some of a unit's programs and wait until they stay up."""

        def processes() -> list[tuple[str, dict[str, Any]]]:
            infos = self.rpc.infos()
            return [(unit.label(one), info) for one in programs for info in unit.processes(one, infos)]

        for _program, info in processes():
            self.rpc.start(f"{unit.name}:{info['name']}")
        wait_for(lambda: all(info["statename"] != "STARTING" for _program, info in processes()), 60)
        for program, info in processes():
            if info["statename"] != "RUNNING":
                reason = info.get("spawnerr") or f"exit status {info.get('exitstatus')}"
                raise ProgramError(
                    f"Starting the program {program}: it does not stay up ({info['statename']}: {reason}). "
                    f"Its last output: {self._last_output(unit.name + ':' + info['name'])}. "
                    "Correct the program and run again."
                )

    def _last_output(self, name: str) -> str:
        """The last lines of a program's output."""
        for method in ("tailProcessStdoutLog", "tailProcessStderrLog"):
            with contextlib.suppress(xmlrpc.client.Fault, SupervisorError):
                text = self.rpc.call(method, name, 0, 4096)[0]
                if text.strip():
                    return "\n".join(lines_of(text.strip())[-10:])
        return "(none)"
