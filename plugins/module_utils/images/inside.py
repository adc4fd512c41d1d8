# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Paths in a root file system, as a program in it would see them: no link leads out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.pyweb.stack.plugins.module_utils.host.links import MOST_LINKS
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import FOLDER, open_below
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError


@contextmanager
def opened(top: str) -> Iterator[int]:
    """The descriptor of a root file system."""
    descriptor = os.open(top, FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def steps(path: str) -> list[str]:
    """The names of a path, the first one last."""
    return [part for part in path.split("/") if part not in ("", ".")][::-1]


def followed(top: int, path: str, last: bool = True) -> tuple[str, ...]:
    """The names of a path when every link on it is followed inside the root file system. It need not exist.

    Without ``last``, a link at the end is not followed.
    """
    place: list[str] = []
    left, count = steps(path), 0
    while left:
        step = left.pop()
        if step == "..":
            del place[-1:]
            continue
        target = link_at(top, place, step) if left or last else None
        if target is None:
            place.append(step)
            continue
        count += 1
        if count > MOST_LINKS:
            raise ImageError(
                f"the image has a circle of links at '{'/'.join([*place, step])}'. Remove it from the image."
            )
        if target.startswith("/"):
            place = []
        left += steps(target)
    return tuple(place)


def link_at(top: int, place: list[str], name: str) -> str | None:
    """The target of a link; None for anything else."""
    try:
        folder = open_below(top, place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(folder)


def status_of(top: int, path: str) -> tuple[str, os.stat_result] | None:
    """The real path below the top to which a path leads, and its status; None if it is missing."""
    names = followed(top, path)
    try:
        folder = open_below(top, names[:-1])
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return "/".join(names), os.stat(names[-1] if names else ".", dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    finally:
        os.close(folder)


def program_at(top: int, path: str) -> str:
    """The real path, from the top, of a program that a path leads to; empty if there is none."""
    found = status_of(top, path)
    return f"/{found[0]}" if found and stat.S_ISREG(found[1].st_mode) and found[1].st_mode & 0o111 else ""


def make_folder(top: int, path: str) -> None:
    """Create a folder, and those around it."""
    names = followed(top, path)
    try:
        os.close(open_below(top, names, create=True))
    except NotADirectoryError:
        raise ImageError(f"the image has a file at /{'/'.join(names)}, which must be a folder. Remove it.") from None


def make_file(top: int, path: str) -> None:
    """Create an empty file where a path is missing, or is a link."""
    names = followed(top, path, last=False)
    folder = open_below(top, names[:-1], create=True)
    try:
        if link_at(top, list(names[:-1]), names[-1]) is not None:
            os.unlink(names[-1], dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(names[-1], flags, 0o644, dir_fd=folder))
    finally:
        os.close(folder)
