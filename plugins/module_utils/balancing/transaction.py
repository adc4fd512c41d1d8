# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""One change of HAProxy's configuration: all of it, or nothing. Look, decide, act, report."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.balancing import states, stats
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.haproxy import BalancerError, Haproxy, find_program
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.paths import ADMIN_SOCKET, RUN, STATE_FILE
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run, must
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import (
    apply_files,
    diff,
    own_file,
    read,
    write,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.lock import locked

LOCK_TIMEOUT = 120.0  # seconds to wait for another run on this host
# Seconds in which a web host passes two checks, however few checks there are at first.
ACCEPTED = 5.0
DROP_IN = "/etc/systemd/system/haproxy.service.d/pyweb.conf"
DEFAULTS = "/etc/default/haproxy"

HEAD = "# Managed by the balancer role of pyweb.stack; changes made here are replaced by the next run.\n"
# A line before each unit. By it, a later run finds the units that are no longer wanted.
UNIT = re.compile(r"(?m)^#@ unit (?P<name>\S+)\n")

ARGUMENTS: dict[str, Any] = {
    "units": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
        },
    },
    "keep": {"type": "bool", "default": False},
    "drop_in": {"type": "str", "default": ""},
    "conf": {"type": "path", "default": "/etc/haproxy/haproxy.cfg"},
    "pid_file": {"type": "path", "default": "/run/haproxy.pid"},
    "run_dir": {"type": "path", "default": RUN},
    "init": {"type": "str", "choices": ["auto", "systemd", "none"], "default": "auto"},
}


def is_down(servers: list[dict[str, Any]]) -> bool:
    """Whether no server has passed its check, and none is drained on purpose."""
    return bool(servers) and all(server["state"] == "down" for server in servers)


def told(server: dict[str, Any]) -> str:
    # A web host may have answered the check with anything.
    return f"{server['host']} ({one_line(server['check']) or 'not checked yet'})"


def apply(params: dict[str, Any], run: Run, check_mode: bool) -> dict[str, Any]:
    """Install the configuration; returns the module's result. Raises BalancerError."""
    try:
        return Transaction(params, find_program(), run).run(check_mode)
    except OSError as error:
        raise BalancerError(f"Installing HAProxy's configuration {params['conf']} failed: {error}") from error
    except HostError as error:
        raise BalancerError(str(error)) from error


def units_of(text: str) -> dict[str, str]:
    """The units of a configuration file, by their names."""
    _head, *rest = UNIT.split(text)
    return dict(zip(rest[::2], rest[1::2]))


def joined(units: dict[str, str]) -> str:
    """The configuration file. Its description shows which configuration HAProxy runs."""
    body = "".join(f"#@ unit {name}\n{content}" for name, content in units.items())
    return f"{HEAD}{body}#@ unit description\nglobal\n    description {digest(body)}\n"


def digest(body: str) -> str:
    return f"pyweb-{hashlib.sha256(body.encode()).hexdigest()[:32]}"


