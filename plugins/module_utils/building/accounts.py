# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Create the account of an application with an ID that owns nothing, neither a file nor a process."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.account_processes import ids_of_processes
from ansible_collections.pyweb.stack.plugins.module_utils.host.belongings import CRONTABS, LINGER, PLACES
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError
from ansible_collections.pyweb.stack.plugins.module_utils.release.retired_ids import PATH, retired_ids

# The IDs that Debian gives to system accounts by itself, the first choice first.
IDS = range(999, 100, -1)
# The folders beside those of the applications that may hold files of an account.
FOLDERS = ("/etc/cron.d", "/etc/nginx", "/etc/supervisor", "/etc/systemd/system", "/var/lib/pyweb", "/var/log")
# Maximum number of files to check per application and folder. All files of a release belong to root.
MOST_ENTRIES = 5_000


def create(name: str, layout: Layout, run: Run, home: str = "", group: str = "", ids: Sequence[int] = IDS) -> None:
    """Create an account of an application, in a group of its own or in a given one. Raises ReleaseError.

    Its home is the application's folder, unless it has another.
    """
    if left := [path for folder in (CRONTABS, LINGER) if os.path.lexists(path := os.path.join(folder, name))]:
        raise ReleaseError(
            layout.name,
            f"an earlier account '{name}' has left {' and '.join(left)}, and the new account would use it. Read and "
            "remove it, then run again.",
        )
    command = ["useradd", "--system", *(["--gid", group] if group else ["--user-group"])]
    command += ["--no-create-home", "--home-dir", home or layout.home]
    error = ""
    for number in unowned_ids(layout, ids):
        status, _out, error = run([*command, "--shell", "/usr/sbin/nologin", "--uid", str(number), name])
        if status == 0:
            return
        # Another account may just have been created with that ID.
        if is_free(number):
            break
    else:
        error = error or (
            f"each user ID from {min(ids)} to {max(ids)} is in use, or owns files or processes of an earlier account. "
            "Find such files (find / -nouser) and remove them, then run again"
        )
    raise ReleaseError(layout.name, f"the account '{name}' could not be created: {error.strip().rstrip('.')}.")


def unowned_ids(layout: Layout, ids: Sequence[int] = IDS, record: str = PATH) -> Iterator[int]:
    """IDs that no account and no group has, and that own nothing; those of removed accounts last."""
    owned = owning_ids(layout)
    retired = retired_ids(record)
    fresh = [number for number in ids if number not in retired]
    for number in [*fresh, *(number for number in retired if number in ids)]:
        if number not in owned and is_free(number):
            yield number


def is_free(number: int) -> bool:
    """Whether neither an account nor a group has an ID."""
    with suppress(KeyError):
        return not pwd.getpwuid(number)
    with suppress(KeyError):
        return not grp.getgrgid(number)
    return True


def owning_ids(layout: Layout) -> set[int]:
    """The user and group IDs that own processes, or files in the folders of applications and in public folders."""
    found = ids_of_processes()
    for parent in (layout.root, layout.runtime_root):
        with suppress(FileNotFoundError):
            for name in os.listdir(parent):
                found |= ids_of_files(os.path.join(parent, name), contents=("releases", "venvs"))
    for folder in (*FOLDERS, *PLACES):
        found |= ids_of_files(folder)
    return found


def ids_of_files(top: str, contents: tuple[str, ...] = ()) -> set[int]:
    """The IDs of the owners below a folder, as far as the limit. Root's folders in ``contents`` are not searched."""
    found: set[int] = set()
    with suppress(OSError):
        for visit in trees.walk(os.path.realpath(top), trees.Budget(entries=MOST_ENTRIES)):
            for status in (os.fstat(visit.descriptor), *visit.files.values()):
                found |= {status.st_uid, status.st_gid}
            parts = visit.path.split("/")
            if parts[0] in contents and len(parts) == 2:
                visit.folders.clear()
    return found
