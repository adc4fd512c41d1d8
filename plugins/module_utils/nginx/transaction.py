# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""One change of nginx's configuration: all of it, or nothing. Look, decide, act, report."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run, must
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import log_files, owners
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.certificates import Certificates
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.changes import (
    Changes,
    State,
    decide,
    diff,
    service_diff,
)
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.handmade import Handmade
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.lock import locked
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.removals import (
    removal_warnings,
    removed_sites,
    replacement_warnings,
)
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.renewal import Renewal
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import UNIT, Nginx, find_program, has_ipv6
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.switch import Switch
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.system_files import SystemFiles
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.tree_files import TreeFiles, invalid_files
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.trees import Trees, make_folder, tree_name
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.udp_ports import opened_warnings
from ansible_collections.pyweb.stack.plugins.module_utils.tls.acme import Authority
from ansible_collections.pyweb.stack.plugins.module_utils.tls.store import Store, Wanted

LOCK_TIMEOUT = 120.0  # seconds to wait for another run on this host


# The parameters of ``apply``, in the words of a module.
ARGUMENTS: dict[str, Any] = {
    "files": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "path": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
        },
    },
    "secret_files": {"type": "dict", "default": {}, "no_log": True},
    "owners": {
        "type": "list",
        "elements": "str",
        "choices": [owners.APPLICATIONS, owners.OWN_SITES, owners.STATUS_PAGE],
        "default": [owners.OWN_SITES],
    },
    "removed": {"type": "list", "elements": "str", "default": []},
    # Applications of the inventory. Sites of others that are still on the host stay as they are.
    "applications": {"type": "list", "elements": "str", "default": []},
    # Applications that could not be built: their sites stay as they are.
    "held": {"type": "list", "elements": "str", "default": []},
    "certificates": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "mode": {"type": "str", "required": True, "choices": ["selfsigned", "provided", "acme"]},
            "names": {"type": "list", "elements": "str", "default": []},
            "port": {"type": "int", "default": 443},
            "http_port": {"type": "int", "default": 80},
            "certificate": {"type": "str", "default": ""},
            "key": {"type": "str", "default": "", "no_log": True},
            "certificate_path": {"type": "str", "default": ""},
            "key_path": {"type": "str", "default": "", "no_log": False},
        },
    },
    "acme": {
        "type": "dict",
        "default": {},
        "options": {
            "directory": {"type": "str", "default": ""},
            "email": {"type": "str", "default": ""},
            "ca_bundle": {"type": "str", "default": ""},
        },
    },
    "ca_certificate": {"type": "str", "default": ""},
    "ca_key": {"type": "str", "default": "", "no_log": True},
    "fetch": {"type": "bool", "default": False},
    "renewal": {
        "type": "dict",
        "options": {
            "service": {"type": "str", "required": True},
            "timer": {"type": "str", "required": True},
            "cron": {"type": "str", "required": True},
        },
    },
    "state_dir": {"type": "path", "default": "/var/lib/pyweb"},
    "drop_in": {"type": "str"},
    "conf_dir": {"type": "path", "default": "/etc/nginx"},
    "pid_file": {"type": "path", "default": "/run/nginx.pid"},
    "error_log": {"type": "path", "default": "/var/log/nginx/error.log"},
    "init": {"type": "str", "choices": ["auto", "systemd", "none"], "default": "auto"},
}


