# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Certificates that the host signs itself, with an authority of its own or a given one, by openssl."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
import tempfile

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import CommandTimeout, run_command
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import CertificateError
from ansible_collections.pyweb.stack.plugins.module_utils.tls.files import read, write

# Days. Mozilla's guideline allows 366, and the timer renews long before.
CERTIFICATE_DAYS = 365
AUTHORITY_DAYS = 3650
OPENSSL_TIMEOUT = 60.0  # seconds

EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

# A file of its own, because openssl 1.1.1 adds the extensions of an option to those of the system's file, and a
# certificate with one of them twice is not valid.
AUTHORITY = """\
[req]
distinguished_name = subject
x509_extensions = authority
[subject]
[authority]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
"""


class HostAuthority:
    """The authority that signs the certificates of the mode ``selfsigned``."""

    def __init__(self, folder: str, given: tuple[str, str] = ("", "")) -> None:
        self.folder = folder
        # Certificate and key of an authority from the inventory; empty for one of the host's own.
        self.given = given

    @property
    def path(self) -> str:
        return f"{self.folder}/ca.crt"

    @property
    def key_path(self) -> str:
        return f"{self.folder}/ca.key"

    @property
    def certificate(self) -> str:
        """The authority's certificate; empty where it has not been made yet."""
        return self.given[0] or read(self.path) or ""

    def sign(self, names: list[str]) -> str:
        """A new certificate for these names, and its key."""
        self.provide()
        extensions = [
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature",
            "extendedKeyUsage=serverAuth",
            "subjectKeyIdentifier=hash",
            "authorityKeyIdentifier=keyid",
            f"subjectAltName={alternatives(names)}",
        ]
        with tempfile.TemporaryDirectory(prefix="pyweb-") as folder:
            with open(f"{folder}/extensions", "w", encoding="utf-8") as stream:
                stream.write("\n".join(extensions) + "\n")
            openssl(
                *("req", "-new", *EC_KEY, "-keyout", f"{folder}/key", "-out", f"{folder}/request"),
                *("-subj", f"/CN={names[0][:64]}"),
            )
            openssl(
                *("x509", "-req", "-in", f"{folder}/request", "-CA", self.path, "-CAkey", self.key_path),
                *("-set_serial", f"0x{secrets.token_hex(16)}", "-days", str(CERTIFICATE_DAYS), "-sha256"),
                *("-extfile", f"{folder}/extensions", "-out", f"{folder}/certificate"),
            )
            return f"{read(f'{folder}/certificate')}{read(f'{folder}/key')}"

    def provide(self) -> None:
        """Put the given authority in place, or make one of the host's own where there is no usable one."""
        if all(self.given):
            for path, text, mode in ((self.path, self.given[0], 0o644), (self.key_path, self.given[1], 0o600)):
                if read(path) != text:
                    write(path, text, mode)
            return
        if self.is_usable():
            return
        with tempfile.TemporaryDirectory(prefix="pyweb-") as folder:
            with open(f"{folder}/settings", "w", encoding="utf-8") as stream:
                stream.write(AUTHORITY)
            openssl(
                *("req", "-config", f"{folder}/settings", "-x509", "-new", *EC_KEY),
                *("-keyout", f"{folder}/key", "-out", f"{folder}/certificate"),
                *("-days", str(AUTHORITY_DAYS), "-sha256", "-subj", f"/CN=pyweb.stack on {socket.gethostname()}"[:64]),
            )
            write(self.key_path, str(read(f"{folder}/key")), 0o600)
            write(self.path, str(read(f"{folder}/certificate")), 0o644)

    def is_usable(self) -> bool:
        """Whether certificate and key belong together, and outlive the certificates that they sign."""
        if read(self.path) is None or read(self.key_path) is None:
            return False
        try:
            openssl("x509", "-in", self.path, "-noout", "-checkend", str(CERTIFICATE_DAYS * 86400))
            of_certificate = openssl("x509", "-in", self.path, "-noout", "-pubkey")
            return of_certificate == openssl("pkey", "-in", self.key_path, "-pubout")
        except CertificateError:
            return False


def openssl(*words: str) -> str:
    """Run openssl, and return its output."""
    try:
        status, out, err = run_command(["openssl", *words], OPENSSL_TIMEOUT)
    except FileNotFoundError:
        raise CertificateError("the program openssl is not installed. Install the package openssl") from None
    except CommandTimeout as error:
        raise CertificateError(str(error)) from error
    if status:
        raise CertificateError(f"openssl {words[0]} failed: {err.strip()}")
    return out


def alternatives(names: list[str]) -> str:
    """subjectAltName in openssl's notation."""
    kinds = []
    for name in names:
        try:
            kinds.append(f"IP:{ipaddress.ip_address(name)}")
        except ValueError:
            kinds.append(f"DNS:{name}")
    return ",".join(kinds)


def host_names() -> list[str]:
    """The names and addresses of this host."""
    return list(dict.fromkeys(filter(None, [socket.gethostname(), socket.getfqdn(), *host_addresses()])))


def host_addresses() -> list[str]:
    """The addresses from which this host reaches others. To find them, nothing is sent."""
    found = []
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            found.append(probe.getsockname()[0])
    return found
