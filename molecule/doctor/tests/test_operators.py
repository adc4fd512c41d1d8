# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Status, verify, maintenance and removal, as an operator uses them; after the doctor's cases, on the same hosts."""

from __future__ import annotations

import json
import re

import pytest
from test_doctor import PRELUDE

AILING = {"Host": "ailing.example.com"}
NEIGHBOUR = {"Host": "neighbour.example.com"}


@pytest.fixture
def run(host, run_playbook):
    """Runs a playbook on this host alone: pytest takes one host after the other through all tests."""

    def on_host(playbook: str, **variables: str):
        return run_playbook(f"pyweb.stack.{playbook}", variables, "--limit", host.backend.host)

    return on_host


def test_the_status_is_a_table_for_people(host, facts, run):
    host.check_output("sh -c %s", PRELUDE + "job")
    told = run("status")
    assert told.status == 0
    manager = "systemd" if facts.init == "systemd" else "supervisor"
    for app in ("ailing", "neighbour"):
        release = host.file(f"/srv/webapps/{app}/current").linked_to.rpartition("/")[2]
        (line,) = [line for line in told.output.splitlines() if re.match(rf"\s+{facts.name} +{app} ", line)]
        assert re.search(rf" {release} +\d{{4}}-\d\d-\d\d \S+ +gunicorn +{manager} +1 +\d+ MiB +\d+ +", line)
    rows = {
        line.split()[1]: re.split(r" {2,}", line.strip())[-4:] for line in told.output.splitlines() if "ok (" in line
    }
    assert rows["neighbour"] == ["-", "-", "ok (200)", "-"]
    assert rows["sealed"] == ["-", "364 days", "ok (200)", "-"]
    processes, days, health, jobs = rows["ailing"]
    assert (processes, days, health) == ("1/1", "-", "ok (200)")
    assert re.fullmatch(r"nightly: succeeded \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", jobs)


def test_the_status_is_one_bare_document_for_machines(host, facts, run_playbook):
    told = run_playbook(
        *("pyweb.stack.status", {"format": "json"}, "--limit", host.backend.host),
        environment={"ANSIBLE_STDOUT_CALLBACK": "pyweb.stack.bare"},
    )
    assert told.status == 0
    mine = {row["application"]: row for row in json.loads(told.output)}
    assert set(mine) == {"ailing", "sealed", "neighbour"}
    assert {row["host"] for row in mine.values()} == {facts.name}
    assert mine["neighbour"]["certificate_days"] is None
    assert mine["sealed"]["certificate_days"] == 364
    assert mine["ailing"]["processes"][0]["state"] == "running"
    assert (mine["ailing"]["jobs"][0]["state"], mine["ailing"]["jobs"][0]["status"]) == ("succeeded", 0)
    assert mine["ailing"]["healthy"] is True
    assert 10 * 1024**2 < mine["ailing"]["memory"] < 1024**3
    pid = host.check_output("pgrep -o -u ailing -f bin/gunicorn")
    assert mine["ailing"]["workers"] == len(host.check_output(f"pgrep -P {pid}").split())


def test_a_verified_host_keeps_every_promise(host, run):
    told = run("verify")
    assert told.status == 0
    for app in ("ailing", "sealed", "neighbour"):
        assert f"{app} on {host.backend.host}: 21 of 21 hold" in told.message(host.backend.host)


LEAK = """
chmod 0644 $home/current/env
cd /
setsid setpriv --reuid $name --regid $name --clear-groups python3 -m http.server 8099 >/dev/null 2>&1 </dev/null &
echo $! >/run/leak
until_it listens 8099
"""


def test_a_promise_that_does_not_hold_fails_the_run(host, run):
    host.check_output("sh -c %s", PRELUDE + LEAK)
    try:
        told = run("verify", app="ailing")
    finally:
        host.check_output("sh -c %s", PRELUDE + "chmod 0640 $home/current/env; kill $(cat /run/leak)")
    assert told.status == 2
    message = told.failure(host.backend.host)
    assert re.search(r"FAILED secrets are for the application alone: \S+/env is root:ailing 0644", message)
    assert re.search(r"FAILED it listens on loopback only: reachable past nginx: .* on 0.0.0.0:8099", message)


