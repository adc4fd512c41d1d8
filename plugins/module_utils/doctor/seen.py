# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The answers of systemd about all applications of a host. A command takes longer than its answer, so it asks once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import (
    ProcessManager,
    ProcessManagerError,
    process_manager,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemd_instances import Systemd

# Commands that run at the same time. More would only wait for the processors.
MOST_COMMANDS = 8
# Lines of a log that are searched for its last traceback.
LOG_LINES = 200

Units = dict[str, dict[str, str]]


class SeenSystemd(Systemd):
    """systemd with answers that are known already. It asks only about other units."""

    def __init__(self, run: Run, units: Units, listed: list[str], logs: dict[str, str]) -> None:
        super().__init__(run)
        self._units = units
        self._seen = listed
        self._logs = logs

    def _show(self, unit: str) -> dict[str, str]:
        return self._units.get(unit) or super()._show(unit)

    def listed(self, services: list[str]) -> list[str]:
        return [*self._seen]

    def log(self, service: str, instance: str, lines: int = 20) -> str:
        known = self._logs.get(self._unit(service, instance)) if lines == LOG_LINES else None
        return super().log(service, instance, lines) if known is None else known


class Managers:
    """The process managers of a host, for one look at it. ``live`` are the services and their live releases."""

    def __init__(self, live: list[tuple[str, str]], units: Units, run: Run) -> None:
        self._run = run
        self._systemd = seen_systemd(live, units, run) if live and os.path.isdir("/run/systemd/system") else None

    def named(self, name: str) -> ProcessManager:
        """The process manager by name. Raises ProcessManagerError for an unknown name."""
        return self._systemd if self._systemd and name == "systemd" else process_manager(name, self._run)


def seen_systemd(live: list[tuple[str, str]], units: Units, run: Run) -> Systemd | None:
    """systemd with the instances and the logs of these services. None if it does not answer."""
    asking = Systemd(run)
    with ThreadPoolExecutor(max_workers=MOST_COMMANDS) as pool:
        logs = [pool.submit(asking.log, service, instance, LOG_LINES) for service, instance in live]
        try:
            listed = asking.listed([service for service, _instance in live])
        except ProcessManagerError:
            return None
        found = {f"{service}@{instance}.service": log.result() for (service, instance), log in zip(live, logs)}
    return SeenSystemd(run, units, listed, found)
