# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications that leave the inventory; after all other tests, because it removes them in the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import requests
import yaml
from pyweb_places import everywhere

INVENTORY = Path(__file__).resolve().parents[1] / "inventory" / "group_vars" / "web.yml"
HELLO = f"{os.environ.get('MOLECULE_PROJECT_DIRECTORY', '')}/examples/hello"
HTTPBIN = {"Host": "httpbin.example.com"}
NAMED = "the application 'hello' is on the host, but not in its inventory"


def listed(*names: str) -> dict[str, list[dict]]:
    """The applications of the inventory with these names."""
    apps = yaml.safe_load(INVENTORY.read_text())["webapps"]
    for app in apps:
        if "path" in app["source"]:
            app["source"] = {"path": HELLO}
    return {"webapps": [app for app in apps if app["name"] in names]}


OTHERS = ("httpbin", "hello-inside")


@pytest.fixture
def run(run_playbook):
    """Runs a playbook for all hosts, with these applications as the inventory; what it says."""

    def once(playbook, names=OTHERS, *arguments, status=0, **variables):
        told = run_playbook(f"pyweb.stack.{playbook}", {**listed(*names), **variables}, *arguments)
        assert told.status == status
        return told, " ".join(told.output.split())

    return once


def test_an_application_that_left_the_inventory_is_served_and_named(places, run):
    for number in range(2):
        told, text = run("site")
        for place in places:
            # The status page that a host publishes lists the applications of the inventory.
            assert told.counts(place.name)["changed"] == (0 if number or place.name == "site-noinit" else 1)
            assert f"{place.name}: {NAMED}: release 2" in text
            assert place.ask("/facts").json()["application"] == "hello"
            assert place.ask("/get", headers=HTTPBIN).status_code == 200
            assert f"-e app=hello -e confirm=hello --limit {place.name}" in text
    for playbook, words in (
        ("status", "NOT IN THE INVENTORY"),
        ("doctor", "hello on {} was NOT CHECKED"),
        ("verify", "it is in the inventory: it is on the host, but not in its inventory"),
    ):
        _told, text = run(playbook)
        for place in places:
            assert words.format(place.name) in text
    _told, text = run("site", webapp_foreign_applications=["hello"])
    assert NAMED not in text


def test_an_application_on_the_domain_of_one_that_left_the_inventory_is_refused(places, run):
    told, _text = run("site", ("hello", "hello-inside"), status=2)
    for place in places:
        assert "'httpbin.example.com' on port 80 is served by 'httpbin'" in told.failure(place.name)
        assert place.ask("/get", headers=HTTPBIN).status_code == 200


def test_an_application_that_only_hosts_know_is_removed(places, run):
    first, others = places[0], places[1:]
    run("remove", OTHERS, "--limit", first.name, app="hello", confirm="hello", purge="true")
    with pytest.raises(requests.ConnectionError):
        first.ask("/facts")
    assert others[0].ask("/facts").json()["application"] == "hello"
    # On the first host, nothing is left to remove.
    told, _text = run("remove", app="hello", confirm="hello")
    assert "not on this host" in told.output
    units, programs = "/etc/systemd/system/{,*/}hello[@.]*", "/etc/supervisor/*/hello{[@.]*,-2*}"
    left = (
        f"bash -c 'ls -d /srv/webapps/hello/* {units} {programs} /etc/cron.d/pyweb-hello_* 2>/dev/null'; pgrep -u hello"
    )
    for place in places:
        assert place.run(left, check=False).replace("/srv/webapps/hello/shared\n", "") == ""
        assert place.ask("/get", headers=HTTPBIN).status_code == 200
        with pytest.raises(requests.ConnectionError):
            place.ask("/facts")
    _told, text = run("site")
    assert NAMED not in text


def test_all_applications_of_one_host_are_removed_by_one_command(places, run):
    gone, *others = places
    told, _text = run("remove", ("httpbin",), status=2, app="all", confirm=gone.name, purge="true")
    for place in others:
        assert f"-e confirm={place.name}" in told.failure(place.name)
        assert place.ask("/get", headers=HTTPBIN).status_code == 200
    with pytest.raises(requests.ConnectionError):
        gone.ask("/get", headers=HTTPBIN)
    # The status page is a site of the host, not of an application.
    left = gone.run("ls -A /srv/webapps; ls /etc/nginx/pyweb/current/sites", check=False)
    assert left == "pyweb-status-page.conf\n"
    assert not [name for name in ("httpbin", "hello-inside", "hello") if gone.run(f"id {name}", check=False)]
    everywhere(lambda place: place.run("nginx -t 2>&1"), places)
