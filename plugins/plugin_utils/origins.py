# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Where a release's code comes from: what identifies it, told at once, and its files, fetched only if a host lacks them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.fetching import Repository, archive_file, shown, unpack
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import (
    SourceError,
    archive,
    fingerprint,
    listed_by_walk,
    resolve,
    source_files,
)

LOCKS = ("uv.lock", "pylock.toml", "pyproject.toml")


@dataclass(frozen=True)
class Origin:
    """One application's source: what the host is told of it, and how its files are packed (None: the host fetches it itself)."""

    told: dict[str, Any]
    pack: Callable[[], bytes] | None = None
    packed: bytes | None = field(default=None, repr=False)

    def bytes(self) -> bytes:
        return self.packed if self.packed is not None else self.pack()


def origin_of(source: dict[str, Any], bases: list[str]) -> Origin:
    """The origin of a checked ``source``. Raises SourceError with what to try."""
    subdir = source.get("subdir") or ""
    if source.get("package"):
        return Origin(
            {
                "kind": "package",
                "package": source["package"],
                "digest": source["package"],
                "revision": source["package"],
            }
        )
    if source.get("git"):
        return of_git(source, subdir)
    if source.get("archive"):
        return of_archive(source, subdir, bases)
    folder = resolve(source["path"], bases)
    names = source_files(folder)
    if not names:
        raise SourceError(f"source.path '{source['path']}' ({folder}) has no files that .gitignore does not leave out.")
    told = {
        "kind": "path",
        "subdir": subdir,
        "digest": fingerprint(folder, names),
        "requirements_digest": requirements_digest(folder, names),
    }
    return Origin(told, packed=archive(folder, names))


def of_git(source: dict[str, Any], subdir: str) -> Origin:
    repository = Repository(source["git"], source.get("key"))
    version = source.get("version") or "HEAD"
    commit = repository.commit_of(version)

    def pack() -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "source"
            repository.checkout(commit, version, folder)
            return archive(folder, sorted(listed_by_walk(folder)))

    told = {"kind": "git", "subdir": subdir, "digest": f"{shown(source['git'])} {commit}", "revision": commit}
    return Origin(told, pack=pack)


def of_archive(source: dict[str, Any], subdir: str, bases: list[str]) -> Origin:
    path = archive_file(source, bases)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def pack() -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = unpack(path, Path(scratch))
            return archive(folder, sorted(listed_by_walk(folder)))

    return Origin(
        {
            "kind": "archive",
            "subdir": subdir,
            "digest": digest,
            "revision": f"{os.path.basename(source['archive'])} {digest[:12]}",
        },
        pack=pack,
    )


def requirements_digest(folder: Path, names: list[str]) -> str:
    """A fingerprint of everything in the source that may list dependencies, so that a message can tell them from other code."""
    total = hashlib.sha256()
    for name in names:
        base = os.path.basename(name)
        if base in LOCKS or (base.endswith(".txt") and ("require" in base or "constraint" in base)):
            total.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return total.hexdigest()
