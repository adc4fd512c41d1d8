# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Whether a folder that an account has filled is complete, and can be changed by root alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import octal, user
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import seal
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import COMPLETE


def is_complete(path: str) -> bool:
    """Whether an environment has its mark, and root alone can change the mark and all other files.

    While an environment is made, it belongs to an account, whose packages can put a mark in it. Root removes that mark
    before it takes the environment (see remove_mark). A run that was killed earlier has left files of the account.
    """
    try:
        mark = os.lstat(os.path.join(path, COMPLETE))
        return stat.S_ISREG(mark.st_mode) and mark.st_nlink == 1 and next(changeable_files(path), None) is None
    except OSError:
        return False


def interpreter_of(path: str) -> str:
    """The interpreter with which a complete environment was made."""
    with open(os.path.join(path, COMPLETE), encoding="utf-8") as mark:
        return mark.read().strip()


def remove_mark(path: str) -> None:
    """Take an environment's folder for root, and remove a mark that the account has put in it."""
    folder = os.open(path, trees.FOLDER)
    try:
        seal(folder)
        trees.remove(COMPLETE, folder=folder)
    finally:
        os.close(folder)


def changeable_files(path: str) -> Iterator[tuple[str, str]]:
    """The files and folders below a folder that others than root can change, each with the reason. Raises OSError."""
    for visit in trees.walk(path):
        entries = {} if visit.leaving else {**visit.files, ".": os.fstat(visit.descriptor)}
        for name, status in sorted(entries.items()):
            if why := changeable(status):
                yield os.path.normpath(os.path.join(path, visit.below(name))), why


def changeable(status: os.stat_result) -> str:
    """Why others than root can change a file of a release, or become another account by it; empty if they can't."""
    # Only who can write its folder can replace a link. Links that lead out of a release belong to the account: see
    # outward_links.
    if stat.S_ISLNK(status.st_mode):
        return ""
    if status.st_uid != 0:
        return f"belongs to {user(status.st_uid)}"
    if status.st_mode & 0o022:
        return f"has mode {octal(status.st_mode)}, so others than root can write it"
    if status.st_mode & 0o6000 and not stat.S_ISDIR(status.st_mode):
        return f"has mode {octal(status.st_mode)}, so it runs as its owner or group"
    return ""
