# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Give the files of a release to an account, or take them for root."""

from __future__ import annotations

import os
import stat


def give_to(path: str, uid: int, gid: int) -> None:
    """Give a folder and all in it to an account. Descriptors prevent it from following a swapped-in link."""
    for _base, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        os.fchown(descriptor, uid, gid)
        for name in folders + files:
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)


def take_for_root(path: str) -> None:
    """Give a folder and all in it to root. Its former account can no longer change it."""
    for _base, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        seal(descriptor)
        for name in [*files, *(folder for folder in folders if is_link(folder, descriptor))]:
            try:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
            except OSError:
                # A link or a socket, whose mode does not matter.
                os.chown(name, 0, 0, dir_fd=descriptor, follow_symlinks=False)
                continue
            try:
                seal(file)
            finally:
                os.close(file)


def is_link(name: str, folder: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def seal(descriptor: int) -> None:
    """Give an open file or folder to root. Only root can write it; its former account can still read it."""
    before = os.fstat(descriptor)
    os.fchown(descriptor, 0, 0)
    mode = sealed_mode(before.st_mode, from_account=before.st_uid != 0)
    if mode != stat.S_IMODE(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, mode)


def sealed_mode(mode: int, from_account: bool = True) -> int:
    """The mode of a file that root takes over.

    Group permissions are copied to 'others', so that the application's account can still read the file.
    """
    return mode & 0o755 | (mode >> 3 & 0o005 if from_account else 0)
