# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Read a certificate and judge it: names, dates, key. Also runs on the controller, on what a user gives."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import ssl
import tempfile
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError

# Days before the end from which every run warns. Certificates that renew themselves do so much earlier.
WARN_DAYS = 21
# The rest of the life at which a certificate is renewed: 30 days of Let's Encrypt's 90. It suits certificates of six
# days as well.
RENEW_AT = 1 / 3

BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----(?:(?!-----).)+-----END CERTIFICATE-----", re.DOTALL)
KEY_BLOCK = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY)-----(?:(?!-----).)+-----END (?P=kind)-----", re.DOTALL
)
KEY = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]*)PRIVATE KEY-----")
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h: an expired certificate is read, too, so that messages show its
# date.
NO_CHECK_TIME = 0x200000
# X509_V_FLAG_PARTIAL_CHAIN of the same file: ssl.VERIFY_X509_PARTIAL_CHAIN, which Python 3.9 does not have.
PARTIAL_CHAIN = 0x80000


class CertificateError(HostError):
    """A problem with a certificate, in words that continue "its certificate is not usable: …"."""


@dataclass(frozen=True)
class Certificate:
    """The content of a certificate."""

    names: tuple[str, ...]
    begins: float
    ends: float
    fingerprint: str
    ocsp: bool = False

    def covers(self, name: str) -> bool:
        """Whether the certificate is valid for the name: by the name itself, or by a pattern one level up."""
        name = normal(name)
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names

    def missing(self, names: list[str]) -> list[str]:
        return [name for name in names if not self.covers(name)]

    def days_left(self, now: float) -> int:
        return int((self.ends - now) // 86400)

    @property
    def due_at(self) -> float:
        """When it is time to renew the certificate."""
        return self.ends - (self.ends - self.begins) * RENEW_AT

    @property
    def end_date(self) -> str:
        return day(self.ends)


def day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def normal(name: str) -> str:
    """A name in the one spelling that names are compared in. An address has many."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().rstrip(".")


def blocks(text: str) -> list[str]:
    """The certificates of a text in PEM form. The site's own is the first."""
    return BLOCK.findall(text)


def certificates_of(text: str) -> str:
    """The certificates of a text alone. A file may also hold their key, which is not for every reader."""
    return "".join(f"{block}\n" for block in blocks(text))


def keys_of(text: str) -> str:
    """The private keys of a text alone, without the certificates that a file may also hold."""
    return "".join(f"{found.group()}\n" for found in KEY_BLOCK.finditer(text))


def fingerprint(text: str) -> str:
    """The fingerprint of the first certificate of a text."""
    return sha256(ssl.PEM_cert_to_DER_cert(blocks(text)[0])).hexdigest()


def inspect(certificate: str, key: str, ca: str | None = None) -> Certificate:
    """Read a certificate. Raises CertificateError if it, or its key, could not be served.

    Python shows the dates and names of a certificate only after a verified handshake. So this function shakes hands
    with itself, in memory (4 ms). The handshake also proves that the key belongs to the certificate.
    """
    found = blocks(certificate)
    if not found:
        raise CertificateError("it holds no certificate: there is no line -----BEGIN CERTIFICATE-----")
    kind = KEY.search(key)
    if kind is None:
        raise CertificateError("its key is not a private key: there is no line such as -----BEGIN PRIVATE KEY-----")
    if kind["kind"].startswith("ENCRYPTED") or "Proc-Type: 4,ENCRYPTED" in key:
        raise CertificateError(
            "its key has a passphrase, but nginx starts without an operator who could type it. Remove it with 'openssl "
            "pkey -in KEY -out NEW', and protect the file with ansible-vault instead"
        )
    with tempfile.TemporaryDirectory(prefix="pyweb-") as folder:
        files = {f"{folder}/certificate": "\n".join(found), f"{folder}/key": key}
        for path, text in files.items():
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
                stream.write(text)
        peer = shake_hands(f"{folder}/certificate", f"{folder}/key", trusted=ca or found[0])
    # To ask the OCSP responder, nginx needs the issuer's certificate, which is the second one.
    return described(peer, fingerprint(found[0]), ocsp=bool(peer.get("OCSP")) and len(found) > 1)


def described(peer: dict[str, Any], fingerprint: str, ocsp: bool = False) -> Certificate:
    """A certificate from what Python's ``getpeercert`` returns for it."""
    return Certificate(
        names=tuple(normal(value) for kind, value in peer.get("subjectAltName", ()) if kind in ("DNS", "IP Address")),
        begins=ssl.cert_time_to_seconds(peer["notBefore"]),
        ends=ssl.cert_time_to_seconds(peer["notAfter"]),
        fingerprint=fingerprint,
        ocsp=ocsp,
    )


def shake_hands(certificate: str, key: str, trusted: str) -> dict[str, Any]:
    """A handshake in memory with a server that has these files; returns what the client's ``getpeercert`` returns."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            raise CertificateError(
                "its key belongs to another certificate. Give the key that its request was made with. In a file with "
                "several certificates, the site's own comes first"
            ) from error
        raise CertificateError(f"OpenSSL refuses it: {error.reason or error}") from error
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= PARTIAL_CHAIN | NO_CHECK_TIME
    try:
        client.load_verify_locations(cadata=trusted)
        one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
        sides = [client.wrap_bio(one, other), server.wrap_bio(other, one, server_side=True)]
        for _step in range(3):
            for side in sides:
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        peer = sides[0].getpeercert()
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(f"browsers would refuse it: {error.verify_message}") from error
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(f"OpenSSL refuses it: {error}") from error
    return peer or {}


def expiry(found: Certificate, now: float) -> str:
    """The problem with a certificate that has expired, as a sentence without its full stop; empty if it has not."""
    return f"it has expired on {found.end_date}. Give one that is valid" if found.ends <= now else ""


def problems(found: Certificate, names: list[str], now: float) -> list[str]:
    """Why a certificate can't be used for these names; each as a sentence without its full stop."""
    wrong = []
    if expired := expiry(found, now):
        wrong.append(expired)
    elif found.begins > now:
        wrong.append(f"it is not valid before {day(found.begins)}. Check the clock, or give one that is valid now")
    if missing := found.missing(names):
        valid_for = ", ".join(found.names) or "no name at all"
        wrong.append(
            f"it is for {valid_for}, but the site also answers to {', '.join(missing)}. Give one that has every name, "
            "or remove the name from the site"
        )
    return wrong
