# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run a function in a child process, which can switch to another account."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_child(function: Callable[[], bytes]) -> bytes:
    """The result of a function that a child process runs; empty if it failed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # no Python beyond this line may raise: the parent's clean-up must not run twice
        result = b""
        try:
            result = function()
        finally:
            os.write(writer, result)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        result = stream.read()
    os.waitpid(child, 0)
    return result
