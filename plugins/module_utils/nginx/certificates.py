# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The certificates of a configuration of nginx: what a transaction does about them, and the timer that renews them."""

from __future__ import annotations

import contextlib
import inspect as source_of
import json
import os
import stat
import time
from dataclasses import asdict, replace
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import UNFINISHED, File, apply_files
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import NginxError, systemctl
from ansible_collections.pyweb.stack.plugins.module_utils.tls import certificates
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificates import (
    WARN_DAYS,
    CertificateError,
    State,
    Store,
    Wanted,
    fingerprint,
    inspect,
    is_stale,
    read,
    served,
    write,
)

PROGRAM = "/usr/local/lib/pyweb/certificates.py"
SERVICE = "/etc/systemd/system/pyweb-certificates.service"
TIMER = "/etc/systemd/system/pyweb-certificates.timer"
CRON = "/etc/cron.d/pyweb-certificates"
SERVED_TIMEOUT = 5.0  # seconds from a reload to workers that serve what they have loaded


class Certificates:
    """All of a configuration."""

    def __init__(self, store: Store, wanted: list[Wanted]) -> None:
        self.store = store
        self.wanted = wanted
        self.states: dict[str, State] = {}
        self.ordered: dict[str, str] = {}
        # Names of sites that other runs look after: their certificates stay.
        self.kept: set[str] = set()

    def look(self) -> None:
        """What there is. Raises with everything that a user gave and nobody could serve."""
        now, wrong = time.time(), []
        for one in self.wanted:
            try:
                self.states[one.name] = self.store.look(one, now)
            except (CertificateError, OSError) as error:
                wrong.append(f"site '{one.name}': its certificate won't do: {error}.")
        if wrong:
            raise NginxError(" ".join(wrong) + " Nothing was changed: what nginx serves, it goes on serving.")
        for name, text in self.ordered.items():
            if read(f"{self.store.folder}/{name}.pem") != text:
                self.states[name] = State(inspect(text, text), "the authority gave a new one")

    def due(self) -> list[Wanted]:
        """Those that have to be ordered, which takes time."""
        return [one for one in self.wanted if one.mode == "acme" and self.states[one.name].due and not self._came(one)]

    def coming(self) -> list[Wanted]:
        """Those that this transaction puts in place."""
        return [one for one in self.wanted if self.states[one.name].due and (one.mode != "acme" or self._came(one))]

    def _came(self, one: Wanted) -> bool:
        return one.name in self.ordered

    def facts(self) -> set[str]:
        """What the lines of the configuration depend on, once those that come are in place."""
        there = {one.name for one in self.wanted if self.states[one.name].found} | {one.name for one in self.coming()}
        ocsp = {name for name, state in self.states.items() if state.found and state.found.ocsp}
        return {f"certificate:{name}" for name in there} | {f"ocsp:{name}" for name in ocsp & there}

    def stale(self) -> bool:
        """Whether nginx serves something else than what is on the disk: a reload that somebody owes."""
        return any(is_stale(self.store, one) for one in self.wanted if self.states[one.name].found)

    def exposed(self) -> list[str]:
        """The files with keys of ours that others may read, or own."""
        paths = [self.store.path(one) for one in self.wanted if not one.certificate_path]
        found = []
        for path in [*paths, self.store.ca_key_path]:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = os.lstat(path)
                if status.st_uid != os.geteuid() or (stat.S_ISREG(status.st_mode) and status.st_mode & 0o077):
                    found.append(path)
        return found

    def protect(self, path: str) -> None:
        os.chown(path, os.geteuid(), -1, follow_symlinks=False)
        if not os.path.islink(path):
            os.chmod(path, 0o600)

    def order(self) -> list[str]:
        """Ask the authority for what is due; returns what went wrong. One that fails does not hold up the others."""
        wrong = []
        for one in self.due():
            try:
                self.store.check_challenge(one)
                self.ordered[one.name] = self.store.obtain(one)
            except (CertificateError, OSError) as error:
                wrong.append(f"site '{one.name}': {error}.")
        return wrong

    def put_in_place(self, undo: contextlib.ExitStack) -> None:
        """Write what comes; whatever fails later takes it back."""
        if self.coming():
            os.makedirs(self.store.folder, mode=0o755, exist_ok=True)
        for one in self.coming():
            path = self.store.path(one)
            undo.callback(_restore, path, read(path))
            try:
                write(path, self.ordered.get(one.name) or self.store.obtain(one))
            except CertificateError as error:
                raise NginxError(
                    f"site '{one.name}': a certificate could not be made: {error}. Nothing was changed: what nginx "
                    "serves, it goes on serving."
                ) from error

    def verify(self) -> None:
        """See that nginx serves each of them to who asks for the site."""
        deadline = time.monotonic() + SERVED_TIMEOUT
        for one in self.wanted:
            if f"certificate:{one.name}" not in self.facts():
                continue
            right = fingerprint(str(self.store.texts(one)[0]))
            while (shown := served(one.port, one.server_name)) != right:
                if time.monotonic() > deadline:
                    what = "another certificate" if shown else "no certificate"
                    raise NginxError(
                        f"site '{one.name}': port {one.port} serves {what} to who asks for "
                        f"{one.server_name or 'no name'}. Does a file in conf.d or sites-enabled have that name?"
                    )
                time.sleep(0.05)
            self.store.used(one)

    def tidy(self) -> None:
        """Remove the certificates, and keys, of sites that are gone, and what interrupted runs have left."""
        kept = {f"{name}.pem" for name in {one.name for one in self.wanted} | self.kept}
        for folder in (self.store.folder, self.store.unused_folder):
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(folder):
                    if (name.endswith(".pem") and name not in kept) or UNFINISHED.search(name):
                        os.unlink(f"{folder}/{name}")

    def witnesses(self) -> list[str]:
        """The files that a look depends on."""
        store = self.store
        paths = [store.folder, store.ca_path, store.ca_key_path]
        for one in self.wanted:
            paths += [one.certificate_path, one.key_path] if one.certificate_path else [store.path(one)]
        return paths

    def good_until(self) -> float | None:
        """When one of them has to be renewed or warned of, if nobody touches anything."""
        ends = []
        for one in self.wanted:
            if found := self.states[one.name].found:
                ends += [found.ends - WARN_DAYS * 86400]
                ends += [found.due_at] if one.mode != "provided" else []
        return min(ends, default=None)

    def warnings(self) -> list[str]:
        """What ends soon, or should have been renewed long ago."""
        now, said = time.time(), []
        for one in self.wanted:
            found = self.states[one.name].found
            if found is None or found.days_left(now) >= WARN_DAYS:
                continue
            days = found.days_left(now)
            when = f"ends in {days} days, on {found.end_date}" if days >= 0 else f"has ended on {found.end_date}"
            remedy = {
                "provided": "Give a new one.",
                "acme": "Its renewal does not work: see journalctl -u pyweb-certificates, or run the playbook again.",
                "selfsigned": "Its renewal does not work: see journalctl -u pyweb-certificates.",
            }[one.mode]
            said.append(f"The certificate of site '{one.name}' {when}. {remedy}")
        return said

    def diffs(self) -> list[dict[str, str]]:
        """What Ansible shows of a change; never a key."""
        return [
            {
                "before_header": self.store.path(one),
                "after_header": self.store.path(one),
                "before": f"a certificate that ends on {found.end_date}\n" if (found := self._on_disk(one)) else "",
                "after": f"a new one, because {self.states[one.name].due}\n",
            }
            for one in self.coming()
        ]

    def _on_disk(self, one: Wanted) -> certificates.Certificate | None:
        text = read(self.store.path(one))
        try:
            return inspect(text, text) if text else None
        except CertificateError:
            return None

    @property
    def ca(self) -> str:
        return self.store.ca_path if any(one.mode == "selfsigned" for one in self.wanted) else ""


