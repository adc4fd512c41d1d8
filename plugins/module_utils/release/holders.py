# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The process that holds the lock of an application: what it does, and whether its run is gone.

A module keeps working when its run is gone: the controller was killed, or lost its connection. A release command has
no time limit, so the lock may then be held for long. Two signs show that a run is gone, and both are the kernel's: a
process between the module and the connection has ended, or no process reads what the module writes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout

HOLDER = ".holder"
MOST_BYTES = 64 * 1024
# Seconds within which a killed process must have ended.
PATIENCE = 10
# Programs at the host's end of a connection of SSH.
SSH = ("sshd", "sshd-session")


@dataclass(frozen=True)
class Process:
    """A process, identified by its start time as well: another process may get its ID later."""

    pid: int
    start: str

    @property
    def runs(self) -> bool:
        return bool(self.start) and start_of(self.pid) == self.start


@dataclass
class Holder:
    """A process with the lock. ``chain`` holds its ancestors, up to the end of its connection."""

    process: Process
    chain: list[Process] = field(default_factory=list)
    doing: str = ""


def fields_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stream:
        # The name of a program may contain anything, so the fields are counted after its last parenthesis.
        return stream.read().rpartition(b")")[2].decode("ascii").split()
    return []


def start_of(pid: int) -> str:
    """When a process started, in ticks since the boot; empty if it has ended."""
    found = fields_of(pid)
    return found[19] if len(found) > 19 and found[0] not in "ZX" else ""


def ancestors(pid: int) -> list[Process]:
    """The processes between a module and its connection, from its parent on.

    They end with sshd's process for this connection, or with Ansible itself on the same host. Their own parents may end
    earlier than a run: a shell, or the listening sshd. Of another connection, only the parent is known.
    """
    found: list[Process] = []
    fields = fields_of(pid)
    while len(fields) > 1 and int(fields[1]) > 1:
        parent = int(fields[1])
        fields = fields_of(parent)
        is_ansible = runs_ansible(parent)
        if found and not is_ansible and runs_ansible(found[-1].pid):
            return found
        found.append(Process(parent, start_of(parent)))
        if name_of(parent) in SSH:
            return found
    return found if found and runs_ansible(found[-1].pid) else found[:1]


def is_end(pid: int) -> bool:
    """Whether a process is the end of a connection, rather than between it and the module."""
    return name_of(pid) in SSH or runs_ansible(pid)


def name_of(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
        return stream.read().strip()
    return ""


def runs_ansible(pid: int) -> bool:
    """Whether a process is Ansible on the controller: its program, or a script that its interpreter runs."""
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as stream:
        words = stream.read(4096).split(b"\0")[:4]
        return any(os.path.basename(word).startswith(b"ansible") and b"/" in word for word in words)
    return False


def note(layout: Layout) -> None:
    """Record this process as the holder of the lock."""
    own = os.getpid()
    save(layout, Holder(Process(own, start_of(own)), ancestors(own)))


@contextmanager
def doing(layout: Layout, text: str) -> Iterator[None]:
    """Record what the holder of the lock does meanwhile."""
    holder = read(layout)
    if holder is None or holder.process.pid != os.getpid():
        yield
        return
    save(layout, Holder(holder.process, holder.chain, text))
    try:
        yield
    finally:
        save(layout, holder)


def save(layout: Layout, holder: Holder) -> None:
    """Write the record in place: a new file would change the folder, which the stamp watches."""
    data = json.dumps(asdict(holder)).encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    # A full disk does not stop a deployment. A record that is cut says nothing.
    with suppress(OSError):
        descriptor = os.open(layout.path(HOLDER), flags, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)


def read(layout: Layout) -> Holder | None:
    """The record of the holder; None if there is none, or if its process has ended."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        with open(layout.path(HOLDER), encoding="utf-8") as stream:
            found: dict[str, Any] = json.loads(stream.read(MOST_BYTES))
        chain = [Process(int(one["pid"]), str(one["start"])) for one in found["chain"]]
        holder = Holder(Process(int(found["process"]["pid"]), str(found["process"]["start"])), chain, found["doing"])
        if holder.process.runs:
            return holder
    return None


def doing_of(layout: Layout) -> tuple[str, int]:
    """The work of the holder of the lock, and its process; empty and 0 if that is unknown."""
    holder = read(layout)
    return (redacted(holder.doing), holder.process.pid) if holder else ("", 0)


def lost(layout: Layout) -> str | None:
    """The work of a holder whose run is gone; None if its run still exists, or if that is unknown."""
    holder = read(layout)
    if holder is None or not holds(layout, holder.process):
        return None
    is_gone = any(not one.runs for one in holder.chain)
    # A connection that stays open for the next run closes only its channel. Ansible's own output matters to no host.
    writers = [holder.process, *(one for one in holder.chain if not is_end(one.pid))]
    if not is_gone and not any(is_unread(one.pid) for one in writers):
        return None
    return redacted(holder.doing) or "the steps of a deployment"


def is_unread(pid: int) -> bool:
    """Whether the output of a process is a pipe that no process reads."""
    path = f"/proc/{pid}/fd/1"
    with suppress(OSError):
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            return False
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            poll = select.poll()
            poll.register(descriptor, 0)
            return any(event & select.POLLERR for _descriptor, event in poll.poll(0))
        finally:
            os.close(descriptor)
    return False


def holds(layout: Layout, process: Process) -> bool:
    """Whether a process has opened the file of the lock."""
    with suppress(OSError):
        wanted = os.stat(layout.path(".lock"))
        for name in os.listdir(f"/proc/{process.pid}/fd"):
            with suppress(OSError):
                if os.path.samestat(os.stat(f"/proc/{process.pid}/fd/{name}"), wanted):
                    return True
    return False


def end(layout: Layout) -> bool:
    """Kill the holder of the lock; return whether it has ended. The next holder ends the programs that it has left."""
    holder = read(layout)
    if holder is None:
        return True
    try:
        descriptor = os.pidfd_open(holder.process.pid)
    except ProcessLookupError:
        return True
    try:
        # The descriptor is of one process only, even if its ID is used again. So these checks hold.
        if not holder.process.runs or not holds(layout, holder.process):
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)
