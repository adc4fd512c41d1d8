# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Status, verify, maintenance and removal, as an operator uses them; after the doctor's cases, on the same hosts."""

from __future__ import annotations

import json
import re

import pytest
import requests
from conftest import APPS
from pyweb_places import everywhere


@pytest.fixture
def run(run_playbook):
    """Runs a playbook on all hosts."""
    return lambda playbook, **variables: run_playbook(f"pyweb.stack.{playbook}", variables)


@pytest.fixture(scope="module")
def status(places, run_playbook):
    everywhere(lambda place: place.do("job"), places)
    return run_playbook("pyweb.stack.status")


def test_the_status_is_a_table_for_people(places, status):
    assert status.status == 0
    for place in places:
        manager = "systemd" if place.init == "systemd" else "supervisor"
        lines = [line for line in status.output.splitlines() if re.match(rf"\s+{place.name} ", line)]
        rows = {line.split()[1]: line for line in lines if "ok (" in line}
        for app in ("ailing", "neighbour"):
            release = place.run(f"basename $(readlink /srv/webapps/{app}/current)").strip()
            built = rf"{release} +[0-9a-f]{{12}} +\d{{4}}-\d\d-\d\d \S+"
            wanted = rf" {built} +gunicorn +3\.\d+\.\d+ +{manager} +1 +\d+ MiB +\d+ +"
            assert re.search(wanted, rows[app])
        ends = {app: re.split(r" {2,}", line.strip())[-4:] for app, line in rows.items()}
        assert set(ends) == set(APPS)
        assert ends["neighbour"] == ["-", "-", "ok (200)", "-"]
        assert ends["sealed"] == ["-", "364 days", "ok (200)", "-"]
        processes, days, health, jobs = ends["ailing"]
        assert (processes, days, health) == ("1/1", "-", "ok (200)")
        assert re.fullmatch(r"nightly: succeeded \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", jobs)


def test_the_status_is_one_bare_document_for_machines(places, status, run_playbook):
    # The lines about the progress of a slow run are on the standard error.
    bare = {"ANSIBLE_STDOUT_CALLBACK": "pyweb.stack.bare"}
    told = run_playbook("pyweb.stack.status", {"format": "json"}, environment=bare, stderr=None)
    assert told.status == 0
    rows = json.loads(told.output)
    assert {row["host"] for row in rows} == {place.name for place in places}
    for place in places:
        mine = {row["application"]: row for row in rows if row["host"] == place.name}
        assert set(mine) == set(APPS)
        assert mine["neighbour"]["certificate_days"] is None
        assert mine["sealed"]["certificate_days"] == 364
        assert mine["ailing"]["processes"][0]["state"] == "running"
        assert (mine["ailing"]["jobs"][0]["state"], mine["ailing"]["jobs"][0]["status"]) == ("succeeded", 0)
        assert mine["ailing"]["healthy"] is True
        assert 10 * 1024**2 < mine["ailing"]["memory"] < 1024**3
        workers = place.run("pgrep -P $(pgrep -o -u ailing -f bin/gunicorn)").split()
        assert mine["ailing"]["workers"] == len(workers)


EMBEDDED = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def test_the_status_page_shows_all_hosts_and_no_secret(places, run_playbook, tmp_path):
    everywhere(lambda place: [place.visit("neighbour") for _ in range(30)], places)
    path = tmp_path / "status.html"
    told = run_playbook("pyweb.stack.status", {"format": "html", "to": str(path), "hours": 1})
    assert told.status == 0, told.output
    assert f"The page is in {path}." in told.output
    assert path.stat().st_mode & 0o777 == 0o600
    page = path.read_text()
    data = json.loads(EMBEDDED.search(page)[1])
    assert {(row["host"], row["application"]) for row in data["status"]} == {
        (place.name, app) for place in places for app in APPS
    }
    requests_of = {series["name"]: sum(series["requests"]) for series in data["charts"]}
    assert requests_of["neighbour"] >= 30 * len(places)
    assert "did not answer" not in page
    assert "can't be read" not in page
    assert len(re.findall(r"<strong>neighbour</strong> deployed ", page)) >= 1
    for place in places:
        assert place.run("basename $(readlink /srv/webapps/sealed/current)").strip() in page
        assert re.search(rf"</span>{place.name}</h3>\s+<p class=\"muted\">\d of \d applications well", page)
        for secret in place.run("cat /srv/webapps/*/current/env | grep -o 'SECRET_KEY=.*'").split():
            assert secret.partition("=")[2].strip("'\"") not in page
    assert "no-message-shows-this" not in page


