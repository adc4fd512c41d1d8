# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check whether the wanted releases are live and healthy, and record the witnesses of that."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.images import units
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import (
    ProcessManager,
    ProcessManagerError,
    process_manager,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import witness_paths
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import has_lease
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import has_lock_holder, is_locked
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import unfinished
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    COMPLETE,
    MANIFEST,
    Layout,
    Manifest,
    read_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching.background import has_stopped_process

# The files that list the accounts and groups of a host.
ACCOUNTS = ("/etc/passwd", "/etc/group")


def listener(path: str) -> int | None:
    """The ID of the process that listens on a unix socket; 0 if it is not visible, None if no process listens."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(path)
        except OSError:
            return None
        peer = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return int(peer[0])


def is_unhealthy(layout: Layout) -> bool:
    """Whether the live release does not listen, or a switch to it was interrupted."""
    return os.path.exists(layout.path(".activating")) or listener(layout.current_socket) is None


def lacks_processes(manifest: Manifest | None, run: Run) -> bool:
    """Whether a background process of a release does not run."""
    if manifest is None or not manifest.processes:
        return False
    try:
        return has_stopped_process(manifest, process_manager(manifest.process_manager, run))
    except ProcessManagerError:
        # The process manager is repaired before the activation, which reports any other problem.
        return True


def needs_repair(layout: Layout, run: Run) -> bool:
    """Whether the live release must be started again. While another run works on the application, that run decides."""
    if is_locked(layout) or has_lease(layout):
        return False
    return is_unhealthy(layout) or lacks_processes(read_manifest(layout, layout.current_release() or ""), run)


def is_live(layout: Layout, release: str, run: Run) -> bool:
    """Whether this release and all its processes are live, and no interrupted run has left anything.

    An empty ``release`` means that the application must not exist.
    """
    if not release:
        return not os.path.isdir(layout.home) or os.listdir(layout.home) in ([], ["shared"])
    manifest = read_manifest(layout, release)
    is_interrupted = has_lock_holder(layout) or has_lease(layout) or bool(unfinished(layout))
    return (
        manifest is not None
        and layout.current_release() == release
        and not (is_interrupted or is_unhealthy(layout) or lacks_processes(manifest, run))
    )


def verified(releases: dict[str, str], root: str, run: Run) -> dict[str, Any] | None:
    """The witnesses of these releases of applications; None unless all of them are live."""
    layouts = {name: Layout(name, root) for name in releases}
    try:
        # Record the witnesses before the check, so that a change during the check invalidates them.
        seen = witnesses(layouts, releases, root, run)
        if all(is_live(layouts[name], release, run) for name, release in releases.items()):
            return seen
    except (OSError, ProcessManagerError):
        pass
    return None


def unchanged(releases: dict[str, str]) -> list[dict[str, Any]]:
    """The results of applications whose wanted releases are live."""
    return [
        {
            "name": name,
            "state": "present" if release else "absent",
            "current": release,
            "candidate": "",
            "action": "none",
            "reasons": [],
            "activate": False,
        }
        for name, release in releases.items()
    ]


def witnesses(layouts: dict[str, Layout], releases: dict[str, str], root: str, run: Run) -> dict[str, Any]:
    """Everything that ``is_live`` and the decision about a release depend on."""
    paths, owned, pids = [*ACCOUNTS, root], [], []
    for name, layout in layouts.items():
        paths.append(layout.home)
        manifest = read_manifest(layout, releases[name])
        if manifest is None:
            continue
        paths += [layout.releases, layout.venvs, layout.current, layout.current_socket]
        paths += [layout.path(name) for name in (".lock", ".activating", ".fingerprint_key", ".sandbox.json")]
        paths += [os.path.realpath(layout.current_socket), os.path.join(layout.venvs, manifest.venv, COMPLETE)]
        paths += [os.path.join(layout.release(entry), MANIFEST) for entry in os.listdir(layout.releases)]
        owned += [layout.shared, layout.cache, layout.build, layout.jobs]
        paths += [*witness_paths(layout, manifest), *(units.drop_ins(name) if manifest.image else ())]
        # Process ID 0 matches no process, so the stamp is invalid and the next run checks again.
        pids += [web_pid(layout, manifest, run), *background_pids(manifest, run)]
    return stamps.witnesses(paths, pids, owned=owned)


def web_pid(layout: Layout, manifest: Manifest, run: Run) -> int:
    """The ID of the web process of a release; 0 if it does not run. systemd listens on the sockets that it passes."""
    if layout.inherits_sockets(manifest.id):
        return process_manager(manifest.process_manager, run).pid(layout.name, manifest.id)
    return listener(layout.current_socket) or 0


def background_pids(manifest: Manifest, run: Run) -> list[int]:
    if not manifest.processes:
        return []
    manager: ProcessManager = process_manager(manifest.process_manager, run)
    return [manager.pid(process["service"], manifest.id) for process in manifest.processes]