# Maintenance


def test_maintenance_closes_one_application_for_visitors(http, run):
    told = run("maintenance", maintenance="on", app="ailing", retry_after="600")
    assert told.status == 0
    answer = http("/static/../", headers=AILING)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "600")
    assert "Back soon" in answer.text
    assert http("/healthz", headers=AILING).text == "ok\n"
    assert http("/", headers=NEIGHBOUR).status_code == 200


def test_maintenance_outlives_a_deployment(http, run):
    told = run("site")
    assert told.status == 0
    assert http("/", headers=AILING).status_code == 503


def test_maintenance_is_told_by_the_status_and_by_the_doctor(host, run):
    name = host.backend.host
    assert re.search(
        rf"{name} +ailing .* ok \(200\), in maintenance +nightly: ", run("status", app="ailing").output, re.M
    )
    assert "watch: maintenance" in run("doctor", app="ailing").message(name)


def test_chosen_addresses_pass(host, http, run):
    mine = host.check_output("sh -c %s", "ss -Htn sport = :22 | awk '{print $5}' | head -n 1").rpartition(":")[0]
    told = run("maintenance", maintenance="on", app="ailing", allow=f"{mine}, 192.0.2.0/24")
    assert told.status == 0
    assert http("/", headers=AILING).status_code == 404  # the application's own: it has no home page
    host.check_output("python3 -c %s", CLOSED)


CLOSED = """
import urllib.request, urllib.error
request = urllib.request.Request("http://127.0.0.1/", headers={"Host": "ailing.example.com"})
try:
    urllib.request.urlopen(request)
    raise SystemExit("the host itself was not named, but passes")
except urllib.error.HTTPError as error:
    assert error.code == 503, error.code
"""


def test_the_end_of_maintenance_opens_it_again(http, run):
    told = run("maintenance", maintenance="off")
    assert told.status == 0
    assert http("/", headers=AILING).status_code == 404


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"maintenance": "perhaps"}, ["maintenance is 'perhaps'", "-e maintenance=on or -e maintenance=off"]),
        ({"maintenance": "on", "app": "shop"}, ["'shop' is no application of this host", "ailing, sealed, neighbour"]),
        ({"maintenance": "on", "allow": "everybody"}, ["everybody", "allow"]),
    ],
)
def test_a_mistaken_maintenance_changes_nothing(host, http, run, variables, words):
    told = run("maintenance", **variables)
    assert told.status == 2
    for word in words:
        assert word in told.failure(host.backend.host)
    assert http("/healthz", headers=AILING).status_code == 200
    assert http("/", headers=NEIGHBOUR).status_code == 200


# Removal


def test_a_removal_asks_first(host, http, run):
    told = run("remove", app="neighbour")
    assert told.status == 2
    assert "-e app=neighbour -e confirm=neighbour" in told.failure(host.backend.host)
    assert http("/healthz", headers=NEIGHBOUR).status_code == 200


def test_a_removed_application_is_gone_and_its_data_stay(host, http, facts, run):
    home = "/srv/webapps/neighbour"
    host.check_output("sh -c %s", f"[ ! -e {home}/current ] || echo kept >{home}/shared/file")
    told = run("remove", app="neighbour", confirm="neighbour")
    assert told.status == 0
    assert "Take it out of webapps" in told.output
    assert host.file("/srv/webapps/neighbour").listdir() == ["shared"]
    assert host.run("pgrep -u neighbour").rc != 0
    assert not host.file("/etc/systemd/system/neighbour@.service").exists
    assert not host.file("/etc/supervisor/templates/neighbour@.conf").exists
    assert http("/healthz", headers=AILING).text == "ok\n"
    with pytest.raises(Exception, match=r"aborted|closed|reset"):
        http("/", headers=NEIGHBOUR)


def test_a_removal_with_purge_takes_the_data_too(host, run):
    told = run("remove", app="neighbour", confirm="neighbour", purge="true")
    assert told.status == 0
    assert not host.file("/srv/webapps/neighbour").exists
    assert not host.user("neighbour").exists
