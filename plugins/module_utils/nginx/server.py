# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An instance of nginx: its program and its processes. It is tested, started and reloaded, with or without systemd."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass, field

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import listeners
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import processes
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.complaints import holders, taken_ports
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.conditions import (
    NEWEST,
    OLDEST,
    program_facts,
    program_version,
)
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.trees import LOADED, Trees

UNIT = "nginx.service"
RELOAD_TIMEOUT = 30.0  # seconds; nginx itself gives up on a taken port after 2.5
START_TIMEOUT = 10.0  # seconds from the end of the start command to a master with workers
INTERVAL = 0.01  # seconds; a reload takes some 50 ms


def find_program() -> str | None:
    """The path of the program; None where nginx is not installed."""
    return shutil.which("nginx", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', os.defpath)}")


def has_ipv6() -> bool:
    """Whether this kernel can open IPv6 sockets."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


@dataclass
class Logs:
    """The new lines of error logs, so that only those of this attempt are read."""

    paths: list[str]
    sizes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.paths:
            self.sizes[path] = os.path.getsize(path) if os.path.exists(path) else 0

    def emergencies(self) -> str:
        """The lines with the reason why nginx gave up, each once."""
        lines: list[str] = []
        for path in self.paths:
            with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
                if os.path.getsize(path) >= self.sizes[path]:
                    stream.seek(self.sizes[path])
                lines += [line.rstrip("\n") for line in stream if "[emerg]" in line]
        return "\n".join(dict.fromkeys(lines))


@dataclass
class Unit:
    """The state of systemd's unit of nginx. Without systemd nothing is missing."""

    active: bool = True
    enabled: bool = True
    needs_daemon_reload: bool = False


class Nginx:
    """One instance of nginx."""

    def __init__(
        self, binary: str | None, conf_dir: str, pid_file: str, error_log: str, systemd: bool, trees: Trees, run: Run
    ) -> None:
        self.binary = binary
        self.conf_dir = conf_dir
        self.pid_file = pid_file
        self.error_log = error_log
        self.systemd = systemd
        self.trees = trees
        self.run = run

    @property
    def entry(self) -> str:
        return f"{self.conf_dir}/nginx.conf"

    @property
    def program(self) -> str:
        if self.binary is None:
            raise NginxError("nginx is not installed on this host. Install the package nginx and run again.")
        return self.binary

    # look

    def master(self) -> int | None:
        return processes.master(self.pid_file)

    def workers(self, master: int) -> set[int]:
        return processes.workers(master)

    def loaded(self, master: int | None) -> str | None:
        """The tree that the master runs. nginx keeps a file of that tree open."""
        if master is None:
            return None
        pattern = re.compile(re.escape(f"{self.trees.home}/trees/") + rf"([^/]+)/{LOADED}( \(deleted\))?")
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{master}/fd"):
                with contextlib.suppress(OSError):
                    match = pattern.fullmatch(os.readlink(f"/proc/{master}/fd/{descriptor}"))
                    if match:
                        return match[1]
        return None

    def unit(self) -> Unit:
        if not self.systemd:
            return Unit()
        properties = "--property=ActiveState,UnitFileState,NeedDaemonReload"
        output = self.run(["systemctl", "show", UNIT, properties])[1]
        found = dict(line.split("=", 1) for line in lines_of(output) if "=" in line)
        return Unit(
            active=found.get("ActiveState") in ("active", "reloading"),
            enabled=found.get("UnitFileState") in ("enabled", "enabled-runtime"),
            needs_daemon_reload=found.get("NeedDaemonReload") == "yes",
        )

    def facts(self) -> set[str]:
        """The facts of the program, for conditional lines."""
        if self.binary is None:
            return set(NEWEST)
        output = self.run([self.binary, "-V"])[2]
        version = program_version(output)
        if version and version < OLDEST:
            raise NginxError(
                f"{self.binary} is nginx {'.'.join(map(str, version))}, but this collection needs "
                f"{'.'.join(map(str, OLDEST))} or newer. Upgrade it, or remove it and install the package nginx."
            )
        return program_facts(output)

    def port_holders(self, complaint: str) -> str:
        return holders(complaint, listeners()) if taken_ports(complaint) else ""

    # act

    def test(self, entry: str) -> str:
        """Have nginx test a configuration; returns its warnings. Raises NginxError with its complaint."""
        status, _out, err = self.run([self.program, "-t", "-c", entry])
        if status:
            raise NginxError(err)
        return err

    def reload(self, name: str) -> None:
        """Have the master load the live tree, and wait until new workers run it."""
        master = self.master()
        if master is None:
            raise NginxError("nginx ended before it could be reloaded")
        before = self.workers(master)
        logs = self.logs(name)
        os.kill(master, signal.SIGHUP)

        def is_reloaded() -> bool:
            workers = self.workers(master)
            if workers and not workers & before and self.loaded(master) == name:
                return True
            complaint = logs.emergencies()
            # nginx tries five times to open a taken port, so such a complaint may still end well.
            if complaint and ("still could not bind" in complaint or "bind()" not in complaint):
                raise NginxError(complaint)
            return False

        if not wait_for(is_reloaded, RELOAD_TIMEOUT, INTERVAL):
            raise NginxError(
                logs.emergencies() or f"its workers did not change within {RELOAD_TIMEOUT:.0f} s, see {self.error_log}"
            )

    def start(self, name: str | None) -> None:
        """Start nginx, and wait until it runs the tree (None: any configuration)."""
        logs = self.logs(name)
        words = self._start_unit() if self.systemd else self._start_daemon()
        if words:
            raise NginxError(logs.emergencies() or words)

        def is_running() -> bool:
            master = self.master()
            return master is not None and bool(self.workers(master)) and name in (None, self.loaded(master))

        if not wait_for(is_running, START_TIMEOUT, INTERVAL):
            raise NginxError(
                logs.emergencies() or f"it does not run {START_TIMEOUT:.0f} s after its start, see {self.error_log}"
            )

    def _start_unit(self) -> str:
        self.run(["systemctl", "reset-failed", UNIT])  # systemd would refuse to start it after a crash loop
        status, _out, err = self.run(["systemctl", "start", UNIT])
        return (err.strip() or "systemctl start failed") if status else ""

    def _start_daemon(self) -> str:
        self.end_orphans()
        own = [] if self.conf_dir == "/etc/nginx" else ["-c", self.entry]
        # nginx becomes a daemon with a session of its own. Without a pipe, because the daemon could hold it open.
        with open(os.devnull, "r+b") as nothing:
            result = subprocess.run(
                [self.program, *own], stdin=nothing, stdout=nothing, stderr=nothing, check=False, cwd="/"
            )
        return f"nginx ended with code {result.returncode}" if result.returncode else ""

    def end_orphans(self) -> None:
        """Ask the workers of a killed master to finish their requests and end. They would hold its ports forever."""
        recorded, everyone = processes.recorded_pid(self.pid_file), processes.processes()
        for process in everyone.values():
            # The master led a session, and the session keeps the master's number: so these workers are ours.
            if process.is_worker and process.parent not in everyone and process.session == recorded:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGQUIT)

    def logs(self, name: str | None) -> Logs:
        return Logs([self.error_log, *([f"{self.trees.folder(name)}/{LOADED}"] if name else [])])
