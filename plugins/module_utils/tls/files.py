# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files of certificates, as texts."""

from __future__ import annotations

import os

from ansible_collections.pyweb.stack.plugins.module_utils.host import files
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted

# Bytes of a certificate with its chain and its key.
MOST_BYTES = 1024**2


def read(path: str) -> str | None:
    """The text of a file; None where there is none."""
    data = files.read(path)
    return None if data is None else data.decode(errors="replace")


def read_given(path: str) -> str | None:
    """The text of a file that the inventory names, in any folder; None where there is none, or that can't be used."""
    try:
        return read_untrusted(path, MOST_BYTES).decode(errors="replace")
    except OSError:
        return None


def write(path: str, text: str, mode: int = 0o600) -> None:
    """Write a file of this process's account by an atomic rename, and make its folder."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    files.write(files.own_file(path, text, mode))
