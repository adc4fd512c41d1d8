# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Give the files of a release to an account, or take them for root."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import MOST_BYTES, TreeError, walk
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import READ, open_folder

# Bytes that are copied at a time.
CHUNK = 256 * 1024


def give_to(path: str, uid: int, gid: int) -> None:
    """Give a folder of root and all in it to an account.

    The files of a folder come first, then the folder: from then on the account can exchange what is in it.
    """
    for visit in walk(path, start=open_folder(path)):
        if not visit.leaving:
            continue
        for name, status in visit.files.items():
            if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                raise TreeError(os.path.join(path, visit.below(name)), "it has another name by a hard link")
            os.chown(name, uid, gid, dir_fd=visit.descriptor, follow_symlinks=False)
        os.fchown(visit.descriptor, uid, gid)


class StillOpen(TreeError):
    """A process can still write a file that root has taken."""


def take_for_root(path: str, fresh: bool = False, linked_by: int = 0) -> None:
    """Give a folder and all in it to root. Its former account can no longer change it.

    A folder comes first, then what is in it, so that nothing is exchanged meanwhile. With ``fresh``, every file becomes
    a copy: a process that has opened the original for writing can't write into the release. A file that has another
    name outside becomes a copy too, except a file of the account ``linked_by``: root takes it under all its names, and
    raises StillOpen if a process has it open for writing. So an environment shares its files with the cache of its
    build account. Sockets, pipes and devices are removed: they are of no use without the process that made them.
    """
    left = MOST_BYTES
    for visit in walk(path, enter=seal, start=open_folder(path)):
        if visit.leaving:
            continue
        for name, status in visit.files.items():
            if stat.S_ISLNK(status.st_mode):
                os.chown(name, 0, 0, dir_fd=visit.descriptor, follow_symlinks=False)
                continue
            if not stat.S_ISREG(status.st_mode):
                os.unlink(name, dir_fd=visit.descriptor)
                continue
            place = os.path.join(path, visit.below(name))
            # Root's own file with another name may be any file of the host, so its mode must stay.
            is_taken = status.st_nlink == 1 or (linked_by and status.st_uid == linked_by)
            if fresh or not is_taken:
                left -= replace_by_copy(visit.descriptor, name, left, place)
                continue
            file = os.open(name, READ, dir_fd=visit.descriptor)
            try:
                seal(file)
                if linked_by and has_writers(file):
                    raise StillOpen(place, f"{holder_of(file)} has it open for writing")
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                left -= replace_by_copy(visit.descriptor, name, left, place)
            finally:
                os.close(file)


def replace_by_copy(folder: int, name: str, most: int, path: str) -> int:
    """Replace a file of root's folder by a copy that belongs to root; return its size."""
    temporary = f".{secrets.token_hex(8)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    source = os.open(name, READ, dir_fd=folder)
    try:
        status = os.fstat(source)
        target = os.open(temporary, flags, 0o600, dir_fd=folder)
        try:
            size = copy(source, target, most, path)
            remove_entries(target)
            os.fchmod(target, sealed_mode(status.st_mode, from_account=status.st_uid != 0))
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(target)
    finally:
        os.close(source)
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    return size


def copy(source: int, target: int, most: int, path: str) -> int:
    """Copy an open file of at most this many bytes into another; return its size. Some disks share the blocks."""
    size, count, by_kernel = 0, 0, True
    while size <= most:
        try:
            count = os.copy_file_range(source, target, 64 * CHUNK) if by_kernel else 0
        except OSError:
            # Not on this file system, or between these two.
            by_kernel = False
        if not by_kernel:
            data = os.read(source, CHUNK)
            count = len(data)
            while data:
                data = data[os.write(target, data) :]
        if not count:
            return size
        size += count
    raise TreeError(path, f"with this file, the folder has more than {MOST_BYTES // 1024**3} GiB")


def seal(descriptor: int) -> None:
    """Give an open file or folder to root. Only root can write it; its former account can still read it."""
    before = os.fstat(descriptor)
    os.fchown(descriptor, 0, 0)
    remove_entries(descriptor)
    mode = sealed_mode(before.st_mode, from_account=before.st_uid != 0)
    if mode != stat.S_IMODE(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, mode)


def remove_entries(descriptor: int) -> None:
    """Remove the access control lists of an open file or folder, which could let other accounts write."""
    for kind in (acl.ACCESS, acl.DEFAULT):
        with suppress(OSError):
            os.removexattr(descriptor, kind)


def sealed_mode(mode: int, from_account: bool = True) -> int:
    """The mode of a file that root takes over.

    Group permissions are copied to 'others', so that the application's account can still read the file.
    """
    return mode & 0o755 | (mode >> 3 & 0o005 if from_account else 0)


def has_writers(descriptor: int) -> bool:
    """Whether any process can write root's open file by a descriptor or a mapping that it has made before.

    The kernel grants a read lease only on a file that is open for writing nowhere. That includes descriptors on their
    way through a socket, which no list of open files shows. Raises OSError (EOPNOTSUPP) where the file system has no
    leases.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return True
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)) from error
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def holder_of(descriptor: int) -> str:
    """The process that has an open file open for writing, in words for a message."""
    wanted = os.fstat(descriptor)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    found = os.stat(f"/proc/{pid}/fd/{number}")
                    if os.path.samestat(found, wanted) and is_writable(pid, number):
                        return f"the process {pid}"
    return "a process"


def is_writable(pid: str, number: str) -> bool:
    with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as stream:
        flags = next((line.split()[1] for line in stream if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