def apply(params: dict[str, Any], run: Run, check_mode: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Install the configuration that the module's parameters describe.

    Returns the module's result, and the witnesses of the state after it. Their key ``until`` is the time (seconds since
    1970) from which a certificate has to be renewed. There are no witnesses where something is still to be done.
    Raises NginxError, which has the warnings so far.
    """
    if trouble := invalid_files(params["files"]):
        raise NginxError(trouble)
    warnings: list[str] = []
    try:
        transaction = Transaction(params, find_program(), run)
        warnings = transaction.warnings
        result = transaction.run(check_mode)
    except NginxError as error:
        error.warnings = tuple(warnings)
        raise
    except (HostError, OSError) as error:
        failure = NginxError(f"Installing nginx's configuration in {params['conf_dir']} failed: {error}")
        failure.warnings = tuple(warnings)
        raise failure from error
    return {**result, "warnings": warnings}, transaction.witnesses


class Transaction:
    """A run of the module nginx_config."""

    def __init__(self, params: dict[str, Any], binary: str | None, run: Run) -> None:
        self.command = run
        self.conf_dir = params["conf_dir"]
        self.fetch = params["fetch"]
        self.removed = params["removed"]
        systemd = params["init"] == "systemd" or (params["init"] == "auto" and os.path.isdir("/run/systemd/system"))
        self.trees = Trees(self.conf_dir)
        self.nginx = Nginx(binary, self.conf_dir, params["pid_file"], params["error_log"], systemd, self.trees, run)
        self.certificates = Certificates(
            Store(
                f"{self.trees.home}/certificates",
                params["state_dir"],
                Authority(**{key: value or "" for key, value in params["acme"].items()}),
                (params["ca_certificate"], params["ca_key"]),
            ),
            [Wanted(**{**item, "names": tuple(item["names"])}) for item in params["certificates"]],
        )
        self.tree_files = TreeFiles(params, self.certificates.store, self.trees, has_ipv6())
        self.program_facts = self.nginx.facts() if self.tree_files.is_conditional else set()
        self.system = SystemFiles(self.trees, params["drop_in"] if systemd else None, run, params["pid_file"])
        plan = {
            "nginx": binary,
            "entry": self.nginx.entry,
            "pid_file": params["pid_file"],
            "lock": self.trees.lock_path,
        }
        self.renewal = Renewal(params["renewal"], systemd, plan, self.certificates, run)
        self.handmade = Handmade(self.conf_dir)
        self.switch = Switch(self.nginx, self.system, self.certificates, self.tree_files, self.handmade)
        self.warnings = self.switch.warnings
        # The witnesses of the state after the run; None where something is still to be done.
        self.witnesses: dict[str, Any] | None = None

    def run(self, check_mode: bool) -> dict[str, Any]:
        """Look, decide, act, report."""
        with contextlib.nullcontext() if check_mode else self.lock():
            seen = self.watched()
            state = self.look()
            removed = self.report_removals()
            failures: list[str] = []
            if self.fetch and self.certificates.due():
                if check_mode:
                    return self.predict_orders(removed)
                failures = self.certificates.order()
                state = self.look()
            changes = self.decide(state)
            actions, diffs = changes.actions, self.diffs(state, changes)
            if changes.entry:
                self.warnings += replacement_warnings(state.entry or "", self.nginx.entry)
            self.warnings += opened_warnings(state.content.values(), self.wanted(state.live).values())
            self.warnings += self.handmade.warnings(changes.handmade, self.wanted(state.live))
            if not check_mode:
                self.act(state, changes)
                self.clean_up()
                if actions:
                    seen = self.watched()
                    state = self.look()
                if not (self.decide(state).actions or self.certificates.due() or self.handmade.waiting):
                    self.witnesses = {**seen, "until": self.certificates.valid_until()}
            unowned = [
                path for path in self.system.unowned() if path != self.system.default_site or not changes.default_site
            ]
            result = {
                "changed": bool(actions),
                "actions": actions,
                "diff": diffs,
                "removed_sites": removed,
                "tree": self.live_folder(),
                "unowned": unowned,
                "due": [one.name for one in self.certificates.due()],
                "waiting": self.handmade.waiting,
                "ca": self.certificates.ca,
            }
        if changes.tree and unowned:
            self.warnings.append(f"nginx also loads files that this role does not own: {', '.join(unowned)}.")
        self.warnings += self.certificates.warnings()
        if failures:
            raise NginxError(
                f"{' '.join(failures)} Each site is served as before: with its previous certificate, or over http "
                "if it has none. Correct that and run again."
            )
        return result

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Allow one run at a time: two would remove each other's trees."""
        if not os.path.isdir(self.trees.home):
            if not os.path.isdir(self.conf_dir):
                raise NginxError(
                    f"nginx can't be configured: {self.conf_dir} does not exist. Install the package nginx and run "
                    "again."
                )
            make_folder(self.trees.home)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self.trees.lock_path, LOCK_TIMEOUT))
            except TimeoutError:
                raise NginxError(
                    f"Another run has been changing nginx's configuration for {LOCK_TIMEOUT:.0f} s, and holds "
                    f"{self.trees.lock_path}. Wait for it to end and run again."
                ) from None
            yield

    # look

    def watched(self) -> dict[str, Any]:
        """The witnesses of everything that a look depends on."""
        paths = [*self.system.paths(), self.trees.home, self.trees.all, self.trees.current]
        live = self.trees.live()
        for parent, _folders, files in os.walk(self.trees.folder(live)) if live else ():
            paths += [parent, *(os.path.join(parent, file) for file in files)]
        master = self.nginx.master()
        paths += self.certificates.paths() + self.renewal.paths() + self.handmade.paths()
        return stamps.witnesses(paths, [master] if master else [])

    def look(self) -> State:
        live = self.trees.live()
        unit = self.nginx.unit()
        master = self.nginx.master() if unit.active else None
        loaded = self.nginx.loaded(master)
        self.tree_files.keep_others(live or loaded)
        entry, default_site = self.system.entry(), self.system.default_site_is_stock()
        self.handmade.look(entry, self.system.default_site if default_site else "", self.tree_files.own)
        self.certificates.hold(self.tree_files.held_sites | self.handmade.waiting_sites)
        self.certificates.look()
        # A tree that other accounts can read is written again.
        content = self.trees.content(live, self.tree_files.secrets) if live and not self.trees.are_open() else {}
        self.certificates.kept = set(owners.sites(self.tree_files.others))
        self.renewal.keep(self.certificates.kept)
        return State(
            live=live,
            content=content,
            entry=entry,
            default_site=default_site,
            drop_in=self.system.drop_in_diffs(),
            daemon_reload=unit.needs_daemon_reload,
            running=master is not None,
            enabled=unit.enabled,
            loaded=loaded,
            new_certificates=[one.name for one in self.certificates.new()],
            stale_certificates=master is not None and self.certificates.are_stale(),
            exposed_keys=self.certificates.exposed_keys(),
            open_logs=log_files.open_logs(log_files.logs_of(content.values(), self.trees.home)),
            entry_exposed=self.system.entry_is_exposed(),
            renewal=self.renewal.diffs(),
            handmade=self.handmade.edits(self.wanted(live)),
            rotation=self.system.rotation_diffs(),
        )

    def live_folder(self) -> str:
        live = self.trees.live()
        return self.trees.folder(live) if live else ""

    # decide

    def wanted(self, name: str | None) -> dict[str, str]:
        """The wanted files, as they are in the tree of this name."""
        return self.files_in(self.trees.folder(name or "new"))

    def files_in(self, folder: str) -> dict[str, str]:
        return self.handmade.adjusted(
            self.tree_files.written_to(folder, self.program_facts | self.certificates.facts())
        )

    def decide(self, state: State) -> Changes:
        return decide(state, self.wanted(state.live), self.system.wanted_entry)

    # act

    def act(self, state: State, changes: Changes) -> None:
        if changes.actions and self.nginx.binary is None:
            raise NginxError(
                "nginx can't be configured: its program is not installed. Install the package nginx and run again."
            )
        if changes.drop_in:
            self.system.install_drop_in()
        if changes.rotation:
            self.system.install_rotation()
        if changes.daemon_reload:
            self.systemctl("Loading systemd's units again", "daemon-reload")
        for path in changes.exposed_keys:
            self.certificates.protect(path)
            self.warnings.append(
                f"Other accounts could read {path}. It is protected now. If one of them did read it, replace that key."
            )
        if changes.service or changes.open_logs:
            log_files.provide_logs(log_files.logs_of(self.wanted(state.live).values(), self.trees.home))
        if changes.service:
            name = state.live
            if changes.tree or name is None:
                name = tree_name(self.tree_files.all, time.time())
            self.switch.run(name, self.wanted(name), state, changes)
        if changes.renewal:
            self.renewal.apply()
        if changes.enable:
            self.systemctl(f"Enabling {UNIT}, so that it starts at boot", "enable", UNIT)

    def systemctl(self, doing: str, *words: str) -> None:
        must(self.command, doing, ["systemctl", *words], "See 'journalctl -xe', and run again.", NginxError)

    def clean_up(self) -> None:
        """Remove what interrupted runs have left, the trees that are no way back, and unneeded certificates."""
        self.trees.sweep()
        loaded = self.nginx.loaded(self.nginx.master())
        self.trees.prune(keep=[self.trees.live(), loaded, self.trees.previous()])
        self.certificates.remove_unneeded()

    # report

    def report_removals(self) -> list[str]:
        """Warn of every site that this run removes; returns their names."""
        live, new = self.tree_files.live, self.tree_files.all
        self.warnings += removal_warnings(live, new, self.removed)
        return removed_sites(live, new)

    def predict_orders(self, removed: list[str]) -> dict[str, Any]:
        """The result of check mode with orders: whether an authority gives a certificate can't be predicted."""
        due = [one.name for one in self.certificates.due()]
        return {
            "changed": True,
            "actions": [f"order certificate {name}" for name in due],
            "due": due,
            "tree": self.live_folder(),
            "unowned": [],
            "ca": self.certificates.ca,
            "removed_sites": removed,
        }

    def diffs(self, state: State, changes: Changes) -> list[dict[str, Any]]:
        """Ansible's diffs. Every tree is shown under the path of the link to the live one."""
        current = self.trees.current
        before = {}
        if state.live:
            folder = self.trees.folder(state.live)
            before = {path: text.replace(folder, current) for path, text in state.content.items()}
        after = self.files_in(current)
        diffs = [
            diff(f"{current}/{path}", self.shown(path, before, ""), self.shown(path, after, ", changed"))
            for path in sorted({*before, *after})
            if before.get(path) != after.get(path)
        ]
        if changes.entry:
            diffs.append(diff(self.nginx.entry, state.entry or "", self.system.wanted_entry))
        diffs += self.handmade.diffs(changes.handmade)
        if changes.default_site:
            diffs.append(diff(self.system.default_site, "-> ../sites-available/default\n", ""))
        diffs += self.certificates.diffs() + state.renewal + state.drop_in + state.rotation
        if changes.service or changes.enable:
            diffs.append(service_diff(state, changes))
        return diffs

    def shown(self, path: str, files: dict[str, str], state: str) -> str:
        """The text of a file for a diff, which shows no secret."""
        if path in files and self.tree_files.is_secret(path):
            return f"(secret{state})\n"
        return files.get(path, "")
