# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""TLS certificates: what one holds, whether it will do, how it is made, fetched and renewed.

Needs the standard library alone, for three use it: the controller looks at a user's certificates before anything
changes, the module nginx_config brings them to the host, and nginx_config installs this very file there as the program
of the timer that renews them (see main).
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

# Days before the end at which every run warns. What renews itself does so much earlier.
WARN_DAYS = 21
# A third of the life is left: 30 days of Let's Encrypt's 90, and right for certificates that live six days as well.
RENEW_AT = 1 / 3
# Days. Mozilla's guideline allows 366, and the timer renews long before.
SELFSIGNED_DAYS = 365
CA_DAYS = 3650
ORDER_TIMEOUT = 180  # seconds for one certificate; an authority answers within ten
RELOAD_TIMEOUT = 30.0  # seconds until nginx must serve what is on the disk

BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
KEY = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]*)PRIVATE KEY-----")
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h: what has expired is to be told, with its date, not just refused.
NO_CHECK_TIME = 0x200000
CHALLENGE_PATH = "/.well-known/acme-challenge/"


class CertificateError(Exception):
    """What is wrong with a certificate, in words for the user."""


# --- what a certificate says --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """What one holds, as far as anybody here asks."""

    names: tuple[str, ...]
    begins: float
    ends: float
    fingerprint: str
    ocsp: bool = False

    def covers(self, name: str) -> bool:
        """Whether a visitor who asks for this name accepts it: the name itself, or its pattern one level up."""
        name = normal(name)
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names

    def missing(self, names: list[str]) -> list[str]:
        return [name for name in names if not self.covers(name)]

    def days_left(self, now: float) -> int:
        return int((self.ends - now) // 86400)

    @property
    def due_at(self) -> float:
        """When it is time for a new one, if it can be had without a person."""
        return self.ends - (self.ends - self.begins) * RENEW_AT

    @property
    def end_date(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.ends))


def normal(name: str) -> str:
    """A name in the one spelling that names are compared in; addresses have many."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().rstrip(".")


def blocks(text: str) -> list[str]:
    """The certificates of a text in PEM form, the site's own first."""
    return BLOCK.findall(text)


def fingerprint(text: str) -> str:
    """The fingerprint of the first certificate of a text."""
    return sha256(ssl.PEM_cert_to_DER_cert(blocks(text)[0])).hexdigest()


def inspect(certificate: str, key: str, ca: str | None = None) -> Certificate:
    """What a certificate holds. Raises CertificateError where it, or its key, could not be served.

    Python tells a certificate's dates and names only to who verified it in a handshake. So it shakes hands with itself,
    in memory: that also proves that the key belongs to it, which is the most frequent mistake. 4 ms.
    """
    found = blocks(certificate)
    if not found:
        raise CertificateError("it holds no certificate: there is no line -----BEGIN CERTIFICATE-----")
    kind = KEY.search(key)
    if kind is None:
        raise CertificateError("its key is no private key: there is no line such as -----BEGIN PRIVATE KEY-----")
    if kind["kind"].startswith("ENCRYPTED") or "Proc-Type: 4,ENCRYPTED" in key:
        raise CertificateError(
            "its key has a passphrase, which nobody could type when nginx starts. Take it off: openssl pkey -in KEY "
            "-out NEW, and protect the file with ansible-vault instead"
        )
    with tempfile.TemporaryDirectory(prefix="pyweb-") as folder:
        paths = [f"{folder}/certificate", f"{folder}/key"]
        for path, text in zip(paths, ("\n".join(found), key), strict=True):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
                stream.write(text)
        told = _shake_hands(*paths, trusted=ca or found[0])
    # nginx asks the responder for it, and needs the issuer's certificate for the question.
    return described(told, fingerprint(found[0]), ocsp=bool(told.get("OCSP")) and len(found) > 1)


