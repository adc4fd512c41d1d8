# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The guard: a process on the host that reverts provisional switches when their run does not decide in time.

It is a copy of the module's process, so all code that it needs is in its memory: Ansible removes the module's files. It
survives the end of the run, of the connection, and of the session. Without a lease, it ends.
"""

from __future__ import annotations

import os
import signal
import syslog
import time
from collections.abc import Iterable
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run
from ansible_collections.pyweb.stack.plugins.module_utils.release.holders import Process, start_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import PROVISIONAL, Lease, read_lease
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import Busy, lock, settings
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.settlement import settle

# The name of the process.
NAME = "pyweb-guard"
# Seconds between two looks at the leases.
INTERVAL = 1.0
# Seconds until a failed revert is tried again.
RETRY = 10.0
SYSTEMD = "/run/systemd/system"
BUS = "/run/dbus/system_bus_socket"


class GuardError(HostError):
    """The guard can't be started, so no switch may be provisional."""


def start(layouts: list[Layout], identity: str, run: Run) -> Process:
    """Start the guard of a run, for the applications that this call switches. Raises GuardError.

    Call it before any thread starts: a copy of a process contains no other threads, but the locks that they hold.
    """
    own = Process(os.getpid(), start_of(os.getpid()))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        # The first child ends at once. So the guard has no parent that waits for it.
        try:
            os.setsid()
            if os.fork() == 0:
                be_guard(writing, layouts, identity, own, run)
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    try:
        text = os.read(reading, 32)
    finally:
        os.close(reading)
    guard = Process(int(text or 0), start_of(int(text or 0)))
    if not guard.runs:
        raise GuardError("the guard of its provisional switch could not be started. Run again.")
    try:
        leave_session(guard, run)
    except GuardError:
        with suppress(ProcessLookupError):
            os.kill(guard.pid, signal.SIGKILL)
        raise
    return guard


def leave_session(guard: Process, run: Run) -> None:
    """Move the guard into a scope of its own: logind may end all processes of a session with its connection."""
    if not (os.path.isdir(SYSTEMD) and os.path.exists(BUS)):
        # Without the bus, there is no logind.
        return
    scope = f"{NAME}-{guard.pid}-{guard.start}.scope"
    call = ["busctl", "call", "--quiet", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"]
    call += ["org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", scope, "fail", "3"]
    call += ["PIDs", "au", "1", str(guard.pid)]
    call += ["Description", "s", "Guard of provisional switches (pyweb.stack)"]
    call += ["CollectMode", "s", "inactive-or-failed", "0"]
    status, out, err = run(call)
    if status != 0:
        raise GuardError(
            "the guard of its provisional switch could not get a systemd scope, so it could end with this connection: "
            f"`busctl call` failed with {status}: {(err or out).strip()}. Look at the state of systemd and D-Bus."
        )


def be_guard(writing: int, layouts: list[Layout], identity: str, module: Process, run: Run) -> None:
    """Detach from everything of the module, then watch."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        # Not closed: objects of the module know these numbers, which must not lead to other files later.
        if descriptor != writing:
            with suppress(OSError):
                os.dup2(null, descriptor)
    os.chdir("/")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    with suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as stream:
        stream.write(NAME)
    syslog.openlog(NAME, syslog.LOG_PID)
    settings.run, settings.end_lost, settings.settle = identity, False, None
    os.write(writing, str(os.getpid()).encode())
    os.close(writing)
    watch(layouts, identity, module, run)


def watch(layouts: Iterable[Layout], identity: str, module: Process, run: Run) -> None:
    """Wait until no application has a lease of this run, and revert those that expire."""
    layouts = list(layouts)
    retry_at: dict[str, float] = {}
    while True:
        may_take_leases = module.runs
        left = [(layout, lease) for layout in layouts if (lease := lease_of(layout, identity))]
        if not left and not may_take_leases:
            return
        for layout, lease in left:
            if is_due(lease) and time.monotonic() >= retry_at.get(layout.name, 0.0) and not decide(layout, lease, run):
                retry_at[layout.name] = time.monotonic() + RETRY
        time.sleep(INTERVAL)


def lease_of(layout: Layout, identity: str) -> Lease | None:
    try:
        lease = read_lease(layout)
    except (ReleaseError, OSError):
        # No process can decide about a damaged one. The next run reports it.
        return None
    return lease if lease is not None and lease.run == identity else None


def is_due(lease: Lease) -> bool:
    """Whether to look at a lease under the lock: it has expired, or the process that holds the lock may have died."""
    return lease.state != PROVISIONAL or not lease.is_valid


def decide(layout: Layout, seen: Lease, run: Run) -> bool:
    """End a lease that has expired or was left by a killed process. Return False to try it again later."""
    try:
        with lock(layout, seen.owner, patience=0):
            lease = lease_of(layout, seen.run)
            if lease is not None and is_due(lease):
                syslog.syslog(syslog.LOG_WARNING, f"{layout.name}: {settle(layout, lease, run)}")
    except Busy:
        # The process that holds the lock decides.
        return True
    except Exception as error:
        syslog.syslog(syslog.LOG_ERR, f"{layout.name}: the provisional switch could not be ended: {error}")
        return False
    return True
