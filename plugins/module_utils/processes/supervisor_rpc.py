# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Talk to supervisord by XML-RPC over its unix socket, with the standard library alone.

supervisorctl is not used: it answers in prose, exits with 0 for failures, and says "no such process" where no daemon
is.
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import http.client
import os
import re
import signal
import time
import xmlrpc.client
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.connections import UnixConnection

CONFIG_FILE = "/etc/supervisor/supervisord.conf"

# Faults of supervisor.xmlrpc.Faults that are an answer rather than an accident.
BAD_NAME = 10
NOT_RUNNING = 70
ALREADY_STARTED = 60
ALREADY_ADDED = 90
CANT_REREAD = 92

# A process in one of these states has no process of the operating system.
DOWN = frozenset({"STOPPED", "EXITED", "FATAL", "UNKNOWN"})
LIVE = frozenset({"STARTING", "RUNNING", "BACKOFF", "STOPPING"})

# The kernel's flag of a process that is about to end: it has no memory left, but it is no zombie yet.
PF_EXITING = 0x4


class SupervisorError(Exception):
    """supervisord can't be reached, or refused. The message is for people."""


@dataclass(frozen=True)
class Daemon:
    """What supervisord's own configuration file says about the daemon."""

    config_file: str
    socket: str
    pidfile: str
    logfile: str
    username: str = ""
    password: str = ""

    @property
    def url(self) -> str:
        """As supervisord tells it to its children in SUPERVISOR_SERVER_URL."""
        return f"unix://{self.socket}"