def described(told: dict[str, Any], fingerprint: str, ocsp: bool = False) -> Certificate:
    """A certificate as Python tells of one that it has verified."""
    return Certificate(
        names=tuple(normal(value) for kind, value in told.get("subjectAltName", ()) if kind in ("DNS", "IP Address")),
        begins=ssl.cert_time_to_seconds(told["notBefore"]),
        ends=ssl.cert_time_to_seconds(told["notAfter"]),
        fingerprint=fingerprint,
        ocsp=ocsp,
    )


def _shake_hands(certificate: str, key: str, trusted: str) -> dict[str, Any]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            raise CertificateError(
                "its key belongs to another certificate. Give the key that its request was made with; in a file with "
                "several certificates the site's own comes first"
            ) from error
        raise CertificateError(f"OpenSSL refuses it: {error.reason or error}") from error
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    try:
        client.load_verify_locations(cadata=trusted)
        one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
        sides = [client.wrap_bio(one, other), server.wrap_bio(other, one, server_side=True)]
        for _ in range(3):
            for side in sides:
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        told = sides[0].getpeercert()
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(f"browsers would refuse it: {error.verify_message}") from error
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(f"OpenSSL refuses it: {error}") from error
    return told or {}


def problems(found: Certificate, names: list[str], now: float) -> list[str]:
    """Why a certificate won't do for these names; each in words that continue "its certificate …"."""
    wrong = []
    if found.ends <= now:
        wrong.append(f"has expired on {found.end_date}. Give one that is valid")
    elif found.begins > now:
        wrong.append(f"is not valid before {time.strftime('%Y-%m-%d', time.gmtime(found.begins))}. Is the clock right?")
    if missing := found.missing(names):
        wrong.append(
            f"is for {', '.join(found.names) or 'no name at all'}, but the site also answers to {', '.join(missing)}. "
            "Give one that has every name, or take the name from the site"
        )
    return wrong


def server_name(names: list[str]) -> str:
    """A name that a visitor may ask for; none for the default site."""
    return names[0].replace("*.", "www.", 1) if names else ""