def _restore(path: str, text: str | None) -> None:
    if text is not None:
        if read(path) != text:  # where the disk is full, even the same could not be written
            write(path, text)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


class Renewal:
    """The timer: this host's certificates renew themselves, whoever runs a playbook or not."""

    def __init__(self, texts: dict[str, str] | None, systemd: bool, plan: dict[str, Any], found: Certificates) -> None:
        self.systemd = systemd
        self.plan_path = f"{found.store.folder}/plan.json"
        # A certificate that somebody else keeps on the host is loaded by it, when it has changed.
        renewing = [one for one in found.wanted if one.mode != "provided" or one.certificate_path]
        self.managed = texts is not None
        self.given = texts
        self.texts = texts if renewing else None
        store = found.store
        self.plan = {
            **plan,
            "folder": store.folder,
            "state_folder": store.state_folder,
            "authority": asdict(store.authority),
            "certificates": [asdict(replace(one, certificate="", key="")) for one in renewing],
        }
        self.own = sorted(self.plan["certificates"], key=lambda one: one["name"])
        self.plan["certificates"] = self.own
        self.own_authority = self.plan["authority"]

    def keep(self, names: set[str]) -> None:
        """Renew the certificates of sites that other runs look after as the plan on the host has it."""
        plan: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError), open(self.plan_path, encoding="utf-8") as stream:
            plan = json.load(stream)
        kept = [one for one in plan.get("certificates", []) if one["name"] in names]
        everything = sorted([*self.own, *kept], key=lambda one: one["name"])
        self.plan["certificates"] = everything if kept else self.own
        # An authority that only they need is theirs.
        theirs = any(one["mode"] == "acme" for one in kept) and all(one["mode"] != "acme" for one in self.own)
        self.plan["authority"] = plan["authority"] if theirs else self.own_authority
        self.texts = self.given if everything else None

    def files(self) -> list[File]:
        if not self.managed:
            return []
        texts = self.texts
        wanted: dict[str, str | None] = {PROGRAM: None, self.plan_path: None, SERVICE: None, TIMER: None, CRON: None}
        if texts:
            wanted[PROGRAM] = source_of.getsource(certificates)
            wanted[self.plan_path] = json.dumps(self.plan, indent=2) + "\n"
            if self.systemd:
                wanted |= {SERVICE: texts["service"], TIMER: texts["timer"]}
            else:
                wanted[CRON] = texts["cron"]
        return [File(path, content) for path, content in wanted.items()]

    def witnesses(self) -> list[str]:
        wants = "/etc/systemd/system/timers.target.wants/"
        return [file.path for file in self.files()] + ([wants + os.path.basename(TIMER)] if self.texts else [])

    def look(self) -> list[dict[str, Any]]:
        """The files that differ, as Ansible's diffs."""
        return apply_files(self.files(), check_mode=True)[1]

    def act(self) -> None:
        """Install the files, or remove them, and have systemd run the timer."""
        if self.systemd and not self.texts and os.path.exists(TIMER):
            systemctl("disable", "--now", os.path.basename(TIMER))
        for file in self.files():
            if file.content is not None:
                os.makedirs(os.path.dirname(file.path), mode=0o755, exist_ok=True)
        apply_files(self.files())
        if self.systemd:
            systemctl("daemon-reload")
            if self.texts:
                answer = systemctl("enable", "--now", os.path.basename(TIMER))
                if answer.returncode:
                    raise NginxError(f"The timer that renews certificates can't be started: {answer.stderr.strip()}")
