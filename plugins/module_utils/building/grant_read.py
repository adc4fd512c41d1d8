# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A program that lets one more group read a folder below ``shared/`` and what is in it, now and later.

It runs by itself, as the application's account: root would follow whatever link that account has put there. It needs
the standard library alone. It grants no right that the account has withheld from its own group, and it closes what it
opens to all other accounts.
"""

from __future__ import annotations

import os
import stat
import struct
import sys

# The kinds of entries of an access control list, see host/acl.py.
OWNER, OWNING_GROUP, GROUP, MASK, OTHER = 1, 4, 8, 16, 32
NOBODY = 0xFFFFFFFF
READ, PASS, READ_AND_PASS = 4, 1, 5


def access_list(owner: int, owning_group: int, group: int, rights: int) -> bytes:
    entries = [
        (OWNER, owner, NOBODY),
        (OWNING_GROUP, owning_group, NOBODY),
        (GROUP, rights, group),
        (MASK, owning_group | rights, NOBODY),
        (OTHER, 0, NOBODY),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def grant(path: str, group: int, rights: int) -> None:
    """Add the group's rights to those of the owner and the owning group."""
    mode = os.lstat(path).st_mode
    found = access_list(mode >> 6 & 7, mode >> 3 & 7, group, rights)
    os.setxattr(path, "system.posix_acl_access", found, follow_symlinks=False)


def open_folders(folder: str, group: int) -> None:
    """Let the group read the folder, all folders below it, and every file that the owning group can read."""
    waiting, folders = [folder], []
    while waiting:
        path = waiting.pop()
        folders.append(path)
        with os.scandir(path) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if found.st_uid != os.getuid():
                    continue
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(entry.path)
                elif stat.S_ISREG(found.st_mode) and found.st_mode & 0o040:
                    grant(entry.path, group, READ)
    wanted = access_list(7, READ_AND_PASS, group, READ_AND_PASS)
    # The folder itself comes last: once it is open, all of it is.
    for path in reversed(folders):
        os.setxattr(path, "system.posix_acl_access", wanted)
        os.setxattr(path, "system.posix_acl_default", wanted)


def main(shared: str, folder: str, group: int) -> None:
    os.makedirs(folder, exist_ok=True)
    parent = os.path.dirname(folder)
    while parent != shared:
        grant(parent, group, PASS)
        parent = os.path.dirname(parent)
    open_folders(folder, group)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