def served(port: int, name: str, timeout: float = 5.0) -> str | None:
    """The fingerprint of what is served on a port of this host to who asks for the name, None if nothing is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=name or None) as secure,
        ):
            return sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()
    except (OSError, ValueError):
        return None


# --- the certificates of a host -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """The certificate of one site, as it should be."""

    name: str
    mode: str
    names: tuple[str, ...]
    port: int
    http_port: int = 80
    # Of the mode `provided`: either the texts, or where they are on this host.
    certificate: str = ""
    key: str = ""
    certificate_path: str = ""
    key_path: str = ""

    @property
    def server_name(self) -> str:
        return server_name(list(self.names))


@dataclass(frozen=True)
class State:
    """What there is of it."""

    found: Certificate | None = None
    due: str = ""  # why a new one is wanted; empty if none is


@dataclass(frozen=True)
class Authority:
    """Where certificates of the mode `acme` come from."""

    directory: str = ""
    email: str = ""
    ca_bundle: str = ""


class Store:
    """The certificates of a host: one file for each site, with its chain and its key, replaced as one."""

    def __init__(
        self,
        folder: str,
        state_folder: str,
        authority: Authority,
        ca: tuple[str, str] = ("", ""),
    ) -> None:
        self.folder = folder
        self.state_folder = state_folder
        self.authority = authority
        self.given_ca = ca

    @property
    def ca_path(self) -> str:
        return f"{self.folder}/ca.crt"

    @property
    def ca_key_path(self) -> str:
        return f"{self.folder}/ca.key"

    @property
    def acme_folder(self) -> str:
        return f"{self.state_folder}/acme"

    @property
    def challenges(self) -> str:
        return f"{self.acme_folder}/challenges"

    def path(self, wanted: Wanted) -> str:
        return f"{self.folder}/{wanted.name}.pem"

    def names(self, wanted: Wanted) -> list[str]:
        """What the certificate has to be valid for. The default site is asked for by the host's own names."""
        if wanted.names or wanted.mode != "selfsigned":
            return list(wanted.names)
        return list(dict.fromkeys(filter(None, [socket.gethostname(), socket.getfqdn(), *own_addresses()])))

    def source(self, wanted: Wanted) -> str:
        """The line before the certificate that says where it is from: one from elsewhere is to be replaced."""
        origin = f" {self.authority.directory}" if wanted.mode == "acme" else ""
        return f"# {wanted.mode}{origin}, by the nginx role of pyweb.stack\n"

    def texts(self, wanted: Wanted) -> tuple[str | None, str | None]:
        """Certificate and key as they are on the host."""
        if wanted.certificate_path:
            return read(wanted.certificate_path), read(wanted.key_path)
        both = read(self.path(wanted))
        return both, both

    def look(self, wanted: Wanted, now: float) -> State:
        """What there is, and why it won't do. Raises CertificateError for what a user gave and nobody could serve."""
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
                inspect(both, both, self.given_ca[0] or read(self.ca_path) or "")
            except CertificateError:
                return State(found, "it is signed by another authority")
        return State(found)

    def _look_at_provided(self, wanted: Wanted, now: float) -> State:
        certificate, key = wanted.certificate, wanted.key
        if wanted.certificate_path:
            texts = self.texts(wanted)
            for path, text in zip((wanted.certificate_path, wanted.key_path), texts, strict=True):
                if text is None:
                    raise CertificateError(f"there is no file {path} on the host")
            certificate, key = str(texts[0]), str(texts[1])
        found = inspect(certificate, key)
        if wrong := problems(found, list(wanted.names), now):
            raise CertificateError("; ".join(wrong))
        if wanted.certificate_path or read(self.path(wanted)) == self.provided(wanted):
            return State(found)
        return State(found, "another one is given")

    def provided(self, wanted: Wanted) -> str:
        return f"{self.source(wanted)}{wanted.certificate.strip()}\n{wanted.key.strip()}\n"

    def obtain(self, wanted: Wanted) -> str:
        """A new certificate with its key, as the file is to hold them."""
        if wanted.mode == "provided":
            return self.provided(wanted)
        if wanted.mode == "acme":
            return self.unused(wanted) or self._ordered(wanted)
        return self.source(wanted) + self.sign(wanted)

    # An authority gives the same certificate only a few times a week. So one that came is kept until nginx serves it:
    # whatever keeps nginx from that, no second one is ordered.

    @property
    def unused_folder(self) -> str:
        return f"{self.acme_folder}/unused"

    def unused_path(self, wanted: Wanted) -> str:
        return f"{self.unused_folder}/{wanted.name}.pem"

    def unused(self, wanted: Wanted) -> str | None:
        """One that was ordered before and never served, if it will do."""
        text = read(self.unused_path(wanted))
        if text is None or not text.startswith(self.source(wanted)):
            return None
        try:
            found = inspect(text, text)
        except CertificateError:
            return None
        return None if problems(found, list(wanted.names), time.time()) or time.time() > found.due_at else text

    def _ordered(self, wanted: Wanted) -> str:
        text = self.source(wanted) + self.order(wanted)
        write(self.unused_path(wanted), text)
        return text

    def used(self, wanted: Wanted) -> None:
        """nginx serves it."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self.unused_path(wanted))

    # signed here

    def sign(self, wanted: Wanted) -> str:
        self.provide_ca()
        names = self.names(wanted)
        with tempfile.TemporaryDirectory(prefix="pyweb-") as folder:
            extensions = [
                "basicConstraints=critical,CA:FALSE",
                "keyUsage=critical,digitalSignature",
                "extendedKeyUsage=serverAuth",
                "subjectKeyIdentifier=hash",
                "authorityKeyIdentifier=keyid",
                f"subjectAltName={alternatives(names)}",
            ]
            with open(f"{folder}/extensions", "w", encoding="utf-8") as stream:
                stream.write("\n".join(extensions) + "\n")
            self._openssl(
                *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-keyout", f"{folder}/key", "-out", f"{folder}/request", "-subj", f"/CN={names[0][:64]}"),
            )
            self._openssl(
                *("x509", "-req", "-in", f"{folder}/request", "-CA", self.ca_path, "-CAkey", self.ca_key_path),
                *("-set_serial", f"0x{secrets.token_hex(16)}", "-days", str(SELFSIGNED_DAYS), "-sha256"),
                *("-extfile", f"{folder}/extensions", "-out", f"{folder}/certificate"),
            )
            return f"{read(f'{folder}/certificate')}{read(f'{folder}/key')}"

    def provide_ca(self) -> None:
        """The authority that signs: the one that was given, or one of this host's own, made once."""
        if all(self.given_ca):
            for path, text in zip((self.ca_path, self.ca_key_path), self.given_ca, strict=True):
                if read(path) != text:
                    write(path, text, 0o644 if path == self.ca_path else 0o600)
            return
        if self._ca_will_do():
            return
        with tempfile.TemporaryDirectory(prefix="pyweb-") as folder:
            self._openssl(
                *("req", "-x509", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-keyout", f"{folder}/key", "-out", f"{folder}/certificate", "-days", str(CA_DAYS), "-sha256"),
                *("-subj", f"/CN=pyweb.stack on {socket.gethostname()}"[:64]),
                *("-addext", "basicConstraints=critical,CA:TRUE,pathlen:0"),
                *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            )
            write(self.ca_key_path, str(read(f"{folder}/key")), 0o600)
            write(self.ca_path, str(read(f"{folder}/certificate")), 0o644)

    def _ca_will_do(self) -> bool:
        """Whether it is whole, and outlives what it signs."""
        if read(self.ca_path) is None or read(self.ca_key_path) is None:
            return False
        try:
            self._openssl("x509", "-in", self.ca_path, "-noout", "-checkend", str(SELFSIGNED_DAYS * 86400))
            of_certificate = self._openssl("x509", "-in", self.ca_path, "-noout", "-pubkey")
            return of_certificate == self._openssl("pkey", "-in", self.ca_key_path, "-pubout")
        except CertificateError:
            return False

    def _openssl(self, *words: str) -> str:
        try:
            answer = run(["openssl", *words], timeout=60)
        except FileNotFoundError:
            raise CertificateError("the program openssl is not there. Install the package openssl") from None
        if answer.returncode:
            raise CertificateError(f"openssl {words[0]} failed: {answer.stderr.strip()}")
        return answer.stdout

    # signed by an authority that is asked over ACME, by dehydrated

    def order(self, wanted: Wanted) -> str:
        """Have dehydrated order one. It proves the names by files that nginx serves at the challenge path."""
        certificates = f"{self.acme_folder}/certificates"
        self.make_folders()
        write(f"{self.acme_folder}/config", self.dehydrated_config(certificates), 0o600)
        # Its own lock would outlive a killed run, and refuse every later one; who calls this holds ours.
        words = ["dehydrated", "--cron", "--accept-terms", "--force", "--no-lock"]
        words += ["--config", f"{self.acme_folder}/config"]
        words += ["--domain", " ".join(wanted.names), "--alias", wanted.name]
        shutil.rmtree(f"{certificates}/{wanted.name}", ignore_errors=True)
        try:
            answer = run(words, timeout=ORDER_TIMEOUT)
            said = answer.stdout + answer.stderr
            if answer.returncode:
                raise CertificateError(why_refused(said, list(wanted.names), self.authority.directory))
            chain, key = (str(read(f"{certificates}/{wanted.name}/{file}.pem")) for file in ("fullchain", "privkey"))
        except FileNotFoundError:
            raise CertificateError("the program dehydrated is not there. Install the package dehydrated") from None
        except subprocess.TimeoutExpired:
            raise CertificateError(f"no certificate came within {ORDER_TIMEOUT} s") from None
        finally:  # this program keeps what it needs, and a key but once
            shutil.rmtree(f"{certificates}/{wanted.name}", ignore_errors=True)
        inspect(chain, key)
        return f"{chain}{key}"

    def make_folders(self) -> None:
        """nginx's workers read the proofs, and nothing else of this folder."""
        if not os.path.isdir(self.state_folder):
            os.makedirs(self.state_folder)
            os.chmod(self.state_folder, 0o755)  # noqa: S103  # whatever the umask: the workers pass through
        os.makedirs(self.challenges, exist_ok=True)
        for name in ("certificates", "unused"):
            os.makedirs(f"{self.acme_folder}/{name}", mode=0o700, exist_ok=True)
        for folder, mode in ((self.acme_folder, 0o711), (self.challenges, 0o755)):
            os.chmod(folder, mode)

    def dehydrated_config(self, certificates: str) -> str:
        """A file that bash reads."""
        settings = {
            "CA": self.authority.directory,
            "BASEDIR": self.acme_folder,
            "CERTDIR": certificates,
            "WELLKNOWN": self.challenges,
            "KEY_ALGO": "prime256v1",
            "CONTACT_EMAIL": self.authority.email,
            "CURL_OPTS": f"--cacert {shlex.quote(self.authority.ca_bundle)}" if self.authority.ca_bundle else "",
        }
        return "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items())

    def check_challenge(self, wanted: Wanted) -> None:
        """Whether nginx gives out what the authority will ask for: its refusals are counted, and few are allowed."""
        token, text = f"check-{secrets.token_hex(8)}", secrets.token_hex(16)
        self.make_folders()
        write(f"{self.challenges}/{token}", text, 0o644)
        try:
            for name in wanted.names:
                said = _get(wanted.http_port, name, CHALLENGE_PATH + token)
                if said != text:
                    raise CertificateError(
                        f"nginx itself does not answer http://{name}{CHALLENGE_PATH} on port {wanted.http_port}, where "
                        "the authority asks for the proof. Does `extra`, or a file in conf.d, catch it?"
                    )
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.challenges}/{token}")


