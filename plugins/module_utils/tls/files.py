# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files of certificates, as texts."""

from __future__ import annotations

import os

from ansible_collections.pyweb.stack.plugins.module_utils.host import files


def read(path: str) -> str | None:
    """The text of a file; None where there is none."""
    data = files.read(path)
    return None if data is None else data.decode(errors="replace")


def write(path: str, text: str, mode: int = 0o600) -> None:
    """Write a file of this process's account by an atomic rename, and make its folder."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    files.write(files.own_file(path, text, mode))
