# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run a function in a child process, which can switch to another account."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress

# Bytes of a result that are read at a time.
CHUNK = 64 * 1024


def in_child(function: Callable[[], bytes], patience: float = 60.0) -> bytes:
    """The result of a function that a child process runs; empty if it failed.

    The child is killed after ``patience`` seconds: the processes of the account that it switches to can stop it.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # no Python beyond this line may raise: the parent's clean-up must not run twice
        try:
            result = function()
            while result:
                result = result[os.write(writer, result) :]
        finally:
            os._exit(0)
    os.close(writer)
    until = time.monotonic() + patience
    parts = []
    with os.fdopen(reader, "rb", buffering=0) as stream:
        while select.select([stream], [], [], max(0.0, until - time.monotonic()))[0]:
            parts.append(stream.read(CHUNK))
            if not parts[-1]:
                break
        else:
            parts.clear()
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return b"".join(parts)
