# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""When all applications of a run are live as wanted, so that the next run with the same wish need not look.

webapp_release decides that by what it finds, webapp_activate by what it has done; both leave the same stamp.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import (
    ProcessManager,
    ProcessManagerError,
    process_manager,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.background import has_stopped_process
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import has_lock_holder
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import unfinished
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    COMPLETE,
    MANIFEST,
    Layout,
    Manifest,
    read_manifest,
)

Run = Callable[[list[str]], tuple[int, str, str]]

# Where accounts stand.
ACCOUNTS = ("/etc/passwd", "/etc/group")


def listener(path: str) -> int | None:
    """The process that listens on a unix socket, by its number; 0 where that can't be seen, None where nobody does."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(path)
        except OSError:
            return None
        return struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))[0]


def ails(layout: Layout) -> bool:
    """Whether the live release does not serve, or somebody was interrupted while it took over."""
    return os.path.exists(layout.path(".activating")) or listener(layout.current_socket) is None


def sleeps(manifest: Manifest | None, run: Run) -> bool:
    """Whether a background process of a release does not run."""
    if manifest is None or not manifest.processes:
        return False
    try:
        return has_stopped_process(manifest, process_manager(manifest.process_manager, run))
    except ProcessManagerError:
        # Activation says what is wrong, after the process manager itself was seen to.
        return True


def settle(stamp: dict[str, Any], root: str, run: Run) -> None:
    """Leave the stamp of a run, if all that it wanted is live.

    ``stamp`` has a ``key``, what was ``seen`` of all that the decision depended on beside the applications themselves,
    and ``releases``: which release of each application is to be live, empty for one that is to be gone.
    """
    layouts = {name: Layout(name, root) for name in stamp["releases"]}
    try:
        seen = witnesses(layouts, stamp["releases"], root, run)
        if not all(lives(layouts[name], release, run) for name, release in stamp["releases"].items()):
            return
    except (OSError, ProcessManagerError):
        return
    merged = {kind: {**found, **stamp["seen"].get(kind, {})} for kind, found in seen.items()}
    stamps.leave("webapp_release", stamp["key"], merged, told={"apps": unchanged(stamp["releases"])})


def unchanged(releases: dict[str, str]) -> list[dict[str, Any]]:
    """What webapp_release tells of applications that are as wanted."""
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


def lives(layout: Layout, release: str, run: Run) -> bool:
    """Whether just this release is live, with all its processes, and nothing is left of an interrupted run."""
    if not release:
        return not os.path.isdir(layout.home) or os.listdir(layout.home) in ([], ["shared"])
    manifest = read_manifest(layout, release)
    return (
        manifest is not None
        and layout.current_release() == release
        and not (has_lock_holder(layout) or unfinished(layout) or ails(layout) or sleeps(manifest, run))
    )


def witnesses(layouts: dict[str, Layout], releases: dict[str, str], root: str, run: Run) -> dict[str, Any]:
    """All that ``lives`` and the decisions of webapp_release depend on."""
    paths, owned, pids = [*ACCOUNTS, root], [], []
    for name, layout in layouts.items():
        paths.append(layout.home)
        manifest = read_manifest(layout, releases[name])
        if manifest is None:
            continue
        paths += [layout.releases, layout.venvs, layout.current, layout.current_socket]
        paths += [layout.path(name) for name in (".lock", ".activating", ".fingerprint_key")]
        paths += [os.path.realpath(layout.current_socket), os.path.join(layout.venvs, manifest.venv, COMPLETE)]
        paths += [os.path.join(layout.release(entry), MANIFEST) for entry in os.listdir(layout.releases)]
        owned += [layout.shared, layout.cache, layout.jobs]
        # None is a process that vouches for nothing, so the stamp is void from the start.
        pids += [listener(layout.current_socket) or 0, *background_pids(manifest, run)]
    return stamps.witnesses(paths, pids, owned=owned)


def background_pids(manifest: Manifest, run: Run) -> list[int]:
    if not manifest.processes:
        return []
    manager: ProcessManager = process_manager(manifest.process_manager, run)
    return [manager.pid(process["service"], manifest.id) for process in manifest.processes]