def read_parser(text: str) -> configparser.RawConfigParser:
    """Parse ini text by supervisor's rules, which are not the standard library's defaults."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    return parser


def read_daemon(config_file: str = CONFIG_FILE) -> Daemon:
    """Read where the daemon listens. Raises SupervisorError when the file is missing or offers no unix socket."""
    try:
        with open(config_file, encoding="utf-8") as stream:
            parser = read_parser(stream.read())
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        raise SupervisorError(
            f"Reading supervisor's configuration {config_file} failed: {error}. Install supervisor, or mend the file."
        ) from error
    here = os.path.dirname(os.path.abspath(config_file))

    def get(section: str, option: str, default: str = "") -> str:
        return parser.get(section, option, fallback=default).replace("%(here)s", here)

    path = get("unix_http_server", "file")
    if not path:
        raise SupervisorError(
            f"{config_file} has no [unix_http_server] with a file, so supervisord can't be told anything. "
            "Put Debian's section back: file=/var/run/supervisor.sock, chmod=0700."
        )
    return Daemon(
        config_file=config_file,
        socket=path,
        pidfile=get("supervisord", "pidfile", "/var/run/supervisord.pid"),
        logfile=get("supervisord", "logfile", "/var/log/supervisor/supervisord.log"),
        username=get("unix_http_server", "username"),
        password=get("unix_http_server", "password"),
    )


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, daemon: Daemon, timeout: float) -> None:
        headers = []
        if daemon.username:
            token = base64.b64encode(f"{daemon.username}:{daemon.password}".encode()).decode()
            headers = [("Authorization", f"Basic {token}")]
        super().__init__(headers=headers)
        self._daemon = daemon
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        # One connection for each call: supervisord closes idle ones, and a reused one would fail at random.
        return UnixConnection(self._daemon.socket, self._timeout)


class Rpc:
    """supervisord's ``supervisor.*`` methods; every accident is a SupervisorError, every refusal an xmlrpc Fault."""

    def __init__(self, daemon: Daemon, timeout: float = 30.0) -> None:
        self._daemon = daemon
        self._proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_UnixTransport(daemon, timeout))

    def call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise SupervisorError(
                f"supervisord does not answer at {self._daemon.socket} ({error}). "
                "Start it (systemctl start supervisor, or service supervisor start), or run the supervisor role again."
            ) from error
        except xmlrpc.client.ProtocolError as error:
            raise SupervisorError(
                f"supervisord answered {method} at {self._daemon.socket} with {error.errcode} {error.errmsg}. "
                "Its own log tells more: /var/log/supervisor/supervisord.log on Debian."
            ) from error

    def alive(self) -> bool:
        """Whether the daemon answers and is in its normal state, neither starting nor shutting down."""
        try:
            return self.call("getState")["statename"] == "RUNNING"
        except (SupervisorError, xmlrpc.client.Fault):
            return False

    def info(self, name: str) -> dict[str, Any] | None:
        """The daemon's view of one program, None where it does not know it."""
        try:
            return self.call("getProcessInfo", name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == BAD_NAME:
                return None
            raise

    def infos(self) -> dict[str, list[dict[str, Any]]]:
        """The daemon's view of all its processes, by the name of their group."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for info in self.call("getAllProcessInfo"):
            groups.setdefault(info["group"], []).append(info)
        return groups

    def reread(self) -> tuple[list[str], list[str], list[str]]:
        """Let the daemon read its files again, starting and stopping nothing. Groups: added, changed, removed."""
        added, changed, removed = self.call("reloadConfig")[0]
        return added, changed, removed

    def add(self, name: str) -> None:
        try:
            self.call("addProcessGroup", name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != ALREADY_ADDED:
                raise

    def start(self, name: str) -> None:
        """Begin to start one program; one that runs already is left alone."""
        try:
            self.call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != ALREADY_STARTED:
                raise

    def processes(self, name: str, only: set[str] | None = None) -> list[dict[str, Any]]:
        """The processes of a group, or those of its processes with these names."""
        return [info for info in self.infos().get(name, []) if only is None or info["name"] in only]

    def begin_stop(self, name: str, only: set[str] | None = None) -> list[dict[str, Any]]:
        """Ask a group's processes to end, without waiting; return those that ran."""
        processes = [info for info in self.processes(name, only) if info["statename"] in LIVE]
        for info in processes:
            if info["statename"] != "STOPPING":
                with contextlib.suppress(xmlrpc.client.Fault):  # gone in between
                    self.call("stopProcess", f"{name}:{info['name']}", False)
        return processes

    def stop(self, name: str, timeout: float, only: set[str] | None = None) -> None:
        """Stop a group's processes gracefully, wait until they are gone, and kill what outlives the timeout."""
        # supervisord refuses to stop a process that has just ended, and then starts it again.
        while any(may_restart(info) for info in self.processes(name, only)):
            time.sleep(0.03)
        self._end(name, timeout, only)

    def _end(self, name: str, timeout: float, only: set[str] | None = None) -> None:
        processes = self.begin_stop(name, only)
        deadline = time.monotonic() + timeout
        killed = False
        while any(info["statename"] in LIVE for info in self.processes(name, only)):
            if time.monotonic() > deadline:
                if killed:
                    raise SupervisorError(
                        f"Stopping the program {name}: it is still there after SIGKILL. "
                        "Look at it with ps; a process in state D waits for a disk or a network file system."
                    )
                for info in self.processes(name, only):
                    kill_group(info["pid"])
                killed = True
                deadline = time.monotonic() + 10
            time.sleep(0.03)
        for info in processes:
            # The master has gone; a worker that it left behind would serve the old release for ever.
            kill_group(info["pid"])

    def remove(self, name: str, timeout: float) -> None:
        """Stop a group and let the daemon forget it; a group it does not know is fine."""
        if name not in self.infos():
            return
        # Again where supervisord has started a process anew that had just ended.
        for _attempt in range(3):
            self._end(name, timeout)
            with contextlib.suppress(xmlrpc.client.Fault):
                self.call("removeProcessGroup", name)
            if name not in self.infos():
                return
        raise SupervisorError(f"Removing the program {name}: supervisord keeps it. Look at supervisorctl status.")


def may_restart(info: dict[str, Any]) -> bool:
    """Whether a process has ended by itself so recently that supervisord may be about to start it again.

    supervisord decides at its next look, within a second; it tells times in whole seconds.
    """
    return info["statename"] == "EXITED" and 0 <= info["now"] - info["stop"] <= 1


def kill_group(pid: int) -> None:
    """Kill a program's process group; supervisord makes each child the leader of its own. Never our own group."""
    if pid > 1 and pid != os.getpgrp():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _environment(pid: int) -> dict[str, str]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            pairs = stream.read().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _state(pid: int) -> tuple[bytes, int]:
    """A process's state and flags of the kernel, as proc_pid_stat(5) tells them; ``(b"", 0)`` where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rsplit(b")", 1)[1].split()
        return fields[0], int(fields[6])
    except (OSError, IndexError):
        return b"", 0


def exists(pid: int) -> bool:
    """Whether a process is there and no zombie, which only waits for its parent."""
    return _state(pid)[0] not in (b"", b"Z")


def running_daemon(daemon: Daemon) -> int:
    """The process that the pid file names, 0 where it is none or something else.

    One that is about to end still counts: it has lost its command line by then, but not yet its session and socket.
    """
    try:
        with open(daemon.pidfile, encoding="ascii") as stream:
            pid = int(stream.read())
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            command = stream.read()
    except (OSError, ValueError):
        return 0
    ending = not command and _state(pid)[1] & PF_EXITING
    return pid if (b"supervisord" in command or ending) and exists(pid) else 0


def tail(path: str, size: int) -> str:
    """The end of a text file, empty where there is none."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - size))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def read_log(log: str) -> tuple[set[int], dict[int, str]]:
    """What supervisord's log tells: PIDs of all daemons, and of their children with the program's name."""
    daemons = {int(pid) for pid in re.findall(r"supervisord started with pid (\d+)", log)}
    spawned = {int(pid): name for name, pid in re.findall(r"spawned: '([^']+)' with pid (\d+)", log)}
    return daemons, spawned


def orphans(daemon: Daemon) -> dict[int, str]:
    """What a dead daemon on this socket has left running: process group -> program.

    A killed supervisord leaves its children alone, and the next one starts a second copy of each. They belong to a
    session whose leader, the daemon, is gone, and either their environment tells of it, which a container's root may
    not read for other accounts, or the daemon's log does. A process with a session of its own is a daemon that some
    program has started, such as nginx: nothing of supervisor's.
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
            environment = _environment(pid)
            if environment.get("SUPERVISOR_SERVER_URL") == daemon.url:
                found[group] = environment.get("SUPERVISOR_GROUP_NAME", str(group))
            elif session in daemons and group in spawned:
                found[group] = spawned[group]
    return found


def end_orphans(daemon: Daemon, timeout: float) -> list[str]:
    """End what a dead daemon left behind: TERM to the masters, KILL to the groups that outlive the timeout."""
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
    return sorted(set(found.values()))
