# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The status page that a host publishes of itself, and its removal."""

from __future__ import annotations

import json
import re

import pytest
import urllib3

NAME = "status.example.com"
FOLDER, UNIT = "/var/lib/pyweb-status-page", "pyweb-status-page"
PAGE = f"{FOLDER}/index.html"
APPS = ["hello", "hello-inside", "httpbin"]
EMBEDDED = re.compile(r'<script type="application/json" id="data">(.*?)</script>')
BROKEN = f"its published status page was not renewed: {UNIT}.service failed"


@pytest.fixture
def publishing(places):
    """The hosts with systemd. The other one has no page."""
    return [place for place in places if place.name != "site-noinit"]


def visit(place, user="", path="/"):
    """The status page as a browser gets it, over https."""
    pool = urllib3.HTTPSConnectionPool(
        place.address,
        443,
        cert_reqs="CERT_NONE",
        assert_hostname=False,
        server_hostname=NAME,
        timeout=10,
        retries=False,
    )
    headers = urllib3.make_headers(basic_auth=user) if user else {}
    return pool.request("GET", path, headers={"Host": NAME, **headers}, redirect=False)


def test_the_page_needs_a_password(publishing):
    for place in publishing:
        assert [visit(place, user).status for user in ("", "anna:wrong", "ben:look")] == [401] * 3
        answer = visit(place, "anna:look")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/html")
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert visit(place, "anna:look", "/index.html.new").status == 404


def test_the_page_shows_the_applications_as_they_are(publishing):
    for place in publishing:
        place.run(f"systemctl start {UNIT}.service")
        page = visit(place, "anna:look").data.decode()
        rows = {row["application"]: row for row in json.loads(EMBEDDED.search(page)[1])["status"]}
        assert sorted(rows) == APPS
        for name, row in rows.items():
            live = place.run(f"basename $(readlink /srv/webapps/{name}/current)").strip()
            assert (row["host"], row["release"], row["health"]) == (place.name, live, "ok (200)")
            assert (row["state"], row["server"], row["process_manager"]) == ("running", "gunicorn", "systemd")
            assert row["workers"] > 0
            assert row["memory"] > 1024**2
        assert "1 of 1 host well" in page
        secret = place.run("grep -o 'SECRET_KEY=.*' /srv/webapps/hello/current/env").partition("=")[2].strip()
        assert secret
        assert secret.strip("'\"") not in page


@pytest.mark.attack("20", "An application reads or replaces the status page of its host")
def test_only_nginx_reads_the_page_and_its_unit_has_few_rights(publishing):
    for place in publishing:
        assert place.run(f"stat -c '%U:%G %a' {FOLDER} {PAGE}").split() == [
            "root:www-data",
            "2750",
            "root:www-data",
            "640",
        ]
        for account in ("hello", "httpbin", "nobody"):
            said = place.run(f"runuser -u {account} -- sh -c 'cat {PAGE}; touch {FOLDER}/x; echo $?' 2>&1")
            assert said.count("Permission denied") == 2
        shown = place.run(f"systemctl show -p CapabilityBoundingSet -p ProtectSystem -p ReadWritePaths {UNIT}.service")
        assert sorted(shown.split()) == [
            "CapabilityBoundingSet=cap_dac_read_search",
            "ProtectSystem=strict",
            f"ReadWritePaths={FOLDER}",
        ]


def test_a_failed_renewal_leaves_the_page_and_is_reported_and_the_page_goes_with_its_variable(publishing, run_playbook):
    for place in publishing:
        place.run(f"echo '{{' > /usr/local/lib/pyweb/status_page.json; systemctl start {UNIT}.service", check=False)
        assert visit(place, "anna:look").status == 200
    told = run_playbook("pyweb.stack.status")
    said = " ".join(told.output.split())
    assert all(f"{place.name}: {BROKEN} (exit-code)." in said for place in publishing)

    told = run_playbook("pyweb.stack.site", {"webapp_status_site": None})
    assert told.status == 0
    said = " ".join(told.output.split())
    for place in publishing:
        assert told.counts(place.name)["changed"] == 1
        left = place.run(
            f"ls -d {FOLDER} /usr/local/lib/pyweb/status_page* /etc/systemd/system/{UNIT}* 2>&1", check=False
        )
        assert left.count("No such file") == 3
        assert place.run(f"systemctl is-active {UNIT}.timer", check=False).strip() == "inactive"
        assert place.run("grep -rl status.example.com /etc/nginx/pyweb/current/", check=False) == ""
    assert f"nginx no longer serves the status page of this host ({NAME})" in said
    assert "this host no longer publishes its status page" in said

    told = run_playbook("pyweb.stack.site")
    assert told.status == 0
    assert all(visit(place, "anna:look").status == 200 for place in publishing)
