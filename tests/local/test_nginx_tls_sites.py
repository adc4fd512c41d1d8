# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sites with TLS as the role renders them, with a real nginx on loopback and real clients."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import listeners
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import has_ipv6
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.transaction import Transaction
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import inspect
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates
from certificate_factory import make
from cryptography import x509
from nginx_instance import BINARY, Answer, Front, free_port, needs_nginx

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed here: apt-get install openssl"
)
SSLYZE = Path(sys.prefix) / "sslyze/bin/sslyze"


class SecureFront(Front):
    """The role's own files, with certificates."""

    def __init__(self, folder: Path, render: Callable[..., Any]) -> None:
        super().__init__(folder, render)
        self.tls_port = free_port()

    def secure(self, mode: str = "selfsigned", **keys: Any) -> dict[str, Any]:
        tls = {"mode": mode, "port": self.tls_port, **keys.pop("tls", {})}
        return self.site(tls=tls, locations=[self.echo("/")], **keys)

    def echo(self, path: str) -> dict[str, Any]:
        """An upstream without an application; the additional nginx server below answers its requests."""
        return {"path": path, "upstream": f"http://127.0.0.1:{self.echo_port}"}

    @property
    def echo_port(self) -> int:
        if not hasattr(self, "_echo_port"):
            self._echo_port = free_port()
        return self._echo_port

    def serve(self, sites: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
        # Echoes the headers that nginx sends to the application.
        settings["extra"] = (
            f"server {{ listen 127.0.0.1:{self.echo_port};\n"
            '    location / { return 200 "$http_x_forwarded_proto $http_x_forwarded_port $http_host"; } }\n'
        )
        self.given = [{**item} for item in certificates(checked(sites, settings)[0])]
        return super().serve(sites, **settings)

    def params(self, sites: dict[str, str]) -> dict[str, Any]:
        return super().params(sites) | {"certificates": self.given}

    def secure_ask(
        self,
        path: str = "/",
        host: str = "shop.example.com",
        name: str = "",
        address: str = "127.0.0.1",
        **options: Any,
    ) -> Answer:
        """Request a host, after a handshake with another name if one is given."""
        context = ssl.create_default_context(cafile=str(self.conf / "pyweb/certificates/ca.crt"))
        for key, value in options.items():
            setattr(context, key, value)
        with (
            socket.create_connection((address, self.tls_port), 5) as plain,
            context.wrap_socket(plain, server_hostname=name or host) as wrapped,
        ):
            connection = http.client.HTTPConnection("127.0.0.1")
            connection.sock = wrapped
            connection.request("GET", path, headers={"Host": f"{host}:{self.tls_port}"})
            response = connection.getresponse()
            told = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, told, response.read())


@pytest.fixture
def front(tmp_path: Path, render: Callable[..., Any]) -> Iterator[SecureFront]:
    tmp_path.chmod(0o755)
    instance = SecureFront(tmp_path, render)
    yield instance
    instance.stop()


@needs_nginx
@needs_openssl
def test_the_application_is_told_that_its_visitor_came_by_https(front: SecureFront) -> None:
    front.serve([front.secure()])
    answer = front.secure_ask()
    assert (answer.status, answer.text.split()[0]) == (200, "https")


@needs_nginx
@needs_openssl
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_visitors_by_ipv6_are_served_by_https_too(front: SecureFront) -> None:
    front.serve([front.secure()])
    assert front.secure_ask(address="::1").text.split()[0] == "https"


@needs_nginx
@needs_openssl
def test_http_leads_to_https_but_for_the_paths_that_stay_plain(front: SecureFront) -> None:
    front.serve([front.secure(redirects=["www.shop.example.com"], tls={"plain_paths": ["/healthz"]})])
    moved = front.ask("/cart?a=1", headers={"User-Agent": "x"})
    assert (moved.status, moved.headers["location"]) == (301, f"https://shop.example.com:{front.tls_port}/cart?a=1")
    assert front.ask("/cart", method="POST").status == 308
    assert front.ask("/healthz").status == 200
    assert front.ask("/healthz/deeper").status == 301
    # Another name of the site, directly and not through HTTP.
    moved = front.ask("/x", host="www.shop.example.com")
    assert (moved.status, moved.headers["location"]) == (301, f"https://shop.example.com:{front.tls_port}/x")
    moved = front.secure_ask("/x", host="www.shop.example.com")
    assert (moved.status, moved.headers["location"]) == (301, f"https://shop.example.com:{front.tls_port}/x")


