# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The certificates of a configuration: look at them, put new ones in place, check what nginx serves."""

from __future__ import annotations

import contextlib
import os
import stat
import time

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import UNFINISHED
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import (
    WARN_DAYS,
    Certificate,
    CertificateError,
    fingerprint,
    inspect,
)
from ansible_collections.pyweb.stack.plugins.module_utils.tls.files import read, write
from ansible_collections.pyweb.stack.plugins.module_utils.tls.serving import served
from ansible_collections.pyweb.stack.plugins.module_utils.tls.store import State, Store, Wanted

SERVED_TIMEOUT = 5.0  # seconds from a reload to workers that serve the new certificates


class Certificates:
    """All certificates of a configuration."""

    def __init__(self, store: Store, wanted: list[Wanted]) -> None:
        self.store = store
        self.given = self.wanted = wanted
        self.states: dict[str, State] = {}
        self.ordered: dict[str, str] = {}
        # Names of sites that other runs look after: their certificates stay.
        self.kept: set[str] = set()

    # look

    def hold(self, sites: set[str]) -> None:
        """Leave out the certificates of sites that stay as they are: these may have other domains."""
        self.wanted = [one for one in self.given if one.name not in sites]

    def look(self) -> None:
        """Look at all certificates. Raises NginxError with every given one that can't be served."""
        now, wrong = time.time(), []
        for one in self.wanted:
            try:
                self.states[one.name] = self.store.look(one, now)
            except (HostError, OSError) as error:
                wrong.append(f"site '{one.name}': its certificate is not usable: {error}.")
        if wrong:
            raise NginxError(" ".join(wrong) + " Nothing was changed, and nginx serves as before.")
        for name, text in self.ordered.items():
            if read(f"{self.store.folder}/{name}.pem") != text:
                self.states[name] = State(inspect(text, text), "the authority gave a new one")

    def due(self) -> list[Wanted]:
        """The certificates that have to be ordered, which takes time."""
        return [
            one
            for one in self.wanted
            if one.mode == "acme" and self.states[one.name].due and one.name not in self.ordered
        ]

    def new(self) -> list[Wanted]:
        """The certificates that this transaction puts in place."""
        return [
            one for one in self.wanted if self.states[one.name].due and (one.mode != "acme" or one.name in self.ordered)
        ]

    def facts(self) -> set[str]:
        """The facts for lines of the configuration, as they are when the new certificates are in place."""
        there = {one.name for one in self.wanted if self.states[one.name].found} | {one.name for one in self.new()}
        ocsp = {name for name, state in self.states.items() if state.found and state.found.ocsp}
        return {f"certificate:{name}" for name in there} | {f"ocsp:{name}" for name in ocsp & there}

    def are_stale(self) -> bool:
        """Whether nginx serves another certificate than the one on the disk, and so needs a reload."""
        return any(self.store.is_stale(one) for one in self.wanted if self.states[one.name].found)

    def exposed_keys(self) -> list[str]:
        """The files with keys that others may read, or that belong to another account."""
        paths = [self.store.path(one) for one in self.wanted if not one.certificate_path]
        found = []
        for path in [*paths, self.store.host_authority.key_path]:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = os.lstat(path)
                if status.st_uid != os.geteuid() or (stat.S_ISREG(status.st_mode) and status.st_mode & 0o077):
                    found.append(path)
        return found

    def paths(self) -> list[str]:
        """The paths that a look depends on."""
        authority = self.store.host_authority
        paths = [self.store.folder, authority.path, authority.key_path]
        for one in self.wanted:
            paths += [one.certificate_path, one.key_path] if one.certificate_path else [self.store.path(one)]
        return paths

    # change

    def protect(self, path: str) -> None:
        os.chown(path, os.geteuid(), -1, follow_symlinks=False)
        if not os.path.islink(path):
            os.chmod(path, 0o600)

    def order(self) -> list[str]:
        """Order the certificates that are due. Returns what went wrong; one failure does not stop the others."""
        wrong = []
        for one in self.due():
            try:
                self.store.acme.check_challenge(list(one.names), one.http_port)
                self.ordered[one.name] = self.store.obtain(one)
            except (HostError, OSError) as error:
                wrong.append(f"site '{one.name}': {error}.")
        return wrong

    def put_in_place(self, undo: contextlib.ExitStack) -> None:
        """Write the new certificates. If a later step fails, ``undo`` restores the old ones."""
        if self.new():
            os.makedirs(self.store.folder, mode=0o755, exist_ok=True)
        for one in self.new():
            path = self.store.path(one)
            undo.callback(restore, path, read(path))
            try:
                write(path, self.ordered.get(one.name) or self.store.obtain(one))
            except HostError as error:
                raise NginxError(
                    f"site '{one.name}': a certificate could not be made: {error}. Nothing was changed, and nginx "
                    "serves as before."
                ) from error

    def verify(self) -> None:
        """Check that nginx serves each certificate to a client that asks for the site."""
        deadline = time.monotonic() + SERVED_TIMEOUT
        for one in self.wanted:
            if f"certificate:{one.name}" not in self.facts():
                continue
            right = fingerprint(str(self.store.texts(one)[0]))
            while (shown := served(one.port, one.server_name)) != right:
                if time.monotonic() > deadline:
                    what = "another certificate" if shown else "no certificate"
                    raise NginxError(
                        f"site '{one.name}': port {one.port} serves {what} for {one.server_name or 'no name'}. Check "
                        "whether a file in conf.d or sites-enabled has that name"
                    )
                time.sleep(0.05)
            self.store.mark_as_used(one)

    def remove_unneeded(self) -> None:
        """Remove the certificates and keys of removed sites, and unfinished files of interrupted runs."""
        kept = {f"{name}.pem" for name in {one.name for one in self.wanted} | self.kept}
        for folder in (self.store.folder, self.store.acme.unused_folder):
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(folder):
                    if (name.endswith(".pem") and name not in kept) or UNFINISHED.search(name):
                        os.unlink(f"{folder}/{name}")

    # report

    def valid_until(self) -> float | None:
        """When the first of them has to be renewed, or needs a warning; None if that never happens."""
        ends = []
        for one in self.wanted:
            if found := self.states[one.name].found:
                ends += [found.ends - WARN_DAYS * 86400]
                ends += [found.due_at] if one.mode != "provided" else []
        return min(ends, default=None)

    def warnings(self) -> list[str]:
        """A warning for each certificate that ends soon, and was not renewed."""
        now, warnings = time.time(), []
        for one in self.wanted:
            found = self.states[one.name].found
            if found is None or found.days_left(now) >= WARN_DAYS:
                continue
            days = found.days_left(now)
            when = (
                f"ends in {days} days, on {found.end_date}"
                if days >= 0
                else f"has ended on {found.end_date}, so browsers refuse it"
            )
            remedy = {
                "provided": "Give a new one.",
                "acme": "Its renewal does not work: see journalctl -u pyweb-certificates, or run the playbook again.",
                "selfsigned": "Its renewal does not work: see journalctl -u pyweb-certificates.",
            }[one.mode]
            warnings.append(f"The certificate of site '{one.name}' {when}. {remedy}")
        return warnings

    def diffs(self) -> list[dict[str, str]]:
        """Ansible's diffs, without any key."""
        return [
            {
                "before_header": self.store.path(one),
                "after_header": self.store.path(one),
                "before": f"a certificate that ends on {found.end_date}\n" if (found := self._on_disk(one)) else "",
                "after": f"a new one, because {self.states[one.name].due}\n",
            }
            for one in self.new()
        ]

    def _on_disk(self, one: Wanted) -> Certificate | None:
        text = read(self.store.path(one))
        try:
            return inspect(text, text) if text else None
        except CertificateError:
            return None

    @property
    def ca(self) -> str:
        """The file that browsers import to trust the host's own certificates; empty without any."""
        return self.store.host_authority.path if any(one.mode == "selfsigned" for one in self.wanted) else ""


def restore(path: str, text: str | None) -> None:
    if text is not None:
        if read(path) != text:  # where the disk is full, even the same could not be written
            write(path, text)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
