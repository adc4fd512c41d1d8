# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What browsers get of sites whose certificates came in one run: from an authority, from the host, from a person."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

SSLYZE = Path(sys.prefix) / "sslyze/bin/sslyze"


@pytest.fixture
def domain(facts):
    """The name that this host has a certificate of the authority for."""
    return f"{facts.name}.example.com"


@pytest.fixture
def trusted(host, domain, root_of, given):
    """What a browser has to trust, by the name it asks for."""
    return {
        domain: root_of("first"),
        "signed.example.com": host.file("/etc/nginx/pyweb/certificates/ca.crt").content_string,
        "given.example.com": given.read_text(),
    }


@pytest.fixture
def curl(host, facts, domain):
    """Asks this host by Debian 13's client, which knows every protocol, from the host that has it."""
    visitor = host.get_host(
        "ansible://tls-debian13?force_ansible=False", ansible_inventory=host.backend.ansible_inventory, sudo=True
    )

    def run(protocol, path="/", options="--output /dev/null"):
        words = f"--silent --insecure --max-time 10 {protocol} {options} --resolve {domain}:443:{facts.address}"
        told = "%{http_version} %{http_code}"
        return visitor.run(f"curl {words} --write-out '{told}' 'https://{domain}{path}'").stdout

    return run


# Certificates


def test_every_site_shows_its_own_certificate_to_who_asks_for_its_name(browser, trusted):
    for name, authority in trusted.items():
        answer = browser.ask(name, "/p?q=1", trusted=authority)
        assert (answer.status, answer.told["HTTP_X_FORWARDED_PROTO"]) == (200, "https")
        assert (answer.told["HTTP_HOST"], answer.told["HTTP_X_FORWARDED_PORT"]) == (name, "443")


def test_nobody_else_is_believed(browser, trusted):
    for name, other in zip(trusted, [*trusted][1:] + [*trusted][:1], strict=True):
        with pytest.raises(ssl.SSLCertVerificationError):
            browser.ask(name, trusted=trusted[other])


def test_one_certificate_has_every_name_of_its_site(browser, domain, trusted):
    answer = browser.ask(f"www.{domain}", "/x?y=1", trusted=trusted[domain])
    assert (answer.status, answer.headers["location"]) == (301, f"https://{domain}/x?y=1")


def test_who_asks_for_a_host_that_no_site_names_is_refused_before_anything_is_said(browser):
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        browser.ask("other.example.com")


def test_keys_are_for_root_alone(host):
    holding = host.check_output("grep -rl 'PRIVATE KEY' /etc/nginx /var/lib/pyweb").split()
    assert {path.rpartition("/")[2] for path in holding} >= {"ordered.pem", "signed.pem", "given.pem", "ca.key"}
    for path in holding:
        file = host.file(path)
        assert (file.user, file.group, oct(file.mode)) == ("root", "root", "0o600"), path


# http


def test_http_leads_to_https_but_for_proofs_and_health(http, domain):
    for method, status in (("GET", 301), ("HEAD", 301), ("POST", 308)):
        answer = http("/cart?a=1", method, headers={"Host": domain})
        assert (answer.status_code, answer.headers["Location"]) == (status, f"https://{domain}/cart?a=1")
    answer = http("/x", headers={"Host": f"www.{domain}"})
    assert (answer.status_code, answer.headers["Location"]) == (301, f"https://{domain}/x")
    answer = http("/healthz", headers={"Host": domain})
    assert (answer.status_code, answer.json()["HTTP_X_FORWARDED_PROTO"]) == (200, "http")


def test_proofs_are_given_over_http_and_nothing_else_of_that_folder(host, http, domain):
    host.check_output("echo proof >/var/lib/pyweb/acme/challenges/token")
    for name in (domain, f"www.{domain}"):
        answer = http("/.well-known/acme-challenge/token", headers={"Host": name})
        assert (answer.status_code, answer.text) == (200, "proof\n")
        assert http("/.well-known/acme-challenge/", headers={"Host": name}).status_code in (301, 403, 404)
        # A dot segment gets 400 everywhere.
        assert http("/.well-known/acme-challenge/%2e%2e/config", headers={"Host": name}).status_code == 400
    host.check_output("rm /var/lib/pyweb/acme/challenges/token")


