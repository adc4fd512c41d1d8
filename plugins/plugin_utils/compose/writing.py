# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Write a folder for compose. Files of others in it stay."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.entries import Entry, Tree

# The list of the files in the folder that the collection has written. A folder without it is not changed.
MARK = ".pyweb-compose.json"


class FolderError(ValueError):
    """The folder can't be written; the message says why, and what to do."""


def differences(folder: Path, tree: Tree, app: str) -> list[str]:
    """The paths that writing the tree would change; raises FolderError for a folder of another origin."""
    known = known_files(folder, app)
    changed = [path for path, entry in tree.items() if not is_current(folder / path, entry)]
    return sorted([*changed, *(path for path in known - tree.keys() if os.path.lexists(folder / path))])


def known_files(folder: Path, app: str) -> set[str]:
    """The files that an earlier run has written."""
    if not os.path.lexists(folder):
        return set()
    if not folder.is_dir():
        raise FolderError(f"to is '{folder}', which is a file. Choose a folder.")
    if not os.path.lexists(folder / MARK):
        if os.listdir(folder):
            raise FolderError(
                f"to is '{folder}', which has other files, and was not written by this playbook. Choose a new folder, "
                "or empty this one."
            )
        return set()
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
        owner, files = str(found["app"]), {str(path) for path in found["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FolderError(f"{folder / MARK} can't be read ({error}). Remove the folder, or choose another.") from None
    if owner != app:
        raise FolderError(f"to is '{folder}', the folder of the application '{owner}'. Choose another for '{app}'.")
    return {path for path in files if is_inside(path)}


def is_inside(path: str) -> bool:
    """Whether a path of the list stays in the folder."""
    return not os.path.isabs(path) and os.path.normpath(path) == path and not path.startswith("..")


def is_current(path: Path, entry: Entry) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    if entry.link:
        return stat.S_ISLNK(status.st_mode) and os.readlink(path) == entry.link
    if entry.is_folder:
        return stat.S_ISDIR(status.st_mode)
    return (
        stat.S_ISREG(status.st_mode)
        and stat.S_IMODE(status.st_mode) == entry.mode
        and status.st_size == len(entry.content)
        and hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(entry.content).digest()
    )


def write(folder: Path, tree: Tree, app: str) -> None:
    """Write all differences. Only the owner can enter the folder, so what is in it can be readable for containers."""
    known = known_files(folder, app)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        os.chmod(folder, 0o700)
        # An interrupted run leaves a folder that the next one may change.
        write_mark(folder, app, known | tree.keys())
        for path in sorted(known - tree.keys(), reverse=True):
            remove(folder, path)
        for path, entry in tree.items():
            make_parents(folder, path, known)
            if not is_current(folder / path, entry):
                put(folder / path, entry, is_known=path in known)
        write_mark(folder, app, set(tree))
    except OSError as error:
        raise FolderError(f"{error.filename or folder} can't be written: {error.strerror}.") from error


def write_mark(folder: Path, app: str, files: set[str]) -> None:
    put(folder / MARK, Entry(json.dumps({"app": app, "files": sorted(files)}, indent=1).encode()), is_known=True)


def remove(folder: Path, path: str) -> None:
    """Remove a file of an earlier run, and the folders that are empty then."""
    place = folder / path
    if place.is_dir() and not place.is_symlink():
        remove_empty(place)
    elif os.path.lexists(place):
        place.unlink()
    for parent in place.parents:
        if parent == folder or not remove_empty(parent):
            break


def remove_empty(place: Path) -> bool:
    try:
        place.rmdir()
    except OSError:
        return False
    return True


def make_parents(folder: Path, path: str, known: set[str]) -> None:
    """Create the folders that a file is in. No part of the way is a link."""
    place = folder
    for part in Path(path).parts[:-1]:
        place = place / part
        if place.is_dir() and not place.is_symlink():
            continue
        if os.path.lexists(place):
            if str(place.relative_to(folder)) not in known:
                raise FolderError(f"{place} is not a folder, and was not written by this playbook. Move it away.")
            place.unlink()
        place.mkdir()
        place.chmod(0o755)


def put(place: Path, entry: Entry, *, is_known: bool) -> None:
    """Replace what is at a place, in one step."""
    if place.is_dir() and not place.is_symlink() and not entry.is_folder:
        if not remove_empty(place):
            raise FolderError(f"{place} is a folder with other files. Move them away.")
    elif entry.is_folder and os.path.lexists(place):
        if not is_known:
            raise FolderError(f"{place} is not a folder, and was not written by this playbook. Move it away.")
        place.unlink()
    if entry.is_folder:
        place.mkdir()
        place.chmod(0o755)
        return
    new = place.with_name(f".{place.name}.pyweb-new")
    new.unlink(missing_ok=True)
    if entry.link:
        new.symlink_to(entry.link)
    else:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(entry.content)
            os.fchmod(stream.fileno(), entry.mode)
        if entry.time is not None:
            os.utime(new, (entry.time, entry.time))
    os.replace(new, place)
