# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Remove what accounts own outside their folders: files in public folders, IPC objects, tables of cron, jobs of at."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

# The folders in which any account can create files, or in which system programs keep files for it. Each is searched on
# its own file system only.
PLACES = (
    "/dev/shm",  # noqa: S108  # searched, not used
    "/dev/mqueue",
    "/tmp",  # noqa: S108  # searched, not used
    "/var/tmp",  # noqa: S108  # searched, not used
    "/run",
    "/run/lock",
    "/var/spool/cron",
)
CRONTABS = "/var/spool/cron/crontabs"
LINGER = "/var/lib/systemd/linger"
# Maximum number of files to search per place.
MOST_ENTRIES = 1_000_000
# The tables of System V objects, with the column of their ID and the option of ipcrm.
SYSTEM_V = (("shm", "shmid", "--shmem-id"), ("sem", "semid", "--semaphore-id"), ("msg", "msqid", "--queue-id"))


def remove_files(
    uids: Collection[int], spared: str = "", places: Sequence[str] = PLACES
) -> tuple[list[str], list[str]]:
    """Remove the files and folders of accounts in public folders; return the removed paths, and what was not searched.

    The folder ``spared`` is left out: the one of the applications, which may be in a public one. The accounts must no
    longer have processes. Other accounts may change their own folders meanwhile. So each entry is removed by the
    descriptor of its folder, and no link is followed.
    """
    removed: list[str] = []
    problems: list[str] = []
    mounts = mount_points()
    spared = os.path.realpath(spared) if spared else ""
    for place in dict.fromkeys(map(os.path.realpath, places)):
        try:
            for visit in trees.walk(place, trees.Budget(entries=MOST_ENTRIES)):
                if spared == os.path.join(place, visit.path):
                    visit.folders.clear()
                elif not visit.leaving:
                    remove_from(visit, place, uids, mounts, removed, problems)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"{error.filename or place}: {error.strerror}")
    return removed, problems


def remove_from(
    visit: trees.Visit,
    place: str,
    uids: Collection[int],
    mounts: set[str],
    removed: list[str],
    problems: list[str],
) -> None:
    """Remove the accounts' entries of one folder, and leave out the folders that need no visit."""
    device = os.fstat(visit.descriptor).st_dev
    for name, status in sorted(visit.files.items()):
        if status.st_uid in uids:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=visit.descriptor)
                removed.append(os.path.join(place, visit.below(name)))
    for name in list(visit.folders):
        path = os.path.join(place, visit.below(name))
        try:
            status = os.stat(name, dir_fd=visit.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            continue
        is_own = status.st_uid in uids
        is_deep = visit.path.count("/") >= trees.DEEPEST - 2
        if not is_own and status.st_dev == device and not is_deep:
            continue
        visit.folders.remove(name)
        if is_own and any(point == path or point.startswith(f"{path}/") for point in mounts):
            problems.append(f"{path}: a file system is mounted in it")
        elif is_own:
            trees.remove(name, folder=visit.descriptor)
            removed.append(path)
        elif is_deep:
            problems.append(f"{path}: it is more than {trees.DEEPEST - 2} folders deep")


def mount_points() -> set[str]:
    """The folders on which file systems are mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        fields = [line.split(" ") for line in lines_of(stream.read())]
    # The kernel writes a space, a tab, a newline and a backslash as octal numbers.
    codes = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}
    found = set()
    for line in fields:
        path = line[4] if len(line) > 4 else "/"
        for code, character in codes.items():
            path = path.replace(code, character)
        found.add(path)
    return found


def remove_ipc(uids: Collection[int], run: Run) -> list[str]:
    """Remove the System V objects that accounts own or have created; return them."""
    removed = []
    for kind, identity, option in ipc_objects(uids):
        if run(["ipcrm", option, identity])[0] == 0:
            removed.append(f"System V object {kind} {identity}")
    return removed


def ipc_objects(uids: Collection[int]) -> list[tuple[str, str, str]]:
    """The System V objects of accounts: kind, ID, and the option by which ipcrm removes it."""
    found = []
    for kind, column, option in SYSTEM_V:
        with suppress(FileNotFoundError), open(f"/proc/sysvipc/{kind}", encoding="ascii") as stream:
            rows = [line.split() for line in stream]
            for row in rows[1:]:
                entry = dict(zip(rows[0], row))
                if {int(entry["uid"]), int(entry["cuid"])} & {*uids}:
                    found.append((kind, entry[column], option))
    return found


def remove_schedules(name: str, folders: Sequence[str] = (CRONTABS, LINGER)) -> list[str]:
    """Remove the crontab of an account, and the file by which systemd starts its user manager; return their paths.

    Its jobs of at are files of the account: see remove_files.
    """
    removed = []
    for folder in folders:
        path = os.path.join(folder, name)
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)
            removed.append(path)
    return removed
