# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""POSIX access control lists, read and written as the kernel's extended attributes.

The folders of an application are for its own account and for nginx. A mode has no place for a second group.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"

# The kinds of entries, in the order in which the kernel expects them.
OWNER, USER, OWNING_GROUP, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
# The ID of an entry that needs none.
NOBODY = 0xFFFFFFFF
VERSION = 2

# Tag, rights (4 read, 2 write, 1 pass), ID.
Entry = tuple[int, int, int]


def encode(entries: Iterable[Entry]) -> bytes:
    return struct.pack("<I", VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries))


def decode(data: bytes) -> list[Entry]:
    return [struct.unpack_from("<HHI", data, at) for at in range(4, len(data), 8)]


def is_supported(path: str) -> bool:
    """Whether the file system of a path supports access control lists. The path need not exist."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    try:
        os.getxattr(path, ACCESS)
    except OSError as error:
        return error.errno == errno.ENODATA
    return True


def entries_of(path: str, kind: str = ACCESS) -> list[Entry]:
    """The entries of a path; none where it has no access control list."""
    try:
        return sorted(decode(os.getxattr(path, kind)))
    except OSError:
        return []


def may(
    mode: int, owner: int, group: int, uid: int, groups: Iterable[int], wanted: int, entries: Iterable[Entry] = ()
) -> bool:
    """Whether an account has a right (4 read, 2 write, 1 pass), as the kernel decides. Root has all rights."""
    if uid == 0:
        return True
    if uid == owner:
        return bool(mode >> 6 & wanted)
    groups, entries, limit = set(groups), list(entries), mode >> 3 & 7
    named = [rights for tag, rights, number in entries if tag == USER and number == uid]
    if not named:
        named = [rights for tag, rights, number in entries if tag == GROUP and number in groups]
        if group in groups:
            named += [rights for tag, rights, _number in entries if tag == OWNING_GROUP] or [limit]
    if named:
        return any(rights & limit & wanted for rights in named)
    return bool(mode & wanted)


def permits(path: str, uid: int, groups: Iterable[int], wanted: int) -> bool:
    """Whether an account has a right to a path. Raises OSError for a missing path."""
    found = os.stat(path)
    return may(found.st_mode, found.st_uid, found.st_gid, uid, groups, wanted, entries_of(path))


def entries_for(mode: int, group: int | None, rights: int, found: Iterable[Entry] = ()) -> list[Entry]:
    """The entries of a folder with this mode and the rights of one more group. Entries of an operator are kept."""
    named = [entry for entry in found if entry[0] == USER or (entry[0] == GROUP and entry[2] != group)]
    named += [] if group is None else [(GROUP, rights, group)]
    mask = mode >> 3 & 7
    for _tag, granted, _number in named:
        mask |= granted
    base = [(OWNER, mode >> 6 & 7, NOBODY), (OWNING_GROUP, mode >> 3 & 7, NOBODY), (OTHER, mode & 7, NOBODY)]
    return sorted([*base, *named, *([(MASK, mask, NOBODY)] if named else [])])


def ensure_folder(
    path: str, owner: int, group: int, mode: int, passing: int | None = None, check_mode: bool = False
) -> bool:
    """Create a folder, or correct its owner, group and mode; the group ``passing`` may pass through it.

    Return whether something differed. The parent folder must belong to root.
    """
    if not os.path.isdir(path):
        if check_mode:
            return True
        os.mkdir(path, 0o700)
    status, found = os.stat(path), entries_of(path)
    wanted = entries_for(mode, passing, 1, found)
    # The mode shows the mask in place of the rights of the owning group.
    shown = mode & ~0o070 | max((rights for tag, rights, _number in wanted if tag == MASK), default=mode >> 3 & 7) << 3
    kept = found or entries_for(status.st_mode, None, 0)
    if (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), kept) == (owner, group, shown, wanted):
        return False
    if not check_mode:
        # The owner is changed first, the mode last, so that no other account passes in between.
        os.chown(path, owner, group)
        os.setxattr(path, ACCESS, encode(wanted))
        os.chmod(path, shown)
    return True
