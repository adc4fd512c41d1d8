# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Start the live release of an application again that an interrupted switch has stopped.

The next run does this before it builds anything, because its build may take long, or fail.
"""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import process_manager
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, read_manifest
from ansible_collections.pyweb.stack.plugins.module_utils.switching.background import stop_timeout
from ansible_collections.pyweb.stack.plugins.module_utils.switching.held_requests import is_answered, uncover
from ansible_collections.pyweb.stack.plugins.module_utils.switching.retirement import other_instances

MANAGERS = ("systemd", "supervisor")


def resume(layout: Layout, run: Run, owner: str) -> bool:
    """Start the live release if it does not run; return whether it had to be started."""
    if not layout.current_release():
        return False
    with lock(layout, owner):
        # Read under the lock: another run or the end of a lease may just have switched.
        current = layout.current_release()
        manifest = read_manifest(layout, current) if current else None
        if manifest is None:
            return False
        socket = layout.socket(manifest.id)
        if layout.inherits_sockets(manifest.id):
            uncover(socket)
        if is_answered(socket):
            return False
        # A release that the interrupted run has started may hold what this one needs.
        for manager, service, instance in other_instances(layout, manifest, MANAGERS, run):
            manager.stop(service, instance, timeout=stop_timeout(layout, service, instance))
        own = process_manager(manifest.process_manager, run)
        for service in (layout.name, *(process["service"] for process in manifest.processes)):
            own.start(service, manifest.id)
    return True
