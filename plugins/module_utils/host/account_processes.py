# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Find and end the processes of accounts, also those that multiply, hide from their parents, or ignore signals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.forks import in_child

# Seconds that processes may take to end after SIGTERM, and after SIGKILL.
TERM_PATIENCE = 3.0
KILL_PATIENCE = 20.0
NOT_POSSIBLE = b"not possible"
# How often no process must be found in a row, where they can't be killed all at once.
LOOKS = 20
# Seconds for a child process to send a signal.
SIGNAL_PATIENCE = 2.0
# The most processes that a message names.
MOST_NAMED = 10


@dataclass(frozen=True)
class Process:
    """A process, by its ID and the name of its program."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.pid} ({self.name})"


def status_of(pid: str) -> dict[str, str]:
    """The fields of /proc/PID/status. The name of a process can have any character but a newline, also a return."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace", newline="\n") as stream:
        return dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)


def is_dead(status: dict[str, str]) -> bool:
    """Whether only the entry of a process is left, for its parent to read."""
    return status.get("State", "").startswith(("Z", "X"))


def processes_of(uids: Collection[int]) -> list[Process]:
    """The processes whose real, effective or saved user ID is one of these, except those of containers."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, KeyError, ValueError):
            status = status_of(pid)
            if has_id(status, uids) and not is_contained(pid):
                found.append(Process(int(pid), status["Name"]))
    return sorted(found, key=lambda process: process.pid)


def has_id(status: dict[str, str], uids: Collection[int]) -> bool:
    return not is_dead(status) and bool(set(map(int, status["Uid"].split()[:3])) & {*uids})


def is_contained(pid: str) -> bool:
    """Whether a process is in a container that root has made, in which the same ID is another account.

    Other accounts can make a namespace for processes only inside a namespace for users.
    """
    try:
        pids, users = (
            os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "user")
        )
    except OSError:
        return False
    return users and not pids


def ids_of_processes() -> set[int]:
    """All user and group IDs that processes have."""
    found: set[int] = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, KeyError, ValueError):
            status = status_of(pid)
            if not is_dead(status):
                found |= {int(number) for key in ("Uid", "Gid", "Groups") for number in status[key].split()}
    return found


def end_processes(uids: Collection[int], doing: str, patience: float = TERM_PATIENCE) -> list[str]:
    """End all processes of these accounts: first SIGTERM, then SIGKILL until none is left. Return what they were.

    They get ``patience`` seconds to end by SIGTERM. Raises HostError with the processes that are left. ``doing`` begins
    its message.
    """
    found: dict[int, str] = {}
    began = time.monotonic()
    sure = 0
    while (left := processes_of(uids)) or sure < LOOKS:
        new = [process for process in left if process.pid not in found]
        found.update({process.pid: str(process) for process in new})
        took = time.monotonic() - began
        if took > patience + KILL_PATIENCE:
            raise HostError(f"{doing}: {unended(left)}")
        if left and took < patience:
            for process in new:
                send(process.pid, uids, signal.SIGTERM)
                # A stopped process receives SIGTERM when it continues.
                send(process.pid, uids, signal.SIGCONT)
        else:
            kill(left, uids)
            answers = [kill_at_once(uid) for uid in uids]
            # Where a look has to do, one look can miss a process that is another one all the time.
            sure = 0 if left or b"" in answers else sure + (1 if NOT_POSSIBLE in answers else LOOKS)
        if left:
            time.sleep(0.02)
    return [found[pid] for pid in sorted(found)]


def unended(left: list[Process]) -> str:
    """The message about processes that do not end; ``left`` is empty if they are others at each look."""
    if not left:
        return (
            "its accounts start new processes all the time. They can't be killed all at once, because a container has "
            "processes with the same user ID. Stop that container, then run again."
        )
    return (
        f"{len(left)} processes of its accounts don't end, in spite of SIGKILL: {named([*map(str, left)])}. Find out "
        "what they wait for, such as a disk or a network file system that does not answer. Then run again."
    )


def kill(processes: list[Process], uids: Collection[int]) -> None:
    """Stop processes, so that they can't start others meanwhile, and kill them."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            send(process.pid, uids, number)


def send(pid: int, uids: Collection[int], number: int) -> None:
    """Send a signal to a process, if it is still one of these accounts."""
    with suppress(OSError, KeyError, ValueError):
        process = os.pidfd_open(pid)
        try:
            # The descriptor is of one process only, even if its number is used again. So this check holds.
            if has_id(status_of(str(pid)), uids):
                signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)


def kill_at_once(uid: int) -> bytes:
    """Kill all processes of an account in one system call, so that none of them can start another meanwhile.

    A child process that has become the account does it, so that no process of another account gets the signal. Return
    ``sent``, or empty if the account has killed or stopped the child. The call would reach into containers: return
    ``not possible`` if one has processes with the same ID, or if this process can't become the account.
    """
    if any(is_contained(pid) for pid in numbers_of(uid)):
        return NOT_POSSIBLE

    def kill_all() -> bytes:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(uid, uid, uid)
        except OSError:
            return NOT_POSSIBLE
        # With a capability, the signal would reach every process of the host.
        if uid == 0 or os.getresuid() != (uid, uid, uid) or int(status_of("self")["CapEff"], 16) != 0:
            return NOT_POSSIBLE
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return b"sent"

    return in_child(kill_all, SIGNAL_PATIENCE)


def numbers_of(uid: int) -> list[str]:
    """The processes with a user ID, also those of containers."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, KeyError, ValueError):
            if has_id(status_of(pid), [uid]):
                found.append(pid)
    return found


def named(texts: list[str]) -> str:
    """Some of these texts, and how many more there are."""
    rest = len(texts) - MOST_NAMED
    return ", ".join(texts[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
