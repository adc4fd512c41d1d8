# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The log of deployments: one line for each, in the folder of the application."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, now


def record(layout: Layout, **entry: Any) -> None:
    """Add one line to the application's log of deployments."""
    line = json.dumps({"time": f"{now():%Y-%m-%dT%H:%M:%SZ}", "app": layout.name, **entry}, ensure_ascii=False)
    descriptor = os.open(layout.history, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        # A full disk may have cut the last line; the next entry still gets a line of its own.
        is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, b"\n" * is_cut + line.encode() + b"\n")
    finally:
        os.close(descriptor)
