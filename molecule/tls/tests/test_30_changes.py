# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What further runs do: wrong certificates are refused, other authorities take over, and all of it goes again.

Each run is asked of all hosts; the tests change what the next ones find.
"""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from certificate_factory import make
from conftest import Browser

GIVEN = "given.example.com"
SITE = "pyweb.stack.site"


@pytest.fixture
def browsers(places):
    return {place.name: Browser(place.reached["ansible_host"]) for place in places}


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """A certificate on the controller, as the inventory's `given.tls`."""

    def run(names=(GIVEN,), **how):
        made, folder = make(list(names), **how), tmp_path_factory.mktemp("given")
        (folder / "a.crt").write_text(made.certificate)
        (folder / "a.key").write_text(made.key)
        return {"mode": "provided", "certificate": str(folder / "a.crt"), "key": str(folder / "a.key")}

    return run


def given_site(tls):
    return {"given": {"domains": [GIVEN], "tls": tls}}


def state(places, browsers):
    """All that a run could have changed."""
    look = "cd /etc/nginx/pyweb; ls -l current trees; sha256sum certificates/*"
    return {place.name: (browsers[place.name].shown(GIVEN), place.run(look)) for place in places}


@pytest.mark.parametrize(
    ("how", "words"),
    [  # tests/unit/test_given_certificates.py always has all of them
        pytest.param({"expired": True}, "has expired on", id="expired"),
        pytest.param(
            {"names": ["other.example.com"]},
            f"is for other.example.com, but the site also answers to {GIVEN}",
            id="not covering",
            marks=pytest.mark.matrix,
        ),
        pytest.param(
            {"other_key": True}, "its key belongs to another certificate", id="mismatched", marks=pytest.mark.matrix
        ),
    ],
)
def test_a_wrong_certificate_is_refused_before_anything_changes(places, browsers, run_playbook, write, how, words):
    before = state(places, browsers)
    tls = write(**{key: value for key, value in how.items() if key != "other_key"})
    if "other_key" in how:
        Path(tls["key"]).write_text(make([GIVEN]).key)
    run = run_playbook(SITE, given_site(tls))
    assert run.status != 0
    for place in places:
        assert words in run.failure(place.name)
        assert "'given'" in run.failure(place.name)
        assert run.counts(place.name)["changed"] == 0
    assert state(places, browsers) == before


def test_a_wrong_certificate_on_the_host_is_refused_before_anything_changes(places, browsers, run_playbook):
    before = state(places, browsers)
    old = make([GIVEN], expired=True)
    for place in places:
        place.run(f"printf %s '{old.certificate}' >/etc/ssl/given.crt; printf %s '{old.key}' >/etc/ssl/given.key")
    tls = {"mode": "provided", "remote_src": True, "certificate": "/etc/ssl/given.crt", "key": "/etc/ssl/given.key"}
    run = run_playbook(SITE, given_site(tls))
    for place in places:
        failure = run.failure(place.name)
        assert "'given'.tls: its certificate /etc/ssl/given.crt is not usable: it has expired on" in failure
        assert run.counts(place.name)["changed"] == 0
    assert state(places, browsers) == before


def test_a_certificate_on_the_host_is_loaded_when_somebody_has_renewed_it(places, browsers, run_playbook):
    tls = {"mode": "provided", "remote_src": True, "certificate": "/etc/ssl/given.crt", "key": "/etc/ssl/given.key"}
    for renewal in ("the next run", "the timer's program"):
        new = make([GIVEN], days=22)
        for place in places:
            place.run(f"printf %s '{new.certificate}' >/etc/ssl/given.crt; printf %s '{new.key}' >/etc/ssl/given.key")
            if renewal != "the next run":
                program = "/usr/local/lib/pyweb/certificates.pyz"
                place.run(f"python3 {program} /etc/nginx/pyweb/certificates/plan.json")
        if renewal == "the next run":
            run = run_playbook(SITE, given_site(tls))
            assert (run.status, "ends in" in run.output) == (0, False)
        for browser in browsers.values():
            assert browser.ask(GIVEN, trusted=new.certificate).status == 200, renewal


