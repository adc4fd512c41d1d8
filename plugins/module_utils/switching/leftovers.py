# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Remove what an application has left outside its folders: processes, crontabs, public files, IPC objects."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence

from ansible_collections.pyweb.stack.plugins.module_utils.host.account_processes import end_processes, named, numbers_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.belongings import (
    PLACES,
    remove_files,
    remove_ipc,
    remove_schedules,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run, must
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import read
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    ReleaseError,
    accounts_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.retired_ids import PATH, retire

NO_LOGIN = "/usr/sbin/nologin"
# The most paths that a message names.
MOST_NAMED = 5
REMEDY = "Correct the cause, then run again"


def own_accounts(layout: Layout) -> list[pwd.struct_passwd]:
    """The accounts of an application that exist. An account with another home is not this collection's."""
    homes = [(entry, f"{entry.pw_dir}/") for entry in accounts_of(layout.name)]
    return [entry for entry, home in homes if home.startswith(f"{layout.home}/") and entry.pw_uid != 0]


def remove_leftovers(layout: Layout, run: Run, places: Sequence[str] = PLACES) -> list[str]:
    """End all processes of an application's accounts, then remove their files elsewhere; return what was found.

    Schedules, which could start processes again, are removed first.
    """
    accounts = own_accounts(layout)
    uids = {entry.pw_uid for entry in accounts}
    if not uids:
        return []
    found = [path for entry in accounts for path in remove_schedules(entry.pw_name)]
    try:
        ended = end_processes(uids, f"webapps '{layout.name}'")
    except HostError as error:
        raise ReleaseError(layout.name, str(error).partition(": ")[2]) from error
    for entry in accounts:
        end_user_manager(entry, run)
    found += remove_ipc(uids, run)
    files, problems = remove_files(uids, layout.root, places)
    found += shortened(files)
    if ended:
        found.insert(0, f"{len(ended)} processes: {named(ended)}")
    # Nothing can use these files: no other account gets the user ID.
    return found + [f"not searched: {problem}" for problem in shortened(problems)]


def end_user_manager(entry: pwd.struct_passwd, run: Run) -> None:
    """Let systemd forget the user manager of an account, whose processes have ended, and its runtime folder."""
    if os.path.isdir("/run/systemd/system") and os.path.isdir(f"/run/user/{entry.pw_uid}"):
        run(["systemctl", "stop", f"user@{entry.pw_uid}.service", f"user-runtime-dir@{entry.pw_uid}.service"])


def shortened(texts: list[str]) -> list[str]:
    rest = len(texts) - MOST_NAMED
    return texts[:MOST_NAMED] + ([f"{rest} more"] if rest > 0 else [])


def remove_accounts(layout: Layout, run: Run, accounts: list[pwd.struct_passwd]) -> None:
    """Remove accounts of an application, and their groups. No other account gets their IDs."""
    kept = {entry.pw_gid for entry in own_accounts(layout) if entry not in accounts}
    numbers = [number for entry in accounts for number in (entry.pw_uid, entry.pw_gid) if number not in kept]
    retire(numbers, PATH)
    for entry in accounts:
        name = entry.pw_name
        # A process that is left is one of a container, and another account there.
        force = ["--force"] if numbers_of(entry.pw_uid) else []
        must(run, f"Removing the account '{name}'", ["userdel", *force, name], REMEDY, error=HostError)
        # userdel leaves a group that has other members.
        if run(["getent", "group", name])[0] == 0:
            must(run, f"Removing the group '{name}'", ["groupdel", name], REMEDY, error=HostError)


def lock_accounts(layout: Layout, run: Run) -> list[str]:
    """Lock accounts that stay because they own data; return the names of those that were open."""
    opened = []
    for entry in own_accounts(layout):
        if entry.pw_shell != NO_LOGIN or not has_locked_password(entry.pw_name):
            command = ["usermod", "--lock", "--shell", NO_LOGIN, entry.pw_name]
            must(run, f"Locking the account '{entry.pw_name}'", command, REMEDY, error=HostError)
            opened.append(entry.pw_name)
    return opened


def has_locked_password(name: str, path: str = "/etc/shadow") -> bool:
    """Whether no password opens an account."""
    for line in lines_of((read(path) or b"").decode(errors="replace")):
        fields = line.split(":")
        if fields[0] == name and len(fields) > 1:
            return fields[1].startswith(("!", "*"))
    return False
