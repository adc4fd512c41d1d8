# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Remove releases and environments that are no longer needed, and leftovers of interrupted runs."""

from __future__ import annotations

import datetime
import fcntl
import os
import time
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.images import store, units
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import folder_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import rollback_targets
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import has_lock_holder, settings
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    BUILDING,
    BUILT,
    GOOD,
    WITHDRAWN,
    Layout,
    Manifest,
    manifests,
    now,
    read_manifest,
    remove_tree,
)

# Seconds within which a run has surely renamed a file that it writes.
WRITING = 60

# Minutes within which another run may still switch to the release that it has built: its other hosts may be building.
UNDER_WAY = 60

# The number of such releases, the newest first, that one application keeps.
MOST_UNDER_WAY = 3


def prunable(known: list[Manifest], current: str | None, keep: int) -> list[str]:
    """The IDs of the releases to remove: all beyond ``keep``.

    The live release, the newest good ones and the newest bad one are kept.
    """
    ordered = sorted(known, key=lambda manifest: manifest.id, reverse=True)
    kept = {current}
    served = [manifest for manifest in ordered if manifest.state in (GOOD, WITHDRAWN) and manifest.id != current]
    kept.update([manifest.id for manifest in served[: max(keep, 2) - 1]])
    # Those may all be newer than the live release, copies of it, or withdrawn. A rollback still needs its target.
    kept.update([manifest.id for manifest in rollback_targets(current or "", known)][:1])
    bad = [manifest.id for manifest in ordered if manifest.state == BAD]
    kept.update(bad[:1])
    # The newest release that waits for activation. Older ones were left by interrupted runs.
    waiting = [manifest.id for manifest in ordered if manifest.state == BUILT and manifest.id > (current or "")]
    kept.update(waiting[:1])
    kept.update([manifest.leans_on for manifest in ordered if manifest.id in kept])
    return [manifest.id for manifest in ordered if manifest.id not in kept]


def in_use(layout: Layout, identity: str) -> bool:
    """Whether a job still runs in a release. Until it has ended, it holds a shared lock on the release's ``env``."""
    try:
        with open(os.path.join(layout.release(identity), "env"), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def kept_by_locks(layout: Layout, keep: int) -> list[str]:
    """A warning for each old release that is kept because a process holds a lock on it.

    Jobs do that while they run. Any process of the application can do it without limit, and so fill the disk.
    """
    warnings = []
    for identity in prunable(manifests(layout), layout.current_release(), keep):
        if in_use(layout, identity):
            pids = lock_holders(os.path.join(layout.release(identity), "env"))
            holder = f"the process {pids[0]} holds" if pids else "a process holds"
            warnings.append(
                f"webapps '{layout.name}': the old release {identity} is not removed, because {holder} a lock on its "
                "env file, as a running job does. If it is no job that still has to finish, end this process."
            )
    return warnings


def lock_holders(path: str) -> list[int]:
    """The processes that hold a lock (flock) on a file, as far as the kernel shows them."""
    status = os.stat(path)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    found = set()
    with suppress(OSError), open("/proc/locks", encoding="ascii") as stream:
        for line in stream:
            fields = line.split()
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == place and fields[4].isdigit():
                found.add(int(fields[4]))
    return sorted(found)


def prune(layout: Layout, keep: int) -> list[str]:
    """Remove old releases and unused environments; return the IDs of the removed releases."""
    known = manifests(layout)
    removed = [identity for identity in prunable(known, layout.current_release(), keep) if not in_use(layout, identity)]
    finished = {manifest.id for manifest in known}
    with suppress(FileNotFoundError):
        removed += [
            name for name in os.listdir(layout.releases) if name not in finished and name != layout.current_release()
        ]
    for identity in removed:
        remove_tree(layout.release(identity))
    prune_images(layout)
    used = {manifest.venv for manifest in known if manifest.id not in removed}
    with suppress(FileNotFoundError):
        for name in os.listdir(layout.venvs):
            if name not in used:
                remove_tree(os.path.join(layout.venvs, name))
    return removed


def prune_images(layout: Layout) -> None:
    """Remove the images that no release of any application uses, and the drop-ins of releases that are gone."""
    units.tidy(layout.name, known_releases(layout))
    if os.path.isdir(folder_of(layout.root)):
        store.prune(layout.root, lambda: used_images(layout.root))


def used_images(root: str) -> set[str]:
    """The images in which releases of any application run."""
    # Administrators may have put a file there.
    names = [name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name, "releases"))]
    return {manifest.image for name in names for manifest in manifests(Layout(name, root))}


def known_releases(layout: Layout) -> list[str]:
    with suppress(FileNotFoundError):
        return os.listdir(layout.releases)
    return []


def prune_waiting(layout: Layout) -> list[str]:
    """Remove the releases that wait for activation and that no run can still switch to; return their IDs.

    A host whose peers fail builds releases that it never switches to. The newest one stays, and so do the newest of the
    last hour, because another run may be under way. A run whose process is gone is not.
    """
    known = sorted(manifests(layout), key=lambda manifest: manifest.id, reverse=True)
    recent = f"{now() - datetime.timedelta(minutes=UNDER_WAY):%Y-%m-%dT%H:%M:%SZ}"
    waiting = [manifest for manifest in known if manifest.state == BUILT]
    kept = [manifest for manifest in waiting if manifest.created >= recent and manifest.run not in settings.ended_runs]
    left = {manifest.id for manifest in waiting} - {manifest.id for manifest in kept[:MOST_UNDER_WAY]}
    removed = [
        identity
        for identity in prunable(known, layout.current_release(), len(known))
        if identity in left and not in_use(layout, identity)
    ]
    for identity in removed:
        remove_tree(layout.release(identity))
    if removed:
        units.tidy(layout.name, known_releases(layout))
    return removed


def is_old(path: str) -> bool:
    """Whether no run can still be writing a file."""
    with suppress(OSError):
        return time.time() - os.lstat(path).st_mtime > WRITING
    return False


def unfinished(layout: Layout) -> list[str]:
    """The leftovers of an interrupted run: unfinished releases, and temporary files that were never renamed.

    Some files are written without the lock. So a temporary file is left over if its run was killed under the lock, or
    if it is old.
    """
    found = []
    with suppress(FileNotFoundError):
        for name in os.listdir(layout.releases):
            manifest = read_manifest(layout, name)
            if manifest is None or manifest.state == BUILDING:
                found.append(layout.release(name))
    with suppress(FileNotFoundError):
        temporary = [layout.path(name) for name in os.listdir(layout.home) if name.endswith(".new")]
        found += [path for path in temporary if has_lock_holder(layout) or is_old(path)]
    current = layout.current_release()
    return [path for path in found if path != layout.release(current or "")]
