# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Distinguish the files of this collection from foreign files: only the former are changed or removed."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import read

MARK = "Managed by pyweb.stack"


def is_ours(path: str) -> bool:
    """Whether a file exists and carries the mark."""
    return MARK.encode() in (read(path) or b"")


def is_foreign(path: str) -> bool:
    """Whether a file exists and does not carry the mark."""
    data = read(path)
    return data is not None and MARK.encode() not in data


def foreign_file_error(path: str, kind: str) -> str:
    """The message for a required file whose path holds a foreign file."""
    return (
        f"Installing {path}: a file without the mark '{MARK}' is there already, so it is not from this collection. "
        f"Give the {kind} another name, or remove that file."
    )


def foreign_file_warning(path: str) -> str:
    """The message for a foreign file that was to be removed."""
    return f"{path} does not carry the mark '{MARK}', so it was left alone."
