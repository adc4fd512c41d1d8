# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Talk to supervisord by XML-RPC over its unix socket, with the standard library alone.

supervisorctl is not used: it answers in prose, exits with 0 for failures, and says "no such process" if there is no
daemon.
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import http.client
import os
import signal
import time
import xmlrpc.client
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.connections import UnixConnection

CONFIG_FILE = "/etc/supervisor/supervisord.conf"

# Codes of supervisor.xmlrpc.Faults that this collection handles.
BAD_NAME = 10
ALREADY_STARTED = 60
ALREADY_ADDED = 90
CANT_REREAD = 92

# States in which a process of the operating system runs, or is about to.
LIVE = frozenset({"STARTING", "RUNNING", "BACKOFF", "STOPPING"})


class SupervisorError(HostError):
    """supervisord can't be reached, or did not do what it was asked."""


@dataclass(frozen=True)
class Daemon:
    """The settings of the daemon in supervisord's configuration file."""

    config_file: str
    socket: str
    pidfile: str
    logfile: str
    username: str = ""
    password: str = ""

    @property
    def url(self) -> str:
        """The value of SUPERVISOR_SERVER_URL in the environment of supervisord's children."""
        return f"unix://{self.socket}"


def read_parser(text: str) -> configparser.RawConfigParser:
    """Parse an ini file by supervisor's rules, which differ from the standard library's defaults."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    return parser


def read_daemon(config_file: str = CONFIG_FILE) -> Daemon:
    """Read where the daemon listens. Raises SupervisorError if the file is missing or names no unix socket."""
    try:
        with open(config_file, encoding="utf-8") as stream:
            parser = read_parser(stream.read())
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        raise SupervisorError(
            f"Reading supervisor's configuration {config_file}: {error}. Install supervisor, or correct the file."
        ) from error
    here = os.path.dirname(os.path.abspath(config_file))

    def get(section: str, option: str, default: str = "") -> str:
        return parser.get(section, option, fallback=default).replace("%(here)s", here)

    path = get("unix_http_server", "file")
    if not path:
        raise SupervisorError(
            f"{config_file} has no [unix_http_server] with a file, so supervisord takes no commands. "
            "Restore Debian's section: file=/var/run/supervisor.sock, chmod=0700."
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
        # Use a new connection for each call. supervisord closes idle ones, so a reused one would fail at random.
        return UnixConnection(self._daemon.socket, self._timeout)


class Rpc:
    """supervisord's ``supervisor.*`` methods. A refusal is an xmlrpc Fault, every other failure a SupervisorError."""

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
                "Look at its log: /var/log/supervisor/supervisord.log on Debian."
            ) from error

    def alive(self) -> bool:
        """Whether the daemon answers and is in its normal state, neither starting nor shutting down."""
        try:
            return bool(self.call("getState")["statename"] == "RUNNING")
        except (SupervisorError, xmlrpc.client.Fault):
            return False

    def info(self, name: str) -> dict[str, Any] | None:
        """The daemon's information about one program; None if it does not know the program."""
        try:
            found: dict[str, Any] = self.call("getProcessInfo", name)
            return found
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == BAD_NAME:
                return None
            raise

    def infos(self) -> dict[str, list[dict[str, Any]]]:
        """The daemon's information about all its processes, by the name of their group."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for info in self.call("getAllProcessInfo"):
            groups.setdefault(info["group"], []).append(info)
        return groups

    def reread(self) -> tuple[list[str], list[str], list[str]]:
        """Let the daemon read its files, but start and stop nothing. Returns the added, changed and removed groups."""
        added, changed, removed = self.call("reloadConfig")[0]
        return added, changed, removed

    def add(self, name: str) -> None:
        try:
            self.call("addProcessGroup", name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != ALREADY_ADDED:
                raise

    def start(self, name: str) -> None:
        """Begin to start one program. A running program is left alone."""
        try:
            self.call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != ALREADY_STARTED:
                raise

    def processes(self, name: str, only: set[str] | None = None) -> list[dict[str, Any]]:
        """The processes of a group, or those of its processes with these names."""
        return [info for info in self.infos().get(name, []) if only is None or info["name"] in only]

    def begin_stop(self, name: str, only: set[str] | None = None) -> list[dict[str, Any]]:
        """Ask a group's processes to end, without waiting. Returns those that were running."""
        processes = [info for info in self.processes(name, only) if info["statename"] in LIVE]
        for info in processes:
            if info["statename"] != "STOPPING":
                with contextlib.suppress(xmlrpc.client.Fault):  # it may have ended in between
                    self.call("stopProcess", f"{name}:{info['name']}", False)
        return processes

    def stop(self, name: str, timeout: float, only: set[str] | None = None) -> None:
        """Stop a group's processes gracefully, wait until they are gone, and kill those that outlive the timeout."""
        # supervisord refuses to stop a process that has just ended, and may then start it again.
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
            # The master is gone. A worker that it left behind would serve the old release forever.
            kill_group(info["pid"])

    def remove(self, name: str, timeout: float) -> None:
        """Stop a group and remove it from the daemon. An unknown group is no error."""
        if name not in self.infos():
            return
        # supervisord may restart a process that had just ended, so try again.
        for _attempt in range(3):
            self._end(name, timeout)
            with contextlib.suppress(xmlrpc.client.Fault):
                self.call("removeProcessGroup", name)
            if name not in self.infos():
                return
        raise SupervisorError(f"Removing the program {name}: supervisord still lists it. Look at supervisorctl status.")


def may_restart(info: dict[str, Any]) -> bool:
    """Whether a process has ended by itself so recently that supervisord may be about to restart it.

    supervisord decides that at its next look, within a second. It reports times in whole seconds.
    """
    return bool(info["statename"] == "EXITED" and 0 <= info["now"] - info["stop"] <= 1)


def kill_group(pid: int) -> None:
    """Kill a program's process group, but never our own. supervisord makes each child the leader of a group."""
    if pid > 1 and pid != os.getpgrp():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
