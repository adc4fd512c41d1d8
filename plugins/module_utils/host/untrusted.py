# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Read what an application can write: as root, without following its links, waiting for it, or reading without end.

An account that owns a folder can put anything there instead of a file: a link to a secret, a pipe without a writer, a
device, a file of any size. So root reads such paths with these functions alone.
"""

from __future__ import annotations

import errno
import os
import stat

# Opens without waiting, as for a pipe, and never through a link.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
# The number of links that the kernel follows on one path.
MOST_LINKS = 40


class Untrusted(OSError):
    """A path that root must not use: its message has the path, what is wrong with it, and what to do."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(errno.EPERM, f"{why}. Remove it, or give it another name", path)


def is_own(status: os.stat_result) -> bool:
    """Whether only root and the account of this process can change a folder or a file."""
    writers = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid != 0 else 0)
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & writers


def open_untrusted(path: str) -> int:
    """Open a regular file and return its descriptor.

    A link counts only in a folder that no other account can write, such as /var/run. Every step is made by descriptors,
    so that nothing can be exchanged between a check and its use.
    """
    folder, name = open_way(path)
    try:
        return regular(path, name, folder)
    finally:
        os.close(folder)


def open_folder(path: str) -> int:
    """Open a folder by the same rule, and return its descriptor. The path itself must not be a link."""
    folder, name = open_way(path, ends_at_link=True)
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    finally:
        os.close(folder)


def open_way(path: str, ends_at_link: bool = False) -> tuple[int, str]:
    """Open the folder of a path; return its descriptor, and the name in it. With ``ends_at_link``, it may be a link."""
    left, links = steps(path) or ["."], 0
    folder = os.open("/" if path.startswith("/") else ".", FOLDER)
    try:
        while True:
            name = left.pop()
            if ends_at_link and not left:
                return folder, name
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > MOST_LINKS or not is_own(os.fstat(folder)):
                    raise Untrusted(path, f"'{name}' is a link in a folder that others than root can write")
                target = os.readlink(name, dir_fd=folder)
                left += steps(target) or ["."]
                if target.startswith("/"):
                    folder = moved(folder, os.open("/", FOLDER))
            elif left:
                folder = moved(folder, os.open(name, FOLDER, dir_fd=folder))
            else:
                return folder, name
    except BaseException:
        os.close(folder)
        raise


def steps(path: str) -> list[str]:
    """The names of a path, the first one last."""
    return [part for part in path.split("/") if part not in ("", ".")][::-1]


def moved(old: int, new: int) -> int:
    os.close(old)
    return new


def regular(path: str, name: str, folder: int) -> int:
    """Open a name of a folder; refuse anything but a regular file."""
    try:
        descriptor = os.open(name, READ, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            raise Untrusted(path, "it is not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Untrusted(path, "it is not a regular file")
    return descriptor


def read_untrusted(path: str, limit: int) -> bytes:
    """The content of a file of at most ``limit`` bytes. Raises OSError; FileNotFoundError where there is no file."""
    with open(open_untrusted(path), "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise Untrusted(path, f"it has more than {limit} bytes")
    return data


def tail(path: str, size: int) -> str:
    """The last bytes of a text file, such as a log; empty if it can't be read."""
    try:
        with open(open_untrusted(path), "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - size))
            return stream.read(size).decode(errors="replace")
    except OSError:
        return ""
