# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The drop-ins by which systemd runs the services of a release in its image.

The unit files are the same for all releases of an application. A release in an image has one more file for each of its
instances; a release without an image has none. So releases of both kinds can run side by side. A job has no instance:
it has the drop-in while the live release has an image.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, read, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.instances import IMAGE_DROP_IN, INSTANCE
from ansible_collections.pyweb.stack.plugins.module_utils.images.mounts import drop_in, run_lines
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError, file_system_of, has_image

UNITS = "/etc/systemd/system"


def path_of(unit: str) -> str:
    return os.path.join(UNITS, f"{unit}.service.d", IMAGE_DROP_IN)


def define(home: str, runtime: str, identity: str, services: Iterable[str], run: Run) -> bool:
    """Let the instances of a release run in its image; return whether a file differed. Without an image, do nothing."""
    release = os.path.join(home, "releases", identity)
    if not has_image(release):
        return False
    text = drop_in(run_lines(home, runtime, file_system_of(release)))
    units = [f"{service}@{identity}" for service in services]
    written = [unit for unit in units if put(path_of(unit), text)]
    if written:
        reload_unless_seen(written, run)
    return bool(written)


def follow(name: str, home: str, runtime: str, run: Run, jobs: Iterable[str] = ()) -> bool:
    """Let the jobs of an application run where the live release runs; return whether a file differed.

    ``jobs`` are jobs whose units may not exist yet. A drop-in without a unit stays of a job that is gone. It would
    apply to a later job of that name, so it is removed.
    """
    current = os.path.join(home, "current")
    text = drop_in(run_lines(home, runtime, file_system_of(current), [f"{home}/jobs"]))
    paths = [path_of(job) for job in sorted({*jobs_of(name), *jobs})]
    for path in drop_ins(name):
        if "@" not in path and path not in paths:
            remove(path)
    if has_image(current):
        changed = [path for path in paths if put(path, text)]
    else:
        changed = [path for path in paths if remove(path)]
    if changed:
        # The timers of the jobs keep these units loaded.
        reload(run)
    return bool(changed)


def jobs_of(name: str) -> list[str]:
    """The services of an application that are no instances: its jobs."""
    found = glob.glob(os.path.join(UNITS, f"{glob.escape(name)}.*.service"))
    return sorted(os.path.basename(path)[: -len(".service")] for path in found if "@" not in os.path.basename(path))


def drop_ins(name: str) -> list[str]:
    """All drop-ins of an application."""
    escaped = glob.escape(name)
    patterns = (f"{escaped}@*", f"{escaped}.*")
    return [path for one in patterns for path in glob.glob(os.path.join(UNITS, f"{one}.service.d", IMAGE_DROP_IN))]


def tidy(name: str, kept: Collection[str]) -> None:
    """Remove the drop-ins of releases that are gone. None of their instances is left, so systemd need not know."""
    for path in drop_ins(name):
        instance = os.path.basename(os.path.dirname(path))[: -len(".service.d")].partition("@")[2]
        if INSTANCE.fullmatch(instance) and instance not in kept:
            remove(path)


def forget(name: str) -> None:
    """Remove all drop-ins of an application that is removed."""
    for path in drop_ins(name):
        remove(path)


def put(path: str, text: str) -> bool:
    if read(path) == text.encode():
        return False
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    write(File(path, text))
    return True


def remove(path: str) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    with suppress(OSError):
        # Administrators may have put a file of their own there.
        os.rmdir(os.path.dirname(path))
    return True


def reload_unless_seen(units: list[str], run: Run) -> None:
    """Let systemd read the drop-ins of these units. It finds those of a unit that it has not loaded yet by itself."""
    for unit in units:
        _status, out, _error = run(["systemctl", "show", "--property=DropInPaths,NeedDaemonReload", f"{unit}.service"])
        if path_of(unit) not in out or "NeedDaemonReload=yes" in out:
            reload(run)
            return


def reload(run: Run) -> None:
    status, out, error = run(["systemctl", "daemon-reload"])
    if status != 0:
        raise ImageError(f"systemctl daemon-reload failed: {(error or out).strip()}. Look at its log on the host.")