class Transaction:
    """A run of the module balancer_config."""

    def __init__(self, params: dict[str, Any], binary: str | None, run: Run) -> None:
        systemd = params["init"] == "systemd" or (params["init"] == "auto" and os.path.isdir("/run/systemd/system"))
        if params["init"] == "auto" and not systemd:
            raise BalancerError(
                "A balancer needs systemd, but this host has none. Nothing would start HAProxy after a boot or a crash."
                " Use a host with systemd in the group balancer. Nothing on the host has changed."
            )
        self.command = run
        self.conf: str = params["conf"]
        self.folder: str = params["run_dir"]
        self.drop_in: str = params["drop_in"] if systemd else ""
        self.keep: bool = params["keep"]
        # Tests have a folder of their own.
        self.given = {item["name"]: item["content"].replace(RUN, self.folder) for item in params["units"]}
        self.admin = ADMIN_SOCKET.replace(RUN, self.folder)
        self.states = STATE_FILE.replace(RUN, self.folder)
        self.haproxy = Haproxy(binary, self.conf, params["pid_file"], self.admin, systemd, run)

    def run(self, check_mode: bool) -> dict[str, Any]:
        """Look, decide, act, report."""
        with contextlib.nullcontext() if check_mode else self.lock():
            before = (read(self.conf) or b"").decode(errors="surrogateescape")
            self.refuse_handmade(before)
            known = units_of(before)
            known.pop("description", None)
            surplus = [name for name in known if name not in self.given]
            kept = {name: known[name] for name in surplus} if self.keep else {}
            text = joined({**self.given, **kept})
            wanted = digest("".join(f"#@ unit {name}\n{content}" for name, content in {**self.given, **kept}.items()))
            actions = self.actions(before, text, wanted)
            diffs = [diff(own_file(self.conf, text))] if before != text else []
            diffs += apply_files(self.drop_in_files(), check_mode=True)[1]
            if not check_mode and actions:
                self.act(actions, before, text, wanted)
        return {
            "changed": bool(actions),
            "actions": actions,
            "surplus": surplus if self.keep else [],
            "diff": diffs,
            # A change that keeps surplus parts is followed by another one, without them.
            "warnings": [] if check_mode or (self.keep and surplus) else self.unserved(),
        }

    def unserved(self) -> list[str]:
        """A warning for each application that no web host serves, as far as HAProxy can see."""
        found: list[dict[str, Any]] = []

        def is_served() -> bool:
            with contextlib.suppress(stats.AdminError):
                found[:] = [app for app in stats.applications(self.admin) if is_down(app["servers"])]
            return not found

        wait_for(is_served, ACCEPTED, 0.05)
        return [
            f"This balancer has no web host for {app['name']}: {', '.join(map(told, app['servers']))}. Visitors get a "
            "page with status 503. 'doctor.yml' names the first broken link."
            for app in found
        ]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Allow one run at a time."""
        os.makedirs(self.folder, mode=0o755, exist_ok=True)
        try:
            with locked(f"{self.folder}/_lock", LOCK_TIMEOUT):
                yield
        except TimeoutError:
            raise BalancerError(
                f"Another run has been changing HAProxy's configuration for {LOCK_TIMEOUT:.0f} s. Wait for it to end "
                "and run again."
            ) from None

    def refuse_handmade(self, text: str) -> None:
        """Refuse a configuration that people have written, which HAProxy would no longer serve."""
        if text and not text.startswith(HEAD) and not self.haproxy.is_stock(text.encode(errors="surrogateescape")):
            raise BalancerError(
                f"{self.conf} is neither that of Debian's package nor this collection's, so HAProxy has another use "
                f"on this host. If it is not needed: mv {self.conf} {self.conf}.old, and run again. Otherwise use "
                "another host in the group balancer. Nothing on the host has changed."
            )
        defaults = (read(DEFAULTS) or b"").decode(errors="replace") if self.conf.startswith("/etc/") else ""
        if re.search(r"(?m)^\s*(?:CONFIG|EXTRAOPTS)=", defaults):
            raise BalancerError(
                f"{DEFAULTS} sets CONFIG or EXTRAOPTS, so HAProxy would not load {self.conf} alone. Remove these lines "
                "and run again. Nothing on the host has changed."
            )

    def drop_in_files(self) -> list[Any]:
        return [own_file(DROP_IN, self.drop_in)] if self.drop_in else []

    def actions(self, before: str, text: str, wanted: str) -> list[str]:
        """The changes to make, in words for the user."""
        found = ["install haproxy.cfg"] if before != text else []
        found += ["install drop-in"] if apply_files(self.drop_in_files(), check_mode=True)[0] else []
        loaded = self.haproxy.loaded()
        if not loaded:
            found.append("start")
        elif loaded != wanted or before != text:
            found.append("reload")
        return found + ([] if self.haproxy.is_enabled() else ["enable"])

    def act(self, actions: list[str], before: str, text: str, wanted: str) -> None:
        trial = f"{self.conf}.pyweb-new"
        write(own_file(trial, text, 0o600))
        try:
            self.haproxy.test(trial)
        except BalancerError as error:
            raise BalancerError(
                f"HAProxy refuses the new configuration: {error}\nNothing was changed, and HAProxy serves as before."
            ) from error
        finally:
            os.unlink(trial)
        if "install drop-in" in actions:
            os.makedirs(os.path.dirname(DROP_IN), mode=0o755, exist_ok=True)
            apply_files(self.drop_in_files())
            must(self.command, "Loading systemd's units again", ["systemctl", "daemon-reload"], "Run again.")
        write(own_file(self.conf, text, 0o600))
        try:
            self.load(wanted)
        except HostError as error:
            self.restore(before)
            raise BalancerError(
                f"{error}. The previous configuration is back. See the log of HAProxy, correct that, and run again."
            ) from error
        if "enable" in actions:
            must(self.command, "Enabling HAProxy", ["systemctl", "enable", "haproxy.service"], "Run again.")

    def load(self, wanted: str) -> None:
        """Load the installed configuration. The new process takes over the states of the servers."""
        with contextlib.suppress(stats.AdminError):
            known = stats.ask(self.admin, "show servers state")
            write(own_file(self.states, states.with_new_servers(known, states.servers_in(self.given)), 0o600))
        try:
            self.haproxy.load(wanted)
            self.haproxy.await_checks()
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.states)

    def restore(self, before: str) -> None:
        """Put the previous configuration back, and have HAProxy load it."""
        content = before.encode(errors="surrogateescape") if before else None
        write(own_file(self.conf, content, 0o600 if before.startswith(HEAD) else 0o644))
        if found := re.search(r"(?m)^    description (\S+)$", before):
            with contextlib.suppress(HostError):
                self.haproxy.load(found[1])
