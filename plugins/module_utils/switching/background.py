# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The background processes of a release during a switch: start them, watch them, end them."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManager, ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    Layout,
    Manifest,
    manifests,
    read_manifest,
)

# Seconds between two looks. Each costs a call of the process manager for each process.
INTERVAL = 0.1
# Seconds beyond a process's own time to stop, so that the process manager kills it rather than we.
STOP_MARGIN = 5


class Unsteady(Exception):
    """A background process does not stay up; the message says which one, and what happened."""

    def __init__(self, service: str, why: str) -> None:
        super().__init__(f"its background process {service} {why}")
        self.service = service


class Background:
    """The background processes of one release. They start after its web process is healthy, and not before."""

    def __init__(self, layout: Layout, manifest: Manifest, manager: ProcessManager) -> None:
        self.layout = layout
        self.release = manifest.id
        self.manager = manager
        self.shared = [process for process in manifest.processes if not process["exclusive"]]
        self.exclusive = [process for process in manifest.processes if process["exclusive"]]
        # For each service: when it was started, and how often it had been restarted before.
        self.started: dict[str, tuple[float, int]] = {}
        # Exclusive processes of the old release, which had to stop for those of this one.
        self.displaced: list[tuple[ProcessManager, str, str]] = []

    def start(self, processes: list[dict[str, Any]]) -> None:
        for process in processes:
            service = process["service"]
            self.manager.start(service, self.release)
            self.started[service] = (time.monotonic(), self.manager.restarts(service, self.release))

    def enable(self) -> None:
        for process in (*self.shared, *self.exclusive):
            self.manager.enable(process["service"], self.release)

    def watch(self) -> None:
        """Raise Unsteady for a process that has ended, even if it was restarted."""
        for service, (_when, before) in self.started.items():
            state = self.manager.state(service, self.release)
            if state in ("failed", "stopped", "absent"):
                raise Unsteady(service, "has ended")
            if self.manager.restarts(service, self.release) > before:
                raise Unsteady(service, "ended and had to be started again")

    def await_steady(self, processes: list[dict[str, Any]], deadline: float) -> None:
        """Wait until these processes have run for their ``start_seconds``."""
        while True:
            self.watch()
            waiting = [
                process["service"]
                for process in processes
                if time.monotonic() < self.started[process["service"]][0] + process["start_seconds"]
                or self.manager.state(process["service"], self.release) != "running"
            ]
            if not waiting:
                return
            latest = max(self.started[process["service"]][0] + process["start_seconds"] for process in processes)
            if time.monotonic() > max(deadline, latest):
                raise Unsteady(waiting[0], "did not start in time")
            time.sleep(INTERVAL)

    def replace_exclusive(self, others: list[tuple[ProcessManager, str, str]], deadline: float) -> None:
        """Stop the exclusive processes of other releases, then start those of this one."""
        if not self.exclusive:
            return
        services = {process["service"] for process in self.exclusive}
        for manager, service, instance in others:
            if service in services:
                self.displaced.append((manager, service, instance))
                manager.stop(service, instance, timeout=stop_timeout(self.layout, service, instance))
        self.start(self.exclusive)
        self.await_steady(self.exclusive, deadline)

    def end(self) -> None:
        """Stop what was started, and start the displaced processes again."""
        running = [process for process in (*self.shared, *self.exclusive) if process["service"] in self.started]
        for process in running:
            with contextlib.suppress(ProcessManagerError):
                self.manager.begin_stop(process["service"], self.release)
        for process in running:
            with contextlib.suppress(ProcessManagerError):
                self.manager.forget(process["service"], self.release, timeout=process["stop_timeout"] + STOP_MARGIN)
        for manager, service, instance in self.displaced:
            with contextlib.suppress(ProcessManagerError):
                manager.start(service, instance)


def stop_timeout(layout: Layout, service: str, instance: str, default: float = 60.0) -> float:
    """Seconds that a background process may take to stop, by the manifest of its release."""
    manifest = read_manifest(layout, instance)
    for process in manifest.processes if manifest else []:
        if process["service"] == service:
            return float(process["stop_timeout"] + STOP_MARGIN)
    return default


def undefine_unused(layout: Layout, manager: ProcessManager) -> None:
    """Remove the definitions of background processes that no release uses. Bad releases don't count."""
    defined = manager.parts(layout.name)
    if defined:
        kept = [manifest for manifest in manifests(layout) if manifest.state != BAD]
        used = {process["service"] for manifest in kept for process in manifest.processes}
        manager.undefine([service for service in defined if service not in used])


def has_stopped_process(manifest: Manifest, manager: ProcessManager) -> bool:
    """Whether a background process of a release does not run."""
    states = (manager.state(process["service"], manifest.id) for process in manifest.processes)
    return any(state not in ("running", "starting") for state in states)
