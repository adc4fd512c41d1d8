# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lock of an application: one deployment at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import kill_abandoned
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError, now


@contextmanager
def lock(layout: Layout, owner: str) -> Iterator[None]:
    """Hold the deployment lock of an application. Raises ReleaseError with the holder if another run holds it.

    The kernel frees the lock when its holder dies. Programs that a killed holder has left running are killed first,
    because two migrations at once could destroy data.
    """
    descriptor = open_lock(layout)
    try:
        if os.pread(descriptor, 1, 0):
            kill_abandoned(layout)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{owner}, since {now():%Y-%m-%d %H:%M:%S} UTC, process {os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def open_lock(layout: Layout) -> int:
    """Take the lock and return the descriptor of its file."""
    path = layout.path(".lock")
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A removal may have deleted the file since it was opened; the next run would lock another file.
            if is_same_file(descriptor, path):
                return descriptor
        except BlockingIOError:
            holder = os.pread(descriptor, 4096, 0).decode(errors="replace").strip() or "an unknown run"
            os.close(descriptor)
            raise ReleaseError(
                layout.name, f"another deployment is under way: {holder}. Wait until it has ended, then run again."
            ) from None
        os.close(descriptor)


def is_same_file(descriptor: int, path: str) -> bool:
    """Whether a path still leads to the file that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def has_lock_holder(layout: Layout) -> bool:
    """Whether a run holds the lock, or was killed while holding it."""
    try:
        return os.path.getsize(layout.path(".lock")) > 0
    except FileNotFoundError:
        return False