@pytest.fixture(scope="module")
def runs(run_playbook, write):
    """A run with a certificate near its end and another port, and the same again, which has nothing to do."""
    variables = given_site({**write(days=20.5), "port": 8443})
    return [run_playbook(SITE, variables) for _ in range(2)]


def test_every_run_warns_from_21_days_before_the_end(places, runs):
    for run, changed in zip(runs, (1, 0), strict=True):
        # Ansible shows a warning once, though all hosts give it.
        assert "The certificate of site 'given' ends in 20 days" in " ".join(run.output.split())
        assert {run.counts(place.name)["changed"] for place in places} == {changed}


def test_another_port_is_told_to_the_application_by_every_protocol(places, runs):
    visitor = next(place for place in places if place.name == "tls-debian13")
    for place in places:
        address = place.reached["ansible_host"]
        protocols = ["--http1.1", "--http2", *(["--http3-only"] if place is visitor else [])]
        for protocol in protocols:
            asked = f"curl -sk --max-time 10 {protocol} --resolve {GIVEN}:8443:{address} https://{GIVEN}:8443/"
            told = json.loads(visitor.run(asked))
            assert (told["HTTP_HOST"], told["HTTP_X_FORWARDED_PORT"]) == (f"{GIVEN}:8443", "8443"), protocol


def test_the_staging_switch_asks_another_authority_and_a_refusal_takes_nothing_away(
    places, browsers, root_of, run_playbook
):
    staging = {"nginx_acme_staging": True, "nginx_acme_directory": "https://acme-v02.api.letsencrypt.org/directory"}
    run = run_playbook(SITE, staging)
    assert run.status != 0
    for place in places:
        said = run.failure(place.name)
        # Its name leads nowhere on these hosts, so that nobody asks it.
        assert "https://acme-staging-v02.api.letsencrypt.org/directory could not be asked" in said
        assert "Each site is served as before: with its previous certificate" in said
        answer = browsers[place.name].ask(f"{place.name}.example.com", trusted=root_of("first"))
        assert answer.status == 200


@pytest.fixture(scope="module")
def own_authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authority")
    made = make([], authority=True)
    (folder / "ca.crt").write_text(made.certificate)
    (folder / "ca.key").write_text(made.key)
    return folder


@pytest.mark.matrix
def test_other_authorities_take_over_in_one_run(places, browsers, root_of, run_playbook, own_authority):
    others = {
        "nginx_acme_directory": "https://authority.example.com:14001/dir",
        "nginx_ca_certificate": f"{own_authority}/ca.crt",
        "nginx_ca_key": f"{own_authority}/ca.key",
        "nginx_tls_profile": "modern",
        "nginx_http3": False,
    }
    assert run_playbook(SITE, others).status == 0
    again = run_playbook(SITE, others)
    for place in places:
        browser, name = browsers[place.name], f"{place.name}.example.com"
        assert again.counts(place.name)["changed"] == 0
        answer = browser.ask(name, trusted=root_of("second"))
        assert (answer.status, answer.protocol, "alt-svc" in answer.headers) == (200, "TLSv1.3", False)
        with pytest.raises(ssl.SSLCertVerificationError):
            browser.ask(name, trusted=root_of("first"))
        authority = (own_authority / "ca.crt").read_text()
        assert browser.ask("signed.example.com", trusted=authority).status == 200
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
            browser.ask(name, maximum_version=ssl.TLSVersion.TLSv1_2)


def test_without_tls_the_sites_are_plain_and_no_key_or_timer_stays(places, browsers, run_playbook):
    plain = {name: {"domains": [f"{name}.example.com"]} for name in ("ordered", "signed", "given")}
    assert run_playbook(SITE, plain).status == 0
    for place in places:
        asked = "curl -s -H 'Host: ordered.example.com' http://127.0.0.1/"
        assert '"HTTP_X_FORWARDED_PROTO": "http"' in place.run(asked)
        with pytest.raises(ConnectionRefusedError):
            browsers[place.name].shown(GIVEN)
        left = ["/etc/nginx/pyweb/certificates/*.pem", "/etc/cron.d/pyweb*", "/etc/systemd/system/pyweb-certificates*"]
        assert place.run(f"ls {' '.join(left)} 2>/dev/null", check=False) == ""