@needs_nginx
@needs_openssl
def test_who_asks_for_a_host_that_no_site_names_is_refused_in_the_handshake(front: SecureFront) -> None:
    front.serve([front.secure()])
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        front.secure_ask(host="other.example.com")


@needs_nginx
@needs_openssl
def test_a_request_for_another_host_on_a_connection_gets_421(front: SecureFront) -> None:
    """Browsers send such requests if a certificate has several names. They must not get nginx's default page."""
    front.serve([front.secure()])
    answer = front.secure_ask(host="other.example.com", name="shop.example.com")
    assert (answer.status, "Welcome" in answer.text) == (421, False)
    assert front.secure_ask().status == 200


@needs_nginx
@needs_openssl
def test_every_name_of_a_site_that_wants_it_is_kept_to_https(front: SecureFront) -> None:
    names = {"redirects": ["www.shop.example.com"]}
    for preset, told in (("strict", "max-age=31536000"), ("basic", None)):
        front.serve([front.secure(header_preset=preset, **names)])
        for host in ("shop.example.com", "www.shop.example.com"):
            assert front.secure_ask(host=host).headers.get("strict-transport-security") == told
    front.serve([front.secure(header_preset="strict", headers={"Strict-Transport-Security": ""}, **names)])
    assert "strict-transport-security" not in front.secure_ask(host="www.shop.example.com").headers


@needs_nginx
@needs_openssl
def test_a_default_site_serves_whoever_asks_by_the_names_of_the_host(front: SecureFront) -> None:
    front.serve([front.secure(domains=[])])
    text = (front.conf / "pyweb/certificates/shop.pem").read_text()
    assert socket.gethostname().lower() in inspect(text, text).names
    assert front.secure_ask(host=socket.gethostname()).status == 200


@needs_nginx
@needs_openssl
@pytest.mark.parametrize(("profile", "served"), [("intermediate", True), ("modern", False)])
def test_the_profile_decides_whether_tls_1_2_is_spoken(front: SecureFront, profile: str, served: bool) -> None:
    front.serve([front.secure()], tls_profile=profile)
    assert front.secure_ask().status == 200
    if served:
        assert front.secure_ask(maximum_version=ssl.TLSVersion.TLSv1_2).status == 200
    else:
        with pytest.raises(ssl.SSLError):
            front.secure_ask(maximum_version=ssl.TLSVersion.TLSv1_2)


@needs_nginx
@needs_openssl
def test_http_2_is_offered_and_http_1_still_spoken(front: SecureFront) -> None:
    front.serve([front.secure()])
    context = ssl.create_default_context(cafile=str(front.conf / "pyweb/certificates/ca.crt"))
    for offered, taken in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")):
        context.set_alpn_protocols(offered)
        with (
            socket.create_connection(("127.0.0.1", front.tls_port), 5) as plain,
            context.wrap_socket(plain, server_hostname="shop.example.com") as secure,
        ):
            assert secure.selected_alpn_protocol() == taken


