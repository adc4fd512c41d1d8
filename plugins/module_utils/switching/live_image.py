# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Let systemd run the services of an application where their releases run: on the host, or in an image.

A release of the host needs nothing for this, and a job changes only if its application changes its runtime.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.images import units
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManager, ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest
from ansible_collections.pyweb.stack.plugins.module_utils.switching import links


def define(layout: Layout, manifest: Manifest, run: Run) -> bool:
    """Define the instances of a release; return whether a definition differed."""
    services = [layout.name, *(process["service"] for process in manifest.processes)]
    try:
        return units.define(layout.home, layout.runtime, manifest.id, services, run)
    except ImageError as error:
        raise ProcessManagerError(str(error)) from error


def start(layout: Layout, manifest: Manifest, manager: ProcessManager, run: Run) -> None:
    """Start the web process of a release."""
    define(layout, manifest, run)
    manager.start(layout.name, manifest.id)


def follow_live_release(layout: Layout, run: Run, jobs: Iterable[str] = ()) -> bool:
    """Let the jobs run where the live release runs, and ``jobs`` that come; return whether a definition differed."""
    try:
        return units.follow(layout.name, layout.home, layout.runtime, run, jobs)
    except ImageError as error:
        raise ProcessManagerError(str(error)) from error


def switch_links(layout: Layout, release: str, run: Run) -> None:
    links.switch_links(layout, release)
    follow_live_release(layout, run)


def restore_links(layout: Layout, found: dict[str, str | None], run: Run) -> None:
    links.restore_links(found)
    # Nothing may prevent the way back. The next run defines the jobs again.
    with suppress(ProcessManagerError, OSError):
        follow_live_release(layout, run)