def test_a_verified_host_keeps_every_promise(places, run):
    told = run("verify")
    assert told.status == 0
    for place in places:
        for app in APPS:
            assert re.search(rf"{app} on {place.name}: (\d+) of \1 checks passed", told.message(place.name))


LEAK = """
chmod 0644 $home/current/env
cd /
setsid setpriv --reuid $name --regid $name --clear-groups python3 -m http.server 8099 >/dev/null 2>&1 </dev/null &
echo $! >/run/leak
until_it listens 8099
"""


def test_a_promise_that_does_not_hold_fails_the_run(places, run):
    everywhere(lambda place: place.do(LEAK), places)
    try:
        told = run("verify", app="ailing")
    finally:
        everywhere(lambda place: place.do("chmod 0640 $home/current/env; kill $(cat /run/leak)"), places)
    assert told.status == 2
    for place in places:
        message = told.failure(place.name)
        assert re.search(r"FAILED secrets are for the application alone: \S+/env is root:ailing 0644", message)
        assert re.search(r"FAILED it listens on loopback only: reachable past nginx: .* on 0.0.0.0:8099", message)


FOLDER = "/run/webapps/$name.sockets"
OPENED = {
    f"chown $name {FOLDER}": f"chown root {FOLDER}",
    f"chmod 0777 {FOLDER}": f"chmod 0711 {FOLDER}",
    "chown $name $socket": "chown root $socket",
    "mv $socket $socket.away; ln -s $socket.away $socket": "mv -f $socket.away $socket",
}
SAID = (
    r"sockets is ailing:root 0711; the account ailing can write to the folder of the sockets",
    r"sockets is root:root 0777; the account ailing can write to the folder of the sockets",
    r"\.sock is ailing:www-data 0660",
    r"\.sock is not a socket",
)


@pytest.mark.attack("13.6", "An application becomes able to replace a live socket, which verify reports")
@pytest.mark.parametrize(
    ("number", "opened"),
    [
        pytest.param(number, opened, marks=[pytest.mark.matrix] if number % 2 else [])
        for number, opened in enumerate(OPENED)
    ],
)
def test_a_socket_that_the_application_could_replace_fails_the_run(places, run, number, opened):
    everywhere(lambda place: place.do(opened), places)
    try:
        told = run("verify", app="ailing")
    finally:
        everywhere(lambda place: place.do(OPENED[opened]), places)
    assert told.status == 2
    for place in places:
        assert re.search(f"FAILED its sockets belong to root: .*{SAID[number]}", told.failure(place.name))


# Maintenance


def statuses(places, app: str, path: str = "/") -> set[int]:
    """The statuses that visitors of all hosts get."""
    return {place.visit(app, path).status_code for place in places}


def test_maintenance_closes_one_application_for_visitors(places, run):
    told = run("maintenance", maintenance="on", app="ailing", retry_after="600")
    assert told.status == 0
    for place in places:
        answer = place.visit("ailing", "/static/../")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "600")
        assert "Back soon" in answer.text
        assert place.visit("ailing", "/healthz").text == "ok\n"
    assert statuses(places, "neighbour") == {200}


