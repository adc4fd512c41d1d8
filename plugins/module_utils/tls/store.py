# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The certificates of a host: one file for each site, with its chain and its key, so that both are replaced as one."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.module_utils.tls.acme import AcmeClient, Authority
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import (
    Certificate,
    CertificateError,
    blocks,
    expiry,
    fingerprint,
    inspect,
    problems,
)
from ansible_collections.pyweb.stack.plugins.module_utils.tls.files import read, read_given, write
from ansible_collections.pyweb.stack.plugins.module_utils.tls.serving import served, server_name
from ansible_collections.pyweb.stack.plugins.module_utils.tls.signing import HostAuthority, host_names


@dataclass(frozen=True)
class Wanted:
    """The certificate of one site, as the inventory asks for it."""

    name: str
    mode: str
    names: tuple[str, ...]
    port: int
    http_port: int = 80
    # For the mode `provided`: either the texts, or their paths on this host.
    certificate: str = ""
    key: str = ""
    certificate_path: str = ""
    key_path: str = ""

    @property
    def server_name(self) -> str:
        return server_name(list(self.names))


@dataclass(frozen=True)
class State:
    """The certificate of a site, as it is on the host."""

    found: Certificate | None = None
    due: str = ""  # why the site needs a new one; empty if it needs none


def deployed_fingerprint(path: str) -> str:
    """The fingerprint of the certificate in a file of the store; empty without one."""
    text = read(path)
    return fingerprint(text) if text and blocks(text) else ""


class Store:
    """Looks at the certificates of a host, and makes or orders new ones."""

    def __init__(self, folder: str, state_folder: str, authority: Authority, ca: tuple[str, str] = ("", "")) -> None:
        self.folder = folder
        self.state_folder = state_folder
        self.authority = authority
        self.acme = AcmeClient(f"{state_folder}/acme", authority)
        self.host_authority = HostAuthority(folder, ca)

    def path(self, wanted: Wanted) -> str:
        return f"{self.folder}/{wanted.name}.pem"

    def names(self, wanted: Wanted) -> list[str]:
        """The names that the certificate has to be valid for. Visitors ask the default site by the host's names."""
        if wanted.names or wanted.mode != "selfsigned":
            return list(wanted.names)
        return host_names()

    def source(self, wanted: Wanted) -> str:
        """The line before the certificate that names its source. A certificate of another source is replaced."""
        origin = f" {self.authority.directory}" if wanted.mode == "acme" else ""
        return f"# {wanted.mode}{origin}, by the nginx role of pyweb.stack\n"

    def texts(self, wanted: Wanted) -> tuple[str | None, str | None]:
        """Certificate and key as they are on the host."""
        if wanted.certificate_path:
            return read_given(wanted.certificate_path), read_given(wanted.key_path)
        both = read(self.path(wanted))
        return both, both

    # look

    def look(self, wanted: Wanted, now: float) -> State:
        """The certificate on the host. Raises CertificateError for a given one that can't be served."""
        if wanted.mode == "provided":
            return self._look_at_provided(wanted, now)
        both = read(self.path(wanted))
        if both is None:
            return State(due="there is none")
        try:
            found = inspect(both, both)
        except CertificateError as error:
            return State(due=str(error))
        if not both.startswith(self.source(wanted)):
            return State(found, "it is from elsewhere")
        if missing := found.missing(self.names(wanted)):
            return State(found, f"it lacks {', '.join(missing)}")
        if now > found.due_at:
            return State(found, f"it ends on {found.end_date}")
        if wanted.mode == "selfsigned":
            try:
                inspect(both, both, self.host_authority.certificate)
            except CertificateError:
                return State(found, "it is signed by another authority")
        return State(found)

    def _look_at_provided(self, wanted: Wanted, now: float) -> State:
        certificate, key = wanted.certificate, wanted.key
        if wanted.certificate_path:
            for path in (wanted.certificate_path, wanted.key_path):
                if read_given(path) is None:
                    raise CertificateError(
                        f"there is no file {path} on the host, or it is behind a link that others than root can change"
                    )
            certificate, key = (str(text) for text in self.texts(wanted))
        found = inspect(certificate, key)
        wrong = problems(found, list(wanted.names), now)
        if expired := expiry(found, now):
            # One that is deployed already only causes a warning. The other sites and applications are deployed.
            wrong = [problem for problem in wrong if problem != expired or not self.is_deployed(wanted, certificate)]
        if wrong:
            raise CertificateError("; ".join(wrong))
        if wanted.certificate_path or read(self.path(wanted)) == self.provided(wanted):
            return State(found)
        return State(found, "another one is given")

    def is_deployed(self, wanted: Wanted, certificate: str) -> bool:
        """Whether nginx already uses a given certificate. One on the host is in use if nginx serves it."""
        if wanted.certificate_path:
            return served(wanted.port, wanted.server_name) == fingerprint(certificate)
        return deployed_fingerprint(self.path(wanted)) == fingerprint(certificate)

    def is_served(self, wanted: Wanted) -> bool:
        """Whether nginx serves the certificate that is on the disk."""
        return served(wanted.port, wanted.server_name) == fingerprint(str(self.texts(wanted)[0]))

    def is_stale(self, wanted: Wanted) -> bool:
        """Whether nginx serves another certificate than the one on the disk. It must serve one for that."""
        text = self.texts(wanted)[0]
        shown = served(wanted.port, wanted.server_name)
        return bool(text and blocks(text)) and shown is not None and shown != fingerprint(str(text))

    # obtain

    def provided(self, wanted: Wanted) -> str:
        return f"{self.source(wanted)}{wanted.certificate.strip()}\n{wanted.key.strip()}\n"

    def obtain(self, wanted: Wanted) -> str:
        """The text of the file for a new certificate and its key."""
        if wanted.mode == "provided":
            return self.provided(wanted)
        if wanted.mode == "acme":
            return self.unused(wanted) or self._ordered(wanted)
        return self.source(wanted) + self.host_authority.sign(self.names(wanted))

    def unused(self, wanted: Wanted) -> str | None:
        """A certificate that was ordered before, was never served, and can be used."""
        text = read(self.acme.unused_path(wanted.name))
        if text is None or not text.startswith(self.source(wanted)):
            return None
        try:
            found = inspect(text, text)
        except CertificateError:
            return None
        return None if problems(found, list(wanted.names), time.time()) or time.time() > found.due_at else text

    def _ordered(self, wanted: Wanted) -> str:
        text = self.source(wanted) + self.acme.order(wanted.name, list(wanted.names))
        write(self.acme.unused_path(wanted.name), text)
        return text

    def mark_as_used(self, wanted: Wanted) -> None:
        """Forget the copy of an ordered certificate, because nginx serves it now."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self.acme.unused_path(wanted.name))
