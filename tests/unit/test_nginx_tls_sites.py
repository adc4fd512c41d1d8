# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sites with TLS: refused settings, and the facts of nginx."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.nginx_files import nginx_files
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.conditions import chosen, program_facts
from ansible_collections.pyweb.stack.plugins.module_utils.preflight import facts
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import fingerprint
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.given import with_texts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates, packages
from certificate_factory import make

# --- without nginx ------------------------------------------------------------------------------------------------


def site(**keys: Any) -> dict[str, Any]:
    return {
        "name": "shop",
        "domains": ["shop.example.com"],
        "locations": [{"path": "/", "upstream": "unix:/a"}],
        **keys,
    }


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"mode": "letsencrypt"}, ["'letsencrypt'", "acme"]),
        ({"mode": "selfsigned", "port": 80}, ["port 80", "without TLS"]),
        ({"mode": "provided", "certificate": "c"}, [".key", "missing"]),
        ({"mode": "acme", "key": "k"}, [".key", "mode: provided"]),
        ({"mode": "provided", "certificate": "c", "key": "k", "remote_src": True}, ["absolute path on the host"]),
        ({"mode": "selfsigned", "plain_paths": ["healthz"]}, ["'healthz'", "/healthz"]),
    ],
)
def test_a_mistake_is_told_with_its_remedy(tls: dict[str, Any], words: list[str]) -> None:
    problems = "\n".join(checked([site(tls=tls)], {})[2])
    for word in words:
        assert word in problems


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"acme_directory": "letsencrypt"}, "nginx_acme_directory"),
        ({"acme_directory": "https://ca.example/dir", "acme_staging": True}, "nginx_acme_staging"),
        ({"acme_email": "ops"}, "nginx_acme_email"),
        ({"ca_certificate": "ca.crt"}, "nginx_ca_key"),
        ({"tls_profile": "old"}, "'old'"),
    ],
)
def test_a_mistake_in_what_sites_share_is_told(settings: dict[str, Any], word: str) -> None:
    assert word in "\n".join(checked([], settings)[2])


def test_two_sites_that_want_one_name_on_one_port_for_tls_are_told() -> None:
    tls = {"mode": "selfsigned"}
    problems = checked([site(tls=tls), site(name="other", port=8080, tls=tls)], {})[2]
    assert len(problems) == 1
    assert "'shop.example.com' on port 443 already belongs to 'shop'" in problems[0]


def test_a_given_certificate_is_looked_at_on_the_controller() -> None:
    right, expired = make(["shop.example.com"]), make(["shop.example.com"], expired=True)
    texts = {"c": right.certificate, "k": right.key, "old": expired.certificate, "oldk": expired.key, "none": "x"}
    for certificate, key, words in (
        ("c", "k", ""),
        ("c", "oldk", "belongs to another certificate"),
        ("old", "oldk", "has expired on"),
        ("none", "k", "holds no certificate"),
        ("c", "none", "is not a private key"),
    ):
        tls = {"mode": "provided", "certificate": certificate, "key": key}
        items = certificates(checked([site(tls=tls)], {})[0])
        _found, wrong = with_texts(items, texts.__getitem__)
        assert bool(wrong) == bool(words)
        assert words in "".join(wrong)


def test_an_expired_certificate_may_be_deployed_already() -> None:
    old = make(["shop.example.com"], expired=True)
    texts = {"old": old.certificate, "oldk": old.key}
    items = certificates(checked([site(tls={"mode": "provided", "certificate": "old", "key": "oldk"})], {})[0])
    expired: dict[str, tuple[str, str]] = {}
    (found,), wrong = with_texts(items, texts.__getitem__, expired=expired)
    assert (found["certificate"].strip(), wrong) == (old.certificate.strip(), [])
    mark, problem = expired["shop"]
    assert mark == fingerprint(old.certificate)
    assert problem.startswith("nginx_sites 'shop'.tls: its certificate is not usable: it has expired on")
    # Other problems stay problems.
    (item,) = items
    _found, wrong = with_texts([{**item, "names": ["other.example.com"]}], texts.__getitem__, expired=expired)
    assert "but the site also answers to other.example.com" in wrong[0]


