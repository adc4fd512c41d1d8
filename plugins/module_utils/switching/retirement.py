# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Retire the instances that a release replaces: let them answer waiting clients, stop them, and clean up."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import sweep
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import await_turn
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import (
    ProcessManager,
    ProcessManagerError,
    process_manager,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest
from ansible_collections.pyweb.stack.plugins.module_utils.switching.background import stop_timeout

# A running instance: its process manager, its service, and its release.
Instance = tuple[ProcessManager, str, str]


def other_instances(layout: Layout, manifest: Manifest, managers: Iterable[str], run: Run) -> list[Instance]:
    """The instances of an application that are not of this release and its process manager."""
    found = []
    for name in managers:
        manager = process_manager(name, run)
        try:
            instances = manager.family(layout.name)
        except ProcessManagerError:
            if name == manifest.process_manager:
                raise
            # A process manager that this release does not use need not run.
            continue
        found += [
            (manager, service, instance)
            for service, instance in instances
            if (name, instance) != (manifest.process_manager, manifest.id)
        ]
    return found


def await_accepted(layout: Layout, releases: Iterable[str], deadline: float) -> None:
    """Wait until old releases have accepted every connection that waits at their sockets.

    A server that is being stopped answers only the connections that it has accepted. While all of its workers are busy,
    clients that connected before the switch may still wait in the queue.
    """
    for release in releases:
        for path in (layout.socket(release), layout.uwsgi_socket(release)):
            await_turn(path, deadline)


def end_together(instances: Iterable[Instance], layout: Layout, web_timeout: float) -> None:
    """Stop instances of web and background processes, all at once, each within its own time."""
    instances = list(instances)
    for manager, service, instance in instances:
        manager.begin_stop(service, instance)
    for manager, service, instance in instances:
        is_web = service == layout.name
        timeout = web_timeout if is_web else stop_timeout(layout, service, instance)
        manager.forget(service, instance, timeout=timeout)


def remove_other_sockets(layout: Layout, release: str) -> None:
    """Remove the sockets that killed processes have left."""
    folder = os.path.dirname(layout.socket(release))
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if not name.startswith(release):
                # The application can put anything there, and exchange it meanwhile. The switch has succeeded already.
                with suppress(OSError):
                    trees.remove(os.path.join(folder, name))


def remove_temporary_files(layout: Layout, managers: Iterable[str], run: Run) -> None:
    """Remove half-written files of interrupted runs. No other run writes here while the lock is held."""
    home = glob.escape(layout.home)
    sweep(
        path
        for place in ("", "releases/*/", "releases/*/bin/")
        # Hidden files have a pattern of their own; glob's include_hidden needs Python 3.11.
        for pattern in ("*.new", ".*.new")
        for path in glob.glob(f"{home}/{place}{pattern}")
    )
    for name in managers:
        process_manager(name, run).tidy(layout.name)
