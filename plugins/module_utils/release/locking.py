# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lock of an application: one deployment at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ansible_collections.pyweb.stack.plugins.module_utils.release import holders, leases
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import kill_abandoned
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError, now

# Seconds to wait for a lock. Some steps hold it for a moment only.
PATIENCE = 2.0


class Busy(ReleaseError):
    """Another run holds the lock of an application."""


@dataclass
class Settings:
    """The rights of this process when it finds a lock. ``notes`` are warnings of the run."""

    # End a program whose run is gone.
    end_lost: bool = False
    # The run of this process. It may pass the leases that it holds.
    run: str = ""
    # Runs that can no longer commit their leases, because their processes are gone.
    ended_runs: Collection[str] = ()
    # Ends a lease that no run can commit, and returns a report. Called with the lock held.
    settle: Callable[[Layout, leases.Lease], str] | None = None
    notes: list[str] = field(default_factory=list)

    def take_notes(self) -> list[str]:
        found, self.notes = self.notes, []
        return found


settings = Settings()


@contextmanager
def lock(layout: Layout, owner: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the deployment lock of an application. Raises Busy with the holder if another run holds it.

    The kernel frees the lock when its holder dies. Programs that a killed holder has left running are killed first,
    because two migrations at once could destroy data.
    """
    descriptor = open_lock(layout, patience)
    try:
        if os.pread(descriptor, 1, 0):
            kill_abandoned(layout)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{owner}, since {now():%Y-%m-%d %H:%M:%S} UTC, process {os.getpid()}\n".encode(), 0)
        holders.note(layout)
        try:
            settle_lease(layout)
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_held(lease: leases.Lease) -> bool:
    """Whether only the run of a lease may decide about it."""
    return lease.is_valid and lease.run not in settings.ended_runs


def settle_lease(layout: Layout) -> None:
    """Pass no lease of another run: raise Busy while it is valid, else let it end first."""
    lease = leases.read_lease(layout)
    if lease is None or lease.run == settings.run:
        return
    if is_held(lease):
        raise Busy(layout.name, f"{leases.refusal(lease)}.")
    if settings.settle is None:
        raise Busy(
            layout.name,
            f"the provisional switch to {lease.release} ended at {lease.until} UTC without a decision. Run site.yml, "
            "which goes back first.",
        )
    if lease.run in settings.ended_runs and lease.is_valid:
        lease.reason = lease.reason or f"the process of its run {lease.run} is gone"
    settings.notes.append(f"webapps '{layout.name}': {settings.settle(layout, lease)}")


def open_lock(layout: Layout, patience: float = PATIENCE) -> int:
    """Take the lock and return the descriptor of its file. If another run holds it, wait for a moment."""
    path = layout.path(".lock")
    until = time.monotonic() + patience
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A removal may have deleted the file since it was opened; the next run would lock another file.
            if is_same_file(descriptor, path):
                return descriptor
        except BlockingIOError:
            text = os.pread(descriptor, 4096, 0).decode(errors="replace").strip()
            if time.monotonic() >= until and not has_ended_lost(layout, text):
                os.close(descriptor)
                raise Busy(layout.name, refusal(layout, text)) from None
            time.sleep(0.02)
        os.close(descriptor)


def has_ended_lost(layout: Layout, text: str) -> bool:
    """End the holder of the lock if its run is gone and this run may do so; return whether it has ended."""
    if not settings.end_lost or holders.lost(layout) is None or not holders.end(layout):
        return False
    settings.notes.append(f"webapps '{layout.name}': ended the work of an earlier run that is gone: {text}.")
    return True


def refusal(layout: Layout, text: str) -> str:
    """Why the lock can't be taken."""
    found = holders.lost(layout)
    if found is None:
        doing, process = holders.doing_of(layout)
        at_work = f" It is running {doing}." if doing else ""
        # The controller can be gone although its connection exists, such as after kill -9 of ansible-playbook.
        remedy = (
            f" If you know that its run is gone, end it on this host with 'kill -9 {process}' first." if doing else ""
        )
        return (
            f"another deployment is under way: {text or 'an unknown run'}.{at_work} Wait until it has ended, then run "
            f"again.{remedy}"
        )
    return (
        f"an earlier deployment still works on this host, but its run is gone: {text}. Its connection to the "
        "controller has ended, so no run reports its result. "
        f"It is running {found}. Wait until it has ended, then run again. Or use -e end_lost_command=true, which ends "
        "it and runs it again."
    )


def is_same_file(descriptor: int, path: str) -> bool:
    """Whether a path still leads to the file that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def is_locked(layout: Layout) -> bool:
    """Whether a running process holds the lock."""
    try:
        descriptor = os.open(layout.path(".lock"), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # Another run that asks for the lock at this moment tries again.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder_of(layout: Layout) -> str:
    """Why a run leaves an application alone that another run works on; empty if no other run does."""
    if not is_locked(layout):
        lease = leases.read_lease(layout)
        return "" if lease is None or not is_held(lease) else leases.refusal(lease)
    try:
        with open(layout.path(".lock"), encoding="utf-8", errors="replace") as stream:
            text = stream.read(4096).strip()
        return f"another deployment is under way: {text}." if holders.lost(layout) is None else refusal(layout, text)
    except OSError:
        return ""


def has_lock_holder(layout: Layout) -> bool:
    """Whether a run holds the lock, or was killed while holding it."""
    try:
        return os.path.getsize(layout.path(".lock")) > 0
    except FileNotFoundError:
        return False
