# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Certificates renew themselves, on the host's own clock, and nginx serves the new ones at once."""

from __future__ import annotations

import pytest
from certificate_factory import make
from pyweb_places import wait_until

FOLDER = "/etc/nginx/pyweb/certificates"
PROGRAM = f"python3 /usr/local/lib/pyweb/certificates.pyz {FOLDER}/plan.json"
# Those that take new visitors; one that is shutting down says so.
WORKERS = "pgrep -fx 'nginx: worker process *'"
SOON = """\
[Timer]
OnActiveSec=1s
RandomizedDelaySec=0
AccuracySec=100ms
"""


@pytest.fixture
def age(host, facts, browser):
    """Puts certificates in place that have 20 of their 90 days left, and has nginx serve them."""

    def run():
        names = {"ordered": [f"{facts.name}.example.com", f"www.{facts.name}.example.com"]}
        names["signed"] = ["signed.example.com"]
        for site, domains in names.items():
            path = f"{FOLDER}/{site}.pem"
            source = host.check_output(f"head -n 1 {path}")
            signer = None
            if site == "signed":
                signer = tuple(host.file(f"{FOLDER}/ca.{kind}").content_string for kind in ("crt", "key"))
            old = make(domains, days=20, signer=signer)
            host.check_output("printf %%s %s >%s", f"{source}\n{old.certificate}{old.key}", path)
        before = host.check_output(WORKERS).split()
        host.check_output("nginx -s reload")

        def reloaded():
            now = host.run(WORKERS).stdout.split()
            return now and not set(now) & set(before)

        # For a moment the old workers take visitors, too.
        wait_until(reloaded, 20)
        return {domains[0]: browser.shown(domains[0]) for domains in names.values()}

    return run


def test_what_is_near_its_end_is_renewed_and_served_without_anybody_there(
    host, facts, browser, http, age, root_of, tell
):
    old = age()
    # As a run leaves it that was killed while it ordered one.
    host.check_output("date >/var/lib/pyweb/acme/lock")
    if facts.init == "systemd":
        assert host.service("pyweb-certificates.timer").is_enabled
        folder = "/run/systemd/system/pyweb-certificates.timer.d"
        host.check_output("mkdir -p %s && printf %%s %s >%s/soon.conf", folder, SOON, folder)
        host.check_output("systemctl daemon-reload && systemctl restart pyweb-certificates.timer")
    else:
        line = host.check_output("grep certificates.pyz /etc/cron.d/pyweb-certificates")
        assert line.endswith(PROGRAM)
        assert " root " in line
        assert host.run(PROGRAM).rc == 0
    answers = []

    def renewed():
        # On a connection of its own: one that is kept may end with the reload, at the very moment it is used.
        headers = {"Host": f"{facts.name}.example.com", "Connection": "close"}
        answers.append(http("/healthz", headers=headers).status_code)
        return all(browser.shown(name) != shown for name, shown in old.items())

    tell(f"{facts.name}: renewed certificates are served after {wait_until(renewed, 120):.1f} s")
    assert set(answers) == {200}, "and nobody notices"
    if facts.init == "systemd":
        host.check_output("rm -r %s && systemctl daemon-reload", folder)
        host.check_output("systemctl restart pyweb-certificates.timer")
        wait_until(lambda: host.run("systemctl is-active pyweb-certificates.service").stdout.strip() == "inactive", 60)
        told = host.check_output("journalctl --no-pager --output cat --unit pyweb-certificates.service")
        assert "ordered: renewed, because it ends on" in told
        assert "nginx serves the new certificates of ordered, signed" in told
    name = f"{facts.name}.example.com"
    assert browser.ask(name, trusted=root_of("first")).status == 200
    ca = host.file(f"{FOLDER}/ca.crt").content_string
    assert browser.ask("signed.example.com", trusted=ca).status == 200


def test_a_renewal_that_does_not_reach_the_authority_fails_and_the_old_certificate_stays(host, facts, browser, age):
    name, proxy = f"{facts.name}.example.com", "https_proxy=http://127.0.0.1:9"
    old = age()
    if facts.init == "systemd":
        host.check_output("cp /etc/environment /tmp/environment; echo %s >>/etc/environment", proxy)
        assert host.run("systemctl start pyweb-certificates.service").rc == 1
        said = host.check_output("journalctl --no-pager --output cat --unit pyweb-certificates.service | tail -n 20")
        host.check_output("cp /tmp/environment /etc/environment")
    else:
        answer = host.run(f"{proxy} {PROGRAM}")
        assert answer.rc == 1
        said = answer.stderr
    assert "ordered: the authority at https://authority.example.com:14000/dir could not be asked" in said
    assert browser.shown(name) == old[name]
    assert browser.shown("signed.example.com") != old["signed.example.com"], "one does not hold up the other"
    assert host.run(PROGRAM).rc == 0
    assert browser.shown(name) != old[name]
