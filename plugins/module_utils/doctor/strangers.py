# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Try, as each other account, what it must not be able to do to an application. Changes nothing.

The accounts are those of the other applications, and ``nobody``. One child process for each account tries it with the
files and processes of all applications. It needs root.
"""

from __future__ import annotations

import glob
import json
import os
import pwd
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.exposure import readable_below
from ansible_collections.pyweb.stack.plugins.module_utils.host.account_processes import processes_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.forks import in_child
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, accounts_of

# Seconds for the tries of one account, and of all accounts.
PATIENCE = 15.0
MOST_SECONDS = 60.0
# The most processes of an application that each account tries.
MOST_PROCESSES = 50
KINDS = ("exposed", "reached", "unread")
# The logs of an application, and those of all services.
LOGS = ("/var/log/supervisor/{0}[-.]*", "/var/log/nginx/{0}.*")
JOURNALS = ("/var/log/journal/*/*.journal", "/run/log/journal/*/*.journal")


@dataclass
class Target:
    """An application: its folders, single files that are private, and the IDs of its processes."""

    name: str
    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Stranger:
    """An account, and the application that it belongs to; ``nobody`` belongs to none."""

    name: str
    uid: int
    groups: list[int]
    application: str


def target_of(layout: Layout, private: Iterable[str] = (), logs: tuple[str, ...] = (*LOGS, *JOURNALS)) -> Target:
    """The things of an application that others try. ``private`` are files in public folders that have its secrets."""
    found = Target(layout.name, [layout.home], [*private])
    with suppress(FileNotFoundError):
        # The folders of sockets have the application's name, or begin with it and a dot.
        names = [name for name in os.listdir(layout.runtime_root) if name.partition(".")[0] == layout.name]
        found.folders += [os.path.join(layout.runtime_root, name) for name in sorted(names)]
    found.folders = [path for path in found.folders if os.path.isdir(path)]
    for pattern in logs:
        found.files += sorted(glob.glob(pattern.format(glob.escape(layout.name))))
    uids = [entry.pw_uid for entry in accounts_of(layout.name)]
    found.processes = [process.pid for process in processes_of(uids)][:MOST_PROCESSES]
    return found


def strangers(root: str) -> list[Stranger]:
    """The accounts of all applications below a folder, and ``nobody``."""
    found = []
    for entry in {entry.pw_name: entry for entry in pwd.getpwall()}.values():
        application = entry.pw_dir[len(root) + 1 :].partition("/")[0] if entry.pw_dir.startswith(f"{root}/") else ""
        if entry.pw_uid != 0 and (application or entry.pw_name == "nobody"):
            groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
            found.append(Stranger(entry.pw_name, entry.pw_uid, groups, application))
    return sorted(found, key=lambda one: not one.application)


def look_at_strangers(targets: list[Target], accounts: list[Stranger]) -> dict[str, dict[str, dict[str, str]]]:
    """For each application, the first ``exposed`` file and the first ``reached`` process, each with the account.

    ``unread`` says which search was not completed. Where there is nothing, the entry is empty.
    """
    found: dict[str, dict[str, dict[str, str]]] = {one.name: {kind: {} for kind in KINDS} for one in targets}
    if os.geteuid() != 0:
        return found
    until = time.monotonic() + MOST_SECONDS
    for account in accounts:
        others = [one for one in targets if one.name != account.application]
        answer = tried(others, account, min(PATIENCE, until - time.monotonic()))
        for name, kinds in answer.items():
            for kind, what in kinds.items():
                if what and not found[name][kind]:
                    found[name][kind] = {"path": what, "account": account.name}
    return found


def tried_by(target: Target, accounts: list[Stranger]) -> list[str]:
    """The accounts that try to reach an application; none without root."""
    return [one.name for one in accounts if one.application != target.name] if os.geteuid() == 0 else []


def tried(targets: list[Target], account: Stranger, patience: float) -> dict[str, dict[str, str]]:
    """The first file and the first process of each application that one account reaches."""
    if not targets:
        return {}

    def attempt() -> bytes:
        try:
            return json.dumps(reached_by(targets, account)).encode()
        except OSError as error:
            return json.dumps({one.name: {"exposed": f"{one.name} ({error})"} for one in targets}).encode()

    answer = in_child(attempt, patience) if patience > 0 else b""
    if not answer:
        # The account's own processes can stop this one, as it has the same user ID.
        why = "not tried: the child process did not answer in time. Does a process of this account stop others?"
        return {one.name: {"exposed": why} for one in targets}
    found: dict[str, dict[str, str]] = json.loads(answer)
    return found


def reached_by(targets: list[Target], account: Stranger) -> dict[str, dict[str, str]]:
    """Become an account for good, and find what it reaches. For a child process."""
    os.setgroups(account.groups)
    # access() checks the real account. The effective one stays root at first, which can list everything.
    os.setresgid(account.groups[0], 0, 0)
    os.setresuid(account.uid, 0, 0)
    found = {}
    for one in targets:
        unread: list[str] = []
        found[one.name] = {"exposed": first_exposed(one, unread), "reached": "", "unread": "; ".join(unread)}
    os.setresgid(account.groups[0], account.groups[0], account.groups[0])
    os.setresuid(account.uid, account.uid, account.uid)
    for one in targets:
        attempts = (reached(pid) for pid in one.processes)
        found[one.name]["reached"] = next((what for what in attempts if what), "")
    return found


def first_exposed(target: Target, unread: list[str]) -> str:
    """The first file of an application that the real account of this process can read, list or connect to."""
    for folder in target.folders:
        if path := readable_below(folder, unread):
            return path
    return next((path for path in target.files if os.access(path, os.R_OK)), "")


def reached(pid: int) -> str:
    """The thing that the account of this process can do to another process; empty if there is none."""
    for name, what in (("environ", "read its environment"), ("mem", "trace it and read its memory")):
        # The kernel lets a process open both exactly where it could also trace the other one.
        with suppress(OSError):
            os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC))
            return f"process {pid}: {what}"
    with suppress(OSError):
        os.kill(pid, 0)
        return f"process {pid}: send it signals"
    return ""
