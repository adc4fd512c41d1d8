# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The daemon supervisord as a process: whether it runs, how to start it, and what a killed one leaves running."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_plan import ProgramError
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import (
    Daemon,
    Rpc,
    kill_group,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemctl import Systemctl

REMEDY = "Look at `systemctl status supervisor` and at supervisord's log on the host."
# Seconds that a started daemon gets to answer.
START_TIMEOUT = 15
# The kernel's flag of a process that is about to end: it has lost its memory, but is no zombie yet.
PF_EXITING = 0x4


class Supervisord:
    """The daemon of this host. Where systemd is PID 1, it is the unit ``service``, unless that is empty."""

    def __init__(self, run: Run, daemon: Daemon, program: str, service: str) -> None:
        self.systemctl = Systemctl(run, ProgramError)
        self.daemon = daemon
        self.rpc = Rpc(daemon)
        self.program = program
        self.service = service if service and os.path.isdir("/run/systemd/system") else ""

    def unit(self) -> dict[str, str]:
        """The state of the daemon's unit; empty if it has none."""
        return self.systemctl.show(self.service, "ActiveState,UnitFileState,NeedDaemonReload") if self.service else {}

    def is_down(self) -> bool:
        """Whether the daemon has to be started. A second daemon must never run, so wait for one that is changing."""
        if self.rpc.alive():
            return False
        if not running_daemon(self.daemon):
            return True
        if not wait_for(lambda: self.rpc.alive() or not running_daemon(self.daemon), 20):
            raise ProgramError(
                f"Talking to supervisord: process {running_daemon(self.daemon)} does not answer at "
                f"{self.daemon.socket}. End it and run again."
            )
        return not self.rpc.alive()

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        if self.service:
            self._start_service()
        else:
            self._start_program()

    def _start_service(self) -> None:
        self.systemctl.try_to("reset-failed", self.service)
        self.systemctl.must("Starting the daemon", "start", self.service, remedy=REMEDY)
        if not wait_for(self.rpc.alive, START_TIMEOUT):
            raise ProgramError(
                f"Starting the daemon: {self.service} does not answer at {self.daemon.socket} within "
                f"{START_TIMEOUT} s. {REMEDY}"
            )

    def _start_program(self) -> None:
        argv = [self.program, "-c", self.daemon.config_file]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        with tempfile.TemporaryFile() as output:
            # The daemon and its programs get nothing of this session: no terminal, no pipes, no variables.
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                env={"PATH": path, "LANG": "C.UTF-8"},
            )
            answered = wait_for(lambda: self.rpc.alive() or process.poll() not in (None, 0), START_TIMEOUT)
            if not answered or not self.rpc.alive():
                output.seek(0)
                said = output.read().decode(errors="replace").strip() or "nothing"
                raise ProgramError(
                    f"Starting the daemon: `{' '.join(argv)}` does not answer at {self.daemon.socket}. "
                    f"Its output: {said}. Correct what it names and run again."
                )


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty if it can't be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            pairs = stream.read().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def kernel_state(pid: int) -> tuple[bytes, int]:
    """A process's state and kernel flags, see proc_pid_stat(5); ``(b"", 0)`` if there is no process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rsplit(b")", 1)[1].split()
        return fields[0], int(fields[6])
    except (OSError, IndexError):
        return b"", 0


def exists(pid: int) -> bool:
    """Whether a process exists and is no zombie, which only waits for its parent."""
    return kernel_state(pid)[0] not in (b"", b"Z")


def running_daemon(daemon: Daemon) -> int:
    """The process that the pid file names, 0 if there is none or it is something else.

    A daemon that is about to end still counts: it has lost its command line, but not yet its session and socket.
    """
    try:
        with open(daemon.pidfile, encoding="ascii") as stream:
            pid = int(stream.read())
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            command = stream.read()
    except (OSError, ValueError):
        return 0
    ending = not command and kernel_state(pid)[1] & PF_EXITING
    return pid if (b"supervisord" in command or ending) and exists(pid) else 0


def read_log(log: str) -> tuple[set[int], dict[int, str]]:
    """From supervisord's log: the PIDs of all daemons, and the programs that their children ran, by PID."""
    daemons = {int(pid) for pid in re.findall(r"supervisord started with pid (\d+)", log)}
    spawned = {int(pid): name for name, pid in re.findall(r"spawned: '([^']+)' with pid (\d+)", log)}
    return daemons, spawned


def orphans(daemon: Daemon) -> dict[int, str]:
    """Processes that a dead daemon on this socket has left running: process group -> program.

    A killed supervisord leaves its children running, and the next one starts a second copy of each. An orphan belongs
    to a session whose leader, the daemon, is gone. Its environment or the daemon's log names the daemon; in containers,
    root may not read the environment of other accounts' processes. A process with a session of its own is a daemon that
    a program has started, such as nginx. It is no orphan.
    """
    found: dict[int, str] = {}
    daemons, spawned = read_log(tail(daemon.logfile, 1 << 20))
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        pid = int(entry)
        with contextlib.suppress(ProcessLookupError):
            session, group = os.getsid(pid), os.getpgid(pid)
            if session in (0, pid) or group == os.getpgrp() or exists(session) or not exists(pid):
                continue
            environment = environment_of(pid)
            if environment.get("SUPERVISOR_SERVER_URL") == daemon.url:
                found[group] = environment.get("SUPERVISOR_GROUP_NAME", str(group))
            elif session in daemons and group in spawned:
                found[group] = spawned[group]
    return found


def end_orphans(daemon: Daemon, timeout: float) -> None:
    """End what a dead daemon left running: TERM to the masters, KILL to groups that outlive the timeout."""
    found = orphans(daemon)
    for group in found:
        with contextlib.suppress(ProcessLookupError):
            if exists(group):
                os.kill(group, signal.SIGTERM)
            else:
                os.killpg(group, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and orphans(daemon).keys() & found.keys():
        time.sleep(0.05)
    for group in orphans(daemon).keys() & found.keys():
        kill_group(group)