def _get(port: int, host: str, path: str) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            answer = b""
            while data := connection.recv(4096):
                answer += data
    except OSError:
        return ""
    return answer.partition(b"\r\n\r\n")[2].decode(errors="replace")


def alternatives(names: list[str]) -> str:
    """subjectAltName in openssl's notation."""
    kinds = []
    for name in names:
        try:
            kinds.append(f"IP:{ipaddress.ip_address(name)}")
        except ValueError:
            kinds.append(f"DNS:{name}")
    return ",".join(kinds)


def own_addresses() -> list[str]:
    """The addresses this host is reached at; nothing is sent for that."""
    found = []
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            found.append(probe.getsockname()[0])
    return found


def why_refused(output: str, names: list[str], directory: str) -> str:
    """What dehydrated says, in the authority's own words where it has some, and what to look at."""
    details = re.findall(r'"detail"\]?:?\s*("(?:[^"\\]|\\.)*")', output)
    said = " ".join(dict.fromkeys(json.loads(detail, strict=False) for detail in details))
    if not said:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        said = " ".join(line for line in lines if "ERROR" in line) or "".join(lines[-1:]) or "nothing"
    if "Problem connecting to server" in output:
        return (
            f"the authority at {directory} could not be asked: {said}. Does this host reach that address, and trust it?"
        )
    asked = ", ".join(f"http://{name}{CHALLENGE_PATH}" for name in names)
    return (
        f"the authority gave no certificate: {said}. It asks {asked} from outside, on port 80: look whether each name "
        "leads to this host (DNS, both A and AAAA), and whether a firewall lets port 80 through"
    )