def test_maintenance_outlives_a_deployment(places, run):
    told = run("site")
    assert told.status == 0
    assert statuses(places, "ailing") == {503}


def test_maintenance_is_told_by_the_status_and_by_the_doctor(places, run):
    status, doctor = run("status", app="ailing"), run("doctor", app="ailing")
    for place in places:
        told = rf"{place.name} +ailing .* ok \(200\), in maintenance +nightly: "
        assert re.search(told, status.output, re.MULTILINE)
        assert "watch: maintenance" in doctor.message(place.name)


def test_chosen_addresses_pass(places, run):
    # All hosts are reached from one address.
    mine = places[0].run("ss -Htn sport = :22 | awk '{print $5}' | head -n 1").strip().rpartition(":")[0]
    told = run("maintenance", maintenance="on", app="ailing", allow=f"{mine}, 192.0.2.0/24")
    assert told.status == 0
    assert statuses(places, "ailing") == {404}  # the application's own: it has no home page
    everywhere(lambda place: place.run("python3 -", given=CLOSED), places)


CLOSED = """
import urllib.request, urllib.error
request = urllib.request.Request("http://127.0.0.1/", headers={"Host": "ailing.example.com"})
try:
    urllib.request.urlopen(request)
    raise SystemExit("the host itself was not named, but passes")
except urllib.error.HTTPError as error:
    assert error.code == 503, error.code
"""


def test_the_end_of_maintenance_opens_it_again(places, run):
    told = run("maintenance", maintenance="off")
    assert told.status == 0
    assert statuses(places, "ailing") == {404}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"maintenance": "perhaps"}, ["maintenance is 'perhaps'", "-e maintenance=on or -e maintenance=off"]),
        pytest.param(
            {"maintenance": "on", "app": "shop"},
            ["'shop' is not an application on this host", ", ".join(APPS)],
            marks=pytest.mark.matrix,
        ),
        pytest.param({"maintenance": "on", "allow": "everybody"}, ["everybody", "allow"], marks=pytest.mark.matrix),
    ],
)
def test_a_mistaken_maintenance_changes_nothing(places, run, variables, words):
    told = run("maintenance", **variables)
    assert told.status == 2
    for place in places:
        for word in words:
            assert word in told.failure(place.name)
    assert statuses(places, "ailing", "/healthz") == {200}
    assert statuses(places, "ailing") == {404}
    assert statuses(places, "neighbour") == {200}


# Removal


def test_a_removal_asks_first(places, run):
    told = run("remove", app="neighbour")
    assert told.status == 2
    for place in places:
        assert "-e app=neighbour -e confirm=neighbour" in told.failure(place.name)
    assert statuses(places, "neighbour", "/healthz") == {200}


def test_a_removed_application_is_gone_and_its_data_stay(places, run):
    everywhere(lambda place: place.run("echo kept >/srv/webapps/neighbour/shared/file"), places)
    told = run("remove", app="neighbour", confirm="neighbour")
    assert told.status == 0
    assert "Remove it from webapps" in " ".join(told.output.split())
    gone = "/etc/systemd/system/neighbour@.service /etc/supervisor/templates/neighbour@.conf"
    for place in places:
        assert place.run("ls -A /srv/webapps/neighbour; cat /srv/webapps/neighbour/shared/file") == "shared\nkept\n"
        assert place.run("pgrep -u neighbour", check=False) == ""
        assert place.run(f"ls {gone} 2>/dev/null", check=False) == ""
        assert place.visit("ailing", "/healthz").text == "ok\n"
        with pytest.raises(requests.ConnectionError, match=r"aborted|closed|reset"):
            place.visit("neighbour")


def test_a_removal_with_purge_takes_the_data_too(places, run):
    told = run("remove", app="neighbour", confirm="neighbour", purge="true")
    assert told.status == 0
    for place in places:
        assert place.run("ls -d /srv/webapps/neighbour; id neighbour", check=False) == ""
