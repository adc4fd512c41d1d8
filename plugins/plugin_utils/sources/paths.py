# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Paths on the controller: those that an application names, and the cache of fetched sources."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError


def cache_folder() -> Path:
    """The folder that keeps repositories and downloads between runs. Only the account that runs Ansible can read it."""
    chosen = os.environ.get("XDG_CACHE_HOME") or ""
    # The XDG specification says that relative paths are ignored.
    base = (Path(chosen) if os.path.isabs(chosen) else Path.home() / ".cache") / "pyweb.stack"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"the controller's folder for fetched sources, {base}, can't be created: {error.strerror}. "
            "Name another in XDG_CACHE_HOME."
        ) from error
    return base


def candidates(name: str, bases: list[str]) -> list[str]:
    """Where a path is looked for: as it is if it is absolute, else below each base."""
    expanded = os.path.expanduser(name)
    if os.path.isabs(expanded):
        return [expanded]
    return list(dict.fromkeys(os.path.normpath(os.path.join(base, expanded)) for base in bases))


def find(name: str, bases: list[str], is_good: Callable[[str], bool], option: str, kind: str) -> Path:
    """The first candidate that is good. ``option`` and ``kind`` say in the message what it should be."""
    places = candidates(name, bases)
    for place in places:
        if is_good(place):
            return Path(place)
    raise SourceError(f"{option} '{name}' is no {kind}. Looked for: {', '.join(places)}.")


def find_key(key: str, bases: list[str]) -> str:
    """The file of a deploy key."""
    return str(find(key, bases, os.path.isfile, "source.key", "file on the controller"))


def find_folder(path: str, bases: list[str]) -> Path:
    """The folder of a source."""
    places = candidates(path, bases)
    for place in places:
        if os.path.isdir(place):
            return Path(place).resolve()
    for place in places:
        if os.path.exists(place):
            raise SourceError(
                f"source.path '{path}' is a file ({place}), but it must be a folder. Name the folder it is in."
            )
    raise SourceError(f"source.path '{path}' does not exist. Looked for: {', '.join(places)}.")