# --- files and programs -------------------------------------------------------------------------------------------


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(path: str, text: str, mode: int = 0o600) -> None:
    """By an atomic rename: whoever reads it sees the old one or the new one, and never half of it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{secrets.token_hex(4)}.new"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def run(words: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=timeout,
        cwd="/",
    )


# --- the program of the timer -------------------------------------------------------------------------------------


def renew(plan: dict[str, Any], now: float, say: Callable[[str], None]) -> list[str]:
    """Renew what is due, have nginx load it, and see that it serves it. Returns what went wrong."""
    store = store_of(plan)
    wrong: list[str] = []
    before: dict[str, str | None] = {}
    everything = [Wanted(**{**item, "names": tuple(item["names"])}) for item in plan["certificates"]]
    for wanted in everything:
        try:
            state = store.look(wanted, now)
            # A first order is for a run of the playbook, which can also bring https on.
            if state.due and wanted.mode != "provided" and (state.found or wanted.mode != "acme"):
                text = store.obtain(wanted)
                before[store.path(wanted)] = read(store.path(wanted))
                write(store.path(wanted), text)
                say(f"{wanted.name}: renewed, because {state.due}")
        except (CertificateError, OSError) as error:
            wrong.append(f"{wanted.name}: {error}")
    if stale := [wanted for wanted in everything if store.path(wanted) in before or is_stale(store, wanted)]:
        try:
            load(plan["nginx"], plan["entry"], plan["pid_file"], lambda: all(is_served(store, one) for one in stale))
            for one in stale:
                store.used(one)
            say(f"nginx serves the new certificates of {', '.join(one.name for one in stale)}")
        except CertificateError as error:
            for path, text in before.items():
                if text is not None:
                    write(path, text)
            wrong.append(f"{error}. The previous certificates are back")
    return wrong


def is_served(store: Store, wanted: Wanted) -> bool:
    """Whether nginx serves what is on the disk."""
    return served(wanted.port, wanted.server_name) == fingerprint(str(store.texts(wanted)[0]))


def is_stale(store: Store, wanted: Wanted) -> bool:
    """Whether nginx serves something else than what is on the disk. Where it serves nothing, nothing is stale."""
    text = store.texts(wanted)[0]
    shown = served(wanted.port, wanted.server_name)
    return bool(text and blocks(text)) and shown is not None and shown != fingerprint(str(text))


def load(nginx: str, entry: str, pid_file: str, done: Callable[[], bool]) -> None:
    """Have nginx read its certificates again, and wait until it serves them."""
    test = run([nginx, "-t", "-q", "-c", entry], timeout=60)
    if test.returncode:
        raise CertificateError(f"nginx refuses its configuration: {test.stderr.strip()}")
    try:
        pid = master(pid_file)
        before = workers(pid)
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        raise CertificateError("nginx does not run") from None
    deadline = time.monotonic() + RELOAD_TIMEOUT
    while before & workers(pid) or not done():
        if time.monotonic() > deadline:
            raise CertificateError(f"nginx still serves the old certificates {RELOAD_TIMEOUT:.0f} s after its reload")
        time.sleep(0.2)


def master(pid_file: str) -> int:
    """The master of nginx. A file that a killed one has left may name a process of somebody else by now."""
    pid = (read(pid_file) or "").strip()
    if not pid.isdecimal() or not (read(f"/proc/{pid}/cmdline") or "").startswith("nginx: master process"):
        raise ProcessLookupError
    return int(pid)


def workers(master: int) -> set[str]:
    """Its workers that take new connections. For a moment after a reload the old ones do, too."""
    found = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):  # some end meanwhile
            title = str(read(f"/proc/{pid}/cmdline")).rstrip("\0 ")
            parent = str(read(f"/proc/{pid}/stat")).rpartition(")")[2].split()[1]
            leaving = title.endswith("is shutting down")
            if parent == str(master) and title.startswith("nginx: worker process") and not leaving:
                found.add(pid)
    return found


def store_of(plan: dict[str, Any]) -> Store:
    return Store(plan["folder"], plan["state_folder"], Authority(**plan["authority"]))


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """The lock that a run of the module nginx_config holds as well."""
    with open(path, "a", encoding="ascii") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """certificates.py PLAN: what the timer runs. The plan is the JSON file that nginx_config wrote."""
    with open(arguments[0], encoding="utf-8") as stream:
        plan = json.load(stream)
    with locked(plan["lock"]):
        wrong = renew(plan, time.time(), print)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
