# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Where the code of a release comes from: what identifies it, and its files, fetched only if a host lacks them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import recorded, redacted
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import scm
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import archive_name, is_given
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.archives import archive_file, unpack
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.builds import RunOfBuilds
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import (
    archive,
    check_links,
    fingerprint,
    is_inside,
    opened,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import repository_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.images import (
    ANY_RUN,
    environment_of,
    image_description,
    pinned_image,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.left_out import empty_folders
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.listing import listed_by_walk
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import cache_folder, find_folder
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.pointers import Pointers
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.sent import sent_files, unsent

LOCKS = ("uv.lock", "pylock.toml", "pyproject.toml")


@dataclass(frozen=True)
class Origin:
    """The source of one application: its description for the host, and how its files are packed.

    ``pack`` is None for a package, which the host installs from an index. A ``local`` source is quick to pack. All
    others are packed only after a host has asked for them. ``left_out`` lists what .gitignore leaves out, for messages.
    ``notes`` are announced. Those about other sources than folders are known when they are packed. ``file`` is sent as
    it is, instead of a packed source. ``image`` is the archive of an image in which the code runs.
    """

    description: dict[str, Any]
    pack: Callable[[], bytes] | None = None
    local: bool = False
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    file: Path | None = None
    image: Path | None = None


def origin_of(source: dict[str, Any], bases: list[str]) -> Origin:
    """The origin of a checked ``source``. Raises SourceError with what to do."""
    if not source.get("environment"):
        return origin_of_code(source, bases)
    description, image = image_description(environment_of(source), bases)
    origin = origin_of_code(source, bases)
    return replace(origin, description={**origin.description, "environment": description}, image=image)


def origin_of_code(source: dict[str, Any], bases: list[str]) -> Origin:
    subdir = source.get("subdir") or ""
    if source.get("package"):
        return Origin(
            {
                "kind": "package",
                # The whole requirement goes to the host among the secrets.
                "package": redacted(source["package"]),
                "digest": recorded(source["package"]),
                "revision": redacted(source["package"]),
            }
        )
    if is_given(source):
        description, file = image_description(source, bases)
        return Origin(description, file=file)
    if source.get("git"):
        return of_git(source, subdir, bases)
    if source.get("archive"):
        return of_archive(source, subdir, bases)
    folder = find_folder(source["path"], bases)
    names = sent_files(folder, source)
    if all(name.endswith("/") for name in names):
        raise SourceError(f"source.path '{source['path']}' ({folder}) has no files that .gitignore does not leave out.")
    check_links(folder, names, f"source.path '{source['path']}' ({folder})")
    pointers = Pointers(f"source.path '{source['path']}'", f"Run git lfs pull in {folder}.", served_by(source))
    added, digest = scm.of_folder(folder, subdir), fingerprint(folder, names, pointers)
    if added:
        # A new tag is another version of the project, and so another release.
        digest += f" {next(iter(added.values())).decode().split()[-1]}"
    description = {
        "kind": "path",
        "subdir": subdir,
        "digest": digest,
        "requirements_digest": requirements_digest(folder, names),
    }
    return Origin(
        description,
        pack=lambda: archive(folder, names, added=added),
        local=True,
        left_out=unsent(folder, names),
        notes=pointers.notes(),
    )


def pin(source: dict[str, Any], bases: list[str], run: RunOfBuilds = ANY_RUN) -> dict[str, str]:
    """Check a source before a host is asked, and return what the rest of the run has to use: the commit of a branch,
    and the digest of an image. A Containerfile is built for this ``run``.

    Raises SourceError with what to do.
    """
    found = {}
    if source.get("git"):
        found = {"commit": repository_of(source, bases).commit_of(source.get("version") or "HEAD")}
    if is_given(source):
        found |= pinned_image({**source, **found}, bases, run)
    if source.get("environment"):
        image = pinned_image(environment_of({**source, **found}), bases, run)
        found |= {"environment_digest": image["digest"], "architectures": image["architectures"]}
    if source.get("archive"):
        check_archive(source, bases)
    return found


def check_archive(source: dict[str, Any], bases: list[str]) -> None:
    """Check that an archive can be unpacked. Each content is checked once."""
    path = archive_file(source, bases)
    checked = cache_folder() / "checked" / digest_of(path)
    if checked.exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        unpack(path, Path(scratch), archive_name(source["archive"]))
    checked.parent.mkdir(mode=0o700, exist_ok=True)
    checked.touch()


def digest_of(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_git(source: dict[str, Any], subdir: str, bases: list[str]) -> Origin:
    repository = repository_of(source, bases)
    version = source.get("version") or "HEAD"
    commit = source.get("commit") or repository.commit_of(version)
    notes: list[str] = []
    described = scm.described(repository, commit, version, subdir)
    shown = f"{redacted(source['git'])} at '{version}'"

    def pack() -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "source"
            repository.checkout(commit, version, folder)
            added = scm.files_for(folder, subdir, scm.archival(described))
            pointers = Pointers(shown, "Install git-lfs on the controller and run git lfs install.", served_by(source))
            return pack_folder(folder, shown, pointers, notes, added)

    # A new tag is another version of the project, and so another release.
    digest = " ".join(part for part in (redacted(source["git"]), commit, described) if part)
    description = {"kind": "git", "subdir": subdir, "digest": digest, "revision": commit}
    return Origin(description, pack=pack, notes=notes)


def of_archive(source: dict[str, Any], subdir: str, bases: list[str]) -> Origin:
    path = archive_file(source, bases)
    name = archive_name(source["archive"])
    digest = digest_of(path)
    notes: list[str] = []

    def pack() -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            pointers = Pointers(name, "Run git lfs pull before you make the archive.", served_by(source))
            return pack_folder(unpack(path, Path(scratch), name), name, pointers, notes)

    return Origin(
        {
            "kind": "archive",
            "subdir": subdir,
            "digest": digest,
            "revision": f"{name} {digest[:12]}",
        },
        pack=pack,
        notes=notes,
    )


def served_by(source: dict[str, Any]) -> list[str]:
    """The static folders of a source."""
    return list((source.get("named") or {}).get("folders", ()))


def pack_folder(
    folder: Path, name: str, pointers: Pointers, notes: list[str], added: dict[str, bytes] | None = None
) -> bytes:
    """One archive of all files of a fetched source, and of ``added`` ones. Announcements are added to the notes."""
    names = sorted(listed_by_walk(folder))
    if not names:
        raise SourceError(f"{name} has no files.")
    names = sorted([*names, *empty_folders(folder, names, is_filtered=False)])
    packed = archive(folder, names, name, added, pointers)
    notes += pointers.notes()
    return packed


def requirements_digest(folder: Path, names: list[str]) -> str:
    """A fingerprint of all files that may list dependencies, so that a message can name what has changed."""
    total = hashlib.sha256()
    for name in names:
        base = os.path.basename(name)
        if base in LOCKS or (base.endswith(".txt") and ("require" in base or "constraint" in base)):
            # A link that leads nowhere or out of the source lists nothing.
            readable = (folder / name).is_file() and is_inside(folder, folder / name)
            content = b""
            if readable:
                with opened(folder / name) as stream:
                    content = hashlib.file_digest(stream, "sha256").digest()
            total.update(os.fsencode(name) + b"\0" + content)
    return total.hexdigest()
