# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lock of nginx's configuration. The kernel frees the lock of a process that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator


@contextlib.contextmanager
def locked(path: str, timeout: float | None = None) -> Iterator[None]:
    """Hold the lock, a file that is made where there is none. Raises TimeoutError after so many seconds."""
    with open(path, "a", encoding="ascii") as stream:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX if deadline is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(f"{path} was locked for {timeout:.0f} s") from None
                time.sleep(0.1)
        yield
