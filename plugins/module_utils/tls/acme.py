# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Certificates that an ACME authority gives, ordered by dehydrated."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import socket
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import CommandTimeout, run_command
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import CertificateError, inspect
from ansible_collections.pyweb.stack.plugins.module_utils.tls.files import read, write

ORDER_TIMEOUT = 180.0  # seconds for one certificate; an authority usually answers within ten
CHALLENGE_PATH = "/.well-known/acme-challenge/"


@dataclass(frozen=True)
class Authority:
    """An ACME authority."""

    directory: str = ""
    email: str = ""
    ca_bundle: str = ""


class AcmeClient:
    """Orders certificates. The folder holds the account at the authority and the proofs."""

    def __init__(self, folder: str, authority: Authority) -> None:
        self.folder = folder
        self.authority = authority

    @property
    def challenges(self) -> str:
        """The folder of proofs, which nginx serves at the challenge path."""
        return f"{self.folder}/challenges"

    @property
    def unused_folder(self) -> str:
        """The folder of certificates that were ordered, and that nginx has not served yet.

        An authority gives the same certificate only a few times a week. So an ordered one is kept until nginx serves
        it, and no second one is ordered, whatever keeps nginx from serving it.
        """
        return f"{self.folder}/unused"

    def unused_path(self, name: str) -> str:
        return f"{self.unused_folder}/{name}.pem"

    def order(self, name: str, names: list[str]) -> str:
        """Have dehydrated order a certificate for these names; returns the chain and the key."""
        certificates = f"{self.folder}/certificates"
        self.make_folders()
        write(f"{self.folder}/config", self.dehydrated_config(certificates), 0o600)
        # dehydrated's own lock would outlive a killed run, and refuse every later one. The caller holds ours.
        argv = ["dehydrated", "--cron", "--accept-terms", "--force", "--no-lock", "--config", f"{self.folder}/config"]
        argv += ["--domain", " ".join(names), "--alias", name]
        shutil.rmtree(f"{certificates}/{name}", ignore_errors=True)
        try:
            status, out, err = run_command(argv, ORDER_TIMEOUT)
            if status:
                raise CertificateError(why_refused(out + err, names, self.authority.directory))
            chain, key = (str(read(f"{certificates}/{name}/{file}.pem")) for file in ("fullchain", "privkey"))
        except FileNotFoundError:
            raise CertificateError("the program dehydrated is not installed. Install the package dehydrated") from None
        except CommandTimeout:
            raise CertificateError(f"no certificate came within {ORDER_TIMEOUT:.0f} s") from None
        finally:  # no second copy of the key stays on the host
            shutil.rmtree(f"{certificates}/{name}", ignore_errors=True)
        inspect(chain, key)
        return f"{chain}{key}"

    def make_folders(self) -> None:
        """nginx's workers may read the proofs, and nothing else of this folder."""
        state_folder = os.path.dirname(self.folder)
        if not os.path.isdir(state_folder):
            os.makedirs(state_folder)
            os.chmod(state_folder, 0o755)  # noqa: S103  # whatever the umask: the workers pass through
        os.makedirs(self.challenges, exist_ok=True)
        for name in ("certificates", "unused"):
            os.makedirs(f"{self.folder}/{name}", mode=0o700, exist_ok=True)
        for folder, mode in ((self.folder, 0o711), (self.challenges, 0o755)):
            os.chmod(folder, mode)

    def dehydrated_config(self, certificates: str) -> str:
        """The settings of dehydrated, a file that bash reads."""
        settings = {
            "CA": self.authority.directory,
            "BASEDIR": self.folder,
            "CERTDIR": certificates,
            "WELLKNOWN": self.challenges,
            "KEY_ALGO": "prime256v1",
            "CONTACT_EMAIL": self.authority.email,
            "CURL_OPTS": f"--cacert {shlex.quote(self.authority.ca_bundle)}" if self.authority.ca_bundle else "",
        }
        return "".join(f"{key}={shlex.quote(value)}\n" for key, value in settings.items())

    def check_challenge(self, names: list[str], port: int) -> None:
        """Check that nginx serves proofs for every name. An authority counts its refusals, and allows few."""
        token, text = f"check-{secrets.token_hex(8)}", secrets.token_hex(16)
        self.make_folders()
        write(f"{self.challenges}/{token}", text, 0o644)
        try:
            for name in names:
                if get(port, name, CHALLENGE_PATH + token) != text:
                    raise CertificateError(
                        f"nginx itself does not answer http://{name}{CHALLENGE_PATH} on port {port}, where the "
                        "authority asks for the proof. Check whether `extra`, or a file in conf.d, catches it"
                    )
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.challenges}/{token}")


def get(port: int, host: str, path: str) -> str:
    """The body of the answer to a request on a port of this host; empty where there is no answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            answer = b""
            while data := connection.recv(4096):
                answer += data
    except OSError:
        return ""
    return answer.partition(b"\r\n\r\n")[2].decode(errors="replace")


def why_refused(output: str, names: list[str], directory: str) -> str:
    """Why there is no certificate, in the authority's own words if dehydrated prints them, and what to check."""
    details = re.findall(r'"detail"\]?:?\s*("(?:[^"\\]|\\.)*")', output)
    said = " ".join(dict.fromkeys(json.loads(detail, strict=False) for detail in details))
    if not said:
        lines = [line.strip() for line in lines_of(output) if line.strip()]
        said = " ".join(line for line in lines if "ERROR" in line) or "".join(lines[-1:]) or "nothing"
    if "Problem connecting to server" in output:
        return (
            f"the authority at {directory} could not be asked: {said}. Check that this host reaches that address, and "
            "trusts its certificate"
        )
    asked = ", ".join(f"http://{name}{CHALLENGE_PATH}" for name in names)
    return (
        f"the authority gave no certificate: {said}. It asks {asked} from outside, on port 80. Check that each name "
        "leads to this host (DNS, both A and AAAA), and that no firewall blocks port 80"
    )
