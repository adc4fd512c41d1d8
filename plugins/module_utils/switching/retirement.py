# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Retire the instances that a release replaces: let them answer waiting clients, stop them, and clean up."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable
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
        await_turn(layout.socket(release), deadline)
        # Every release that inherits sockets has one for uwsgi, but only uWSGI accepts connections there.
        if layout.speaks_uwsgi(release):
            await_turn(layout.uwsgi_socket(release), deadline)


def end_together(instances: Iterable[Instance], layout: Layout, web_timeout: float) -> None:
    """Stop instances of web and background processes, all at once, each within its own time."""
    instances = list(instances)
    for manager, service, instance in instances:
        manager.begin_stop(service, instance)
    for manager, service, instance in instances:
        is_web = service == layout.name
        timeout = web_timeout if is_web else stop_timeout(layout, service, instance)
        manager.forget(service, instance, timeout=timeout)


def close_sockets_folder(layout: Layout) -> None:
    """Let only root change the folder of the sockets. A process manager sets its mode only when it creates it."""
    os.makedirs(layout.sockets, mode=0o711, exist_ok=True)
    os.chown(layout.sockets, 0, 0)
    os.chmod(layout.sockets, 0o711)  # noqa: S103  # nginx passes it; the sockets have modes of their own


def remove_other_sockets(layout: Layout, release: str) -> None:
    """Remove the sockets that killed processes have left, and their other files below /run."""
    remove_runtime_files(layout, lambda name: not name.startswith(release))


def remove_runtime_files(layout: Layout, is_left: Callable[[str], bool]) -> None:
    """Remove what releases have left in the folders below /run, by its name."""
    for folder in (layout.runtime, layout.sockets):
        with suppress(FileNotFoundError):
            for name in filter(is_left, os.listdir(folder)):
                # The application can put anything in its folder, and exchange it meanwhile.
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