def test_a_host_says_which_expired_certificate_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "CERTIFICATES", str(tmp_path))
    old = make(["shop.example.com"], expired=True)
    (tmp_path / "shop.pem").write_text(f"# provided\n{old.certificate}{old.key}")
    (tmp_path / "damaged.pem").write_text("x")
    mark = fingerprint(old.certificate)
    expired = {"shop": mark, "damaged": mark, "none": mark}
    assert facts.deployed_certificates(expired) == ["shop"]
    assert facts.deployed_certificates({"shop": "another"}) == []
    assert facts.deployed_certificates({}) == []


def test_packages_are_only_wanted_by_who_uses_them() -> None:
    assert packages([{"tls": {"mode": "acme"}}, {"site": {"tls": {"mode": "selfsigned"}}}]) == ["dehydrated", "openssl"]
    assert packages([{"site": {}}, {"tls": {"mode": "provided"}}, {"site": None}, "x", {"tls": "acme"}]) == []
    assert packages(None) == []


# The facts of every nginx but that of Debian 11 and Ubuntu 22.04.
KNOWN = {"reject_handshake", "keepalive_time"}
DEBIAN_11 = "nginx version: nginx/1.18.0\nbuilt with OpenSSL 1.1.1k  25 Mar 2021\n"
# Their versions as packages.ubuntu.com lists them. They were not run.
UBUNTU_24_04 = "nginx version: nginx/1.24.0 (Ubuntu)\nbuilt with OpenSSL 3.0.13 30 Jan 2024\n"
UBUNTU_26_04 = "nginx version: nginx/1.28.3 (Ubuntu)\nbuilt with OpenSSL 3.5.5 27 Jan 2026\n--with-http_v3_module\n"
DEBIAN_12 = (
    "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.20 7 Apr 2026 (running with OpenSSL 3.0.19 27 Jan 2026)\n"
)
DEBIAN_13 = (
    "nginx version: nginx/1.26.3\nbuilt with OpenSSL 3.5.7 9 Jun 2026\nconfigure arguments: --with-http_v3_module\n"
)


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        (DEBIAN_11, set()),
        (DEBIAN_12, KNOWN),
        (UBUNTU_24_04, KNOWN | {"fresh_tickets"}),
        (DEBIAN_13, KNOWN | {"http2_directive", "http3", "fresh_tickets", "mlkem", "newer_types"}),
        (
            UBUNTU_26_04,
            KNOWN | {"http2_directive", "http3", "fresh_tickets", "mlkem", "newer_types", "keepalive_min_timeout"},
        ),
    ],
)
def test_what_the_program_says_decides_what_it_is_told(said: str, facts: set[str]) -> None:
    assert program_facts(said) == facts


def test_lines_are_chosen_by_facts_and_what_is_inside_by_both() -> None:
    text = "a\n#@ if x\nb\n  #@ unless y\n  c\n  #@ end\n#@ else\nd\n#@ end\ne\n"
    assert re.sub(r"\s", "", chosen(text, {"x"})) == "abce"
    assert re.sub(r"\s", "", chosen(text, {"x", "y"})) == "abe"
    assert re.sub(r"\s", "", chosen(text, set())) == "ade"


@pytest.mark.attack("14", "A visitor uses HTTP/3, in the hope of a server without the rules of the site")
def test_http_3_adds_addresses_to_a_site_and_changes_no_rule(render: Callable[..., Any]) -> None:
    given = site(
        tls={"mode": "selfsigned"},
        basic_auth={"users": {"alice": "$6$aa$" + "x" * 86}},
        locations=[{"path": "/", "upstream": "unix:/a"}, {"path": "/nobody", "upstream": "unix:/a", "allow": ["::1"]}],
    )
    files = render("nginx", nginx_files([given], {}))
    found = set()
    for file in files:
        with_it, without = (chosen(file["content"], {"http2_directive", *more}) for more in (["http3"], []))
        removed = set(without.split("\n")) - set(with_it.split("\n"))
        added = [line.strip() for line in with_it.split("\n") if line not in without.split("\n")]
        assert removed == set()
        found |= {re.sub(r"(listen ).*( quic).*", r"\1…\2", line) for line in added}
    assert found == {"listen … quic", "add_header Alt-Svc 'h3=\":443\"; ma=86400' always;"}