# Protocols


def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(browser, domain):
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        answer = browser.ask(domain, minimum_version=version, maximum_version=version)
        assert (answer.status, answer.protocol) == (200, name)
    context = browser.context("")
    context.set_ciphers("ALL:@SECLEVEL=0")  # else OpenSSL here would not even offer it
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        browser.connect(domain, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_and_by_tickets_only_where_their_keys_change(browser, domain, facts, version):
    context = browser.context("", minimum_version=version, maximum_version=version)
    with browser.connect(domain, context) as first:
        first.sendall(f"GET / HTTP/1.0\r\nHost: {domain}\r\n\r\n".encode())
        while first.recv(4096):
            pass
        session = first.session
    for _ in range(4):  # whichever worker answers
        with browser.connect(domain, context, session) as again:
            assert again.session_reused
    if version is ssl.TLSVersion.TLSv1_2:
        assert session.has_ticket is (facts.suite != "bookworm")


def test_http_2_is_spoken_and_http_1_still(curl):
    assert curl("--http2") == "2 200"
    assert curl("--http1.1") == "1.1 200"


def test_http_3_is_spoken_and_told_of_where_nginx_has_it(browser, curl, domain, facts):
    has_it = facts.suite != "bookworm"
    assert (curl("--http3-only") == "3 200") is has_it
    assert browser.ask(domain).headers.get("alt-svc") == ('h3=":443"; ma=86400' if has_it else None)


@pytest.mark.attack("14", "A visitor sends dot segments, and asks for a closed path, over HTTP/3")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/open/../nobody", 400),
        ("/open/%2e%2e/nobody", 400),
        ("/open%2f..%2fnobody", 400),
        ("/nobody", 403),
        ("/nobody/x", 403),
        ("//nobody", 400),
        ("/open", 200),
    ],
)
def test_rules_by_path_hold_over_http_3(curl, facts, path, status):
    protocol = "--http2" if facts.suite == "bookworm" else "--http3-only"
    found = curl(protocol, path, "--path-as-is --output /dev/null")
    assert found == f"{'2' if facts.suite == 'bookworm' else '3'} {status}"


@pytest.mark.attack("low", "A visitor claims an identity, an address and a path by headers over HTTP/3")
def test_no_header_of_a_visitor_is_believed_over_http_3(curl, facts):
    names = ("X-Remote-User", "X-Forwarded-For", "X-Original-URL", "X-Script-Name", "Forwarded")
    headers = " ".join(f"--header '{name}: 192.0.2.99'" for name in names)
    found = curl("--http2" if facts.suite == "bookworm" else "--http3-only", "/headers", headers)
    assert '"' in found, "the application answers with what it got"
    assert "192.0.2.99" not in found


def test_browsers_are_told_to_stay_with_https_where_the_site_says_so(browser, domain):
    assert "max-age=" in browser.ask(domain).headers["strict-transport-security"]
    answer = browser.ask("given.example.com")
    assert (answer.status, "strict-transport-security" in answer.headers) == (200, False)


def test_sslyze_finds_mozillas_intermediate_profile(facts, domain, root_of, tmp_path):
    (tmp_path / "root.crt").write_text(root_of("first"))
    words = [str(SSLYZE), "--mozilla_config=intermediate", "--certinfo_ca_file", f"{tmp_path}/root.crt"]
    words += ["--sni", domain, f"{facts.address}:443"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stdout
    assert "OK - Compliant" in answer.stdout


def test_the_authority_s_account_is_kept(host):
    plan = json.loads(host.file("/etc/nginx/pyweb/certificates/plan.json").content_string)
    assert plan["authority"]["directory"] == "https://authority.example.com:14000/dir"
    assert host.file("/var/lib/pyweb/acme/accounts").is_directory