@needs_nginx
@needs_openssl
@pytest.mark.skipif(not SSLYZE.exists(), reason="sslyze is not here: make test provides it")
@pytest.mark.parametrize("profile", ["intermediate", "modern"])
def test_sslyze_finds_mozillas_profile(front: SecureFront, profile: str) -> None:
    authority = make([], authority=True)
    given = make(["shop.example.com"], days=60, signer=(authority.certificate, authority.key))
    (front.folder / "ca.crt").write_text(authority.certificate)
    front.serve(
        [front.secure("provided", tls={"certificate": given.certificate, "key": given.key})], tls_profile=profile
    )
    words = [str(SSLYZE), f"--mozilla_config={profile}", "--certinfo_ca_file", f"{front.folder}/ca.crt"]
    words += ["--sni", "shop.example.com", f"127.0.0.1:{front.tls_port}"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stdout
    assert "OK - Compliant" in answer.stdout


@needs_nginx
def test_a_site_whose_certificate_is_still_to_come_is_whole_over_http_and_gives_the_proof(front: SecureFront) -> None:
    assert front.serve([front.secure("acme", redirects=["www.shop.example.com"])])["due"] == ["shop"]
    assert front.ask("/").text.split()[0] == "http"
    proofs = front.folder / "state/acme/challenges"
    proofs.mkdir(parents=True)
    (proofs / "token").write_text("proof")
    for host in ("shop.example.com", "www.shop.example.com"):
        assert front.ask("/.well-known/acme-challenge/token", host=host).text == "proof"
    assert front.ask("/x", host="www.shop.example.com").headers["location"].startswith("http://shop.example.com")


@needs_nginx
def test_the_proof_is_given_whatever_the_site_asks_of_its_visitors(front: SecureFront) -> None:
    given = make(["shop.example.com"])
    site = front.secure("acme", deny=["127.0.0.1"], basic_auth={"users": {"ann": "$5$x$y"}})
    proofs = front.folder / "state/acme/challenges"
    proofs.mkdir(parents=True)
    (proofs / "token").write_text("proof")
    for certificate in (False, True):
        if certificate:
            folder = front.conf / "pyweb/certificates"
            folder.mkdir()
            (folder / "shop.pem").write_text(given.certificate + given.key)
        front.serve([site])
        assert front.ask("/.well-known/acme-challenge/token").text == "proof"
    assert front.ask("/").status == 301


# --- without nginx ------------------------------------------------------------------------------------------------


@needs_nginx
def test_a_certificate_with_a_responder_is_stapled_and_one_without_is_not(front: SecureFront) -> None:
    authority = make([], authority=True)
    for ocsp in ("http://127.0.0.1:9/", ""):
        given = make(["shop.example.com"], ocsp=ocsp, signer=(authority.certificate, authority.key))
        tls = {"certificate": given.certificate + authority.certificate, "key": given.key}
        front.serve([front.secure("provided", tls=tls)])
        shown = subprocess.run(
            [str(BINARY), "-T", "-c", f"{front.conf}/nginx.conf"], capture_output=True, text=True, check=True
        )
        assert ("ssl_stapling on" in shown.stdout) is bool(ocsp)


@needs_nginx
@needs_openssl
def test_a_browser_gets_the_answer_of_the_responder_with_the_handshake(front: SecureFront) -> None:
    authority, port = make([], authority=True), free_port()
    signer = (authority.certificate, authority.key)
    given = make(["shop.example.com"], ocsp=f"http://localhost:{port}/", signer=signer)
    for name, text in {"ca.crt": authority.certificate, "ca.key": authority.key}.items():
        (front.folder / name).write_text(text)
    serial = x509.load_pem_x509_certificate(given.certificate.encode()).serial_number
    (front.folder / "index").write_text(f"V\t491231235959Z\t\t{serial:X}\tunknown\t/CN=shop.example.com\n")
    words = ["openssl", "ocsp", "-port", str(port), "-index", "index", "-CA", "ca.crt"]
    words += ["-rsigner", "ca.crt", "-rkey", "ca.key", "-ndays", "1"]
    responder = subprocess.Popen(words, cwd=front.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # Wait for the responder: after a refused connection, nginx retries minutes later.
        assert wait_for(lambda: port in {listener.port for listener in listeners()}, 20)
        tls = {"certificate": given.certificate + authority.certificate, "key": given.key}
        front.serve([front.secure("provided", tls=tls)])
        asked = ["openssl", "s_client", "-connect", f"127.0.0.1:{front.tls_port}", "-servername", "shop.example.com"]
        deadline, said = time.monotonic() + 15, ""
        # nginx queries the responder at the first handshake, which does not wait for the result.
        while "OCSP Response Status: successful" not in said and time.monotonic() < deadline:
            time.sleep(0.2)
            answer = subprocess.run([*asked, "-status"], input="", capture_output=True, text=True, check=False)
            said = answer.stdout
        assert "OCSP Response Status: successful" in said
        assert "Cert Status: good" in said
    finally:
        responder.kill()
        responder.wait()


def test_no_key_is_in_what_the_module_returns_or_warns(front: SecureFront) -> None:
    given = make(["shop.example.com"], days=5)
    sites = [front.secure("provided", tls={"certificate": given.certificate, "key": given.key})]
    front.given = [dict(item) for item in certificates(checked(sites, {})[0])]
    transaction = Transaction(front.params({}), BINARY, run_command)
    result = transaction.run(check_mode=True)
    assert "PRIVATE KEY" not in json.dumps(result) + "".join(transaction.warnings)
