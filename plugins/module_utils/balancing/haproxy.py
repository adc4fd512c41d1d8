# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The program HAProxy on a host: it is tested, started and reloaded, with or without systemd."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess

from ansible_collections.pyweb.stack.plugins.module_utils.balancing import stats
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run, must
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for

UNIT = "haproxy.service"
RELOAD_TIMEOUT = 15.0  # seconds until a new process answers
SETTLED = 5.0  # seconds for the first checks of all servers
INTERVAL = 0.05


class BalancerError(HostError):
    """HAProxy can't be configured; the text says what to do."""


def find_program() -> str | None:
    return shutil.which("haproxy", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', os.defpath)}")


class Haproxy:
    """One instance of HAProxy."""

    def __init__(self, binary: str | None, conf: str, pid_file: str, admin: str, systemd: bool, run: Run) -> None:
        self.binary = binary
        self.conf = conf
        self.pid_file = pid_file
        self.admin = admin
        self.systemd = systemd
        self.run = run

    # look

    def loaded(self) -> str:
        """The description of the configuration that it runs; empty if it does not run."""
        return stats.description(self.admin)

    def master(self) -> int | None:
        """The process that SIGUSR2 reloads."""
        with contextlib.suppress(OSError, ValueError):
            with open(self.pid_file, encoding="ascii") as stream:
                pid = int(stream.readline())
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
                if stream.read().strip() == "haproxy":
                    return pid
        return None

    def is_enabled(self) -> bool:
        return not self.systemd or self.run(["systemctl", "is-enabled", "--quiet", UNIT])[0] == 0

    def needs_daemon_reload(self) -> bool:
        if not self.systemd:
            return False
        return "NeedDaemonReload=yes" in lines_of(
            self.run(["systemctl", "show", UNIT, "--property=NeedDaemonReload"])[1]
        )

    def is_stock(self, text: bytes) -> bool:
        """Whether this is the configuration file of Debian's package, as the package manager knows it."""
        listed = self.run(["dpkg-query", "--show", "--showformat=${Conffiles}", "haproxy"])[1]
        found = re.search(rf"{re.escape(self.conf)} ([0-9a-f]{{32}})", listed)
        return found is not None and hashlib.md5(text, usedforsecurity=False).hexdigest() == found[1]

    # act

    def test(self, path: str) -> None:
        """Have HAProxy test a configuration; raises BalancerError with its complaint."""
        status, out, err = self.run([self.program, "-c", "-f", path])
        if status:
            lines = [line for line in lines_of(err or out) if "[ALERT]" in line]
            raise BalancerError("\n".join(lines) or (err or out).strip())

    @property
    def program(self) -> str:
        if self.binary is None:
            raise BalancerError("HAProxy is not installed on this host. Install the package haproxy and run again.")
        return self.binary

    def load(self, wanted: str) -> None:
        """Start or reload it, and wait until it runs the configuration with this description."""
        if self.systemd:
            active = self.run(["systemctl", "is-active", "--quiet", UNIT])[0] == 0
            self.run(["systemctl", "reset-failed", UNIT])
            verb = "reload" if active else "start"
            must(
                self.run, f"{verb}ing HAProxy", ["systemctl", verb, UNIT], f"See 'journalctl -u {UNIT}'.", BalancerError
            )
        elif master := self.master():
            os.kill(master, signal.SIGUSR2)
        else:
            self.start_daemon()
        if not wait_for(lambda: self.loaded() == wanted, RELOAD_TIMEOUT, INTERVAL):
            raise BalancerError(f"HAProxy does not run the new configuration after {RELOAD_TIMEOUT:.0f} s")

    def start_daemon(self) -> None:
        with open(os.devnull, "r+b") as nothing:
            command = [self.program, "-W", "-D", "-f", self.conf, "-p", self.pid_file]
            result = subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, check=False, cwd="/")
        if result.returncode:
            raise BalancerError(f"HAProxy ended with code {result.returncode}")

    def await_checks(self) -> None:
        """Wait until each server has been checked, so that no request goes to one that is not."""

        def is_settled() -> bool:
            with contextlib.suppress(stats.AdminError):
                found = stats.servers(self.admin)
                checked = [one for name, own in found.items() if not name.endswith(("_once", "_last")) for one in own]
                return all(one["is_checked"] for one in checked)
            return False

        wait_for(is_settled, SETTLED, INTERVAL)
