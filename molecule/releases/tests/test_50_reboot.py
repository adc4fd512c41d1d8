# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What serves after a boot. The last of the tests: hosts may come back with other addresses."""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from conftest import CHECKOUT, Place, webapps
from pyweb_places import everywhere

sys.path.insert(0, str(CHECKOUT / "scripts"))

import test_hosts

WRITING = threading.Lock()


def reboot(place: Place) -> None:
    """End every process of the machine and start it anew; tell the inventory its address.

    Without an init, the start command of the container runs the program that the collection has installed.
    """
    engine = test_hosts.find_engine(may_install=False)
    name = test_hosts.container_name(place.name)
    engine.check(f"Restarting {place.name}", "restart", "--time", "20", name)
    address = engine.address(name)
    test_hosts.await_ssh(engine, place.name, address)
    assert not place.systemd or not test_hosts.boots(engine, name, 60)
    path = place.inventory / "test_hosts.json"
    with WRITING:
        told = json.loads(path.read_text())
        told["all"]["hosts"][place.name]["ansible_host"] = address
        write_whole(path, json.dumps(told, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Others read it all the time."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def answered(address: str, path: str, host: str) -> str:
    """The release that answers, within half a minute after a boot."""
    until = time.monotonic() + 30
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            request = urllib.request.Request(f"http://{address}{path}", headers={"Host": host})
            with opener.open(request, timeout=5) as answer:
                return answer.headers.get("X-Release", "")
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def test_the_right_release_comes_back_and_the_next_run_changes_nothing(places: list[Place], run_playbook):
    change = {"env": {"BOOT_SECONDS": "0"}}
    # After a rollback the newest release is not the right one.
    for number in "12":
        change["env"]["BEFORE_BOOT"] = number
        assert run_playbook("pyweb.stack.site", webapps(change)).status == 0
    assert run_playbook("pyweb.stack.rollback", {**webapps(change), "app": "patient"}).status == 0
    before = everywhere(Place.settled, places)
    test_hosts.close_connections(places[0].inventory / "test_hosts.json")
    everywhere(reboot, places)
    for place, found in zip(places, before, strict=True):
        assert answered(place.address, "/", "localhost") == found["current"]
        answered(place.address, "/healthz", "hello.example.com")
        assert place.settled()["current"] == found["current"]
        place.settled("hello")
    # What was rolled back to is what the inventory has to say, as after every rollback.
    run = run_playbook("pyweb.stack.site", webapps({"env": {"BOOT_SECONDS": "0", "BEFORE_BOOT": "1"}}))
    assert run.status == 0
    for place in places:
        assert run.counts(place.name)["changed"] == 0
