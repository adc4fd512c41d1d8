# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Going back, pruning, two runs at once, and what the playbooks tell; on all hosts at once, with visitors there."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Place, begin_playbook, everywhere, load_on, lost_nothing, webapps

QUICK = {"BOOT_SECONDS": "0"}


def deployed(number: int) -> dict[str, Any]:
    return webapps({"env": {**QUICK, "NUMBER": str(number)}})


def live(places: list[Place]) -> list[str]:
    return [place.settled()["current"] for place in places]


def test_back_to_the_previous_and_to_a_named_release(places: list[Place], run_playbook, tmp_path: Path):
    assert run_playbook("pyweb.stack.site", deployed(1)).status == 0
    first = live(places)
    neighbours = [place.neighbour() for place in places]
    with load_on(places, tmp_path) as loads:
        began = time.monotonic()
        assert run_playbook("pyweb.stack.site", deployed(2)).status == 0
        deploying = time.monotonic() - began
        second = live(places)

        began = time.monotonic()
        assert run_playbook("pyweb.stack.rollback", {**deployed(2), "app": "patient"}).status == 0
        going_back = time.monotonic() - began
        assert live(places) == first

        # Each host has a name of its own for the release.
        for place, release in zip(places, second, strict=True):
            named = {**deployed(2), "app": "patient", "release": release}
            if place in (places[0], places[-1]):
                assert run_playbook("pyweb.stack.rollback", named, "--limit", place.name).status == 0
                assert place.settled()["current"] == release
    print(f"deploying took {deploying:.1f} s, going back {going_back:.1f} s")
    lost_nothing(loads)
    assert going_back < deploying
    assert [place.neighbour() for place in places] == neighbours


def test_a_bad_or_unfinished_release_is_never_chosen(places: list[Place], run_playbook):
    place = places[0]
    current = place.look()["current"]
    # Newer than every good one but the live one, so that a careless choice would take them.
    make = """
import json, os, sys
home = "/srv/webapps/patient/releases"
good = json.load(open(f"{home}/{sys.argv[1]}/release.json"))
stamp = sys.argv[1][:15]
for name, state in (("bad", "bad"), ("half", "building"), ("none", None)):
    identity = f"{stamp}Z-0000{name}"
    os.makedirs(f"{home}/{identity}")
    if state:
        json.dump({**good, "id": identity, "state": state}, open(f"{home}/{identity}/release.json", "w"))
"""
    place.run(f"python3 - {current}", stdin=make)
    stamp = current[:15]
    try:
        for name, said in (("bad", "it is bad"), ("half", "it is building"), ("none", "there is no such release")):
            variables = {**deployed(2), "app": "patient", "release": f"{stamp}Z-0000{name}"}
            run = run_playbook("pyweb.stack.rollback", variables, "--limit", place.name)
            assert run.status != 0
            assert said in run.failure(place.name)
            assert place.look()["current"] == current
        run = run_playbook("pyweb.stack.rollback", {**deployed(2), "app": "patient"}, "--limit", place.name)
        assert run.status == 0
        assert "0000" not in place.look()["current"]
    finally:
        place.run(f"rm -rf /srv/webapps/patient/releases/{stamp}Z-0000*")


def test_pruning_keeps_what_serves_and_what_one_goes_back_to(places: list[Place], run_playbook):
    keep = {"webapp_keep_releases": 2}
    assert run_playbook("pyweb.stack.site", {**deployed(3), **keep}).status == 0
    before = live(places)
    changed = webapps({"env": {**QUICK, "NUMBER": "4"}, "python": {"packages": ["six"]}})
    assert run_playbook("pyweb.stack.site", {**changed, **keep}).status == 0
    for place, previous in zip(places, before, strict=True):
        found = place.settled()
        good = sorted(key for key, state in found["states"].items() if state == "good")
        assert good == sorted([previous, found["current"]])
        assert set(found["venvs"]) == set(found["venvs_used"])
    # Another environment than the live one's: it has to be there still.
    run = run_playbook("pyweb.stack.rollback", {**changed, **keep, "app": "patient"})
    assert run.status == 0
    assert live(places) == before
    for place in places:
        assert len([state for state in place.look()["states"].values() if state == "good"]) == 2


def test_a_second_run_fails_at_once_and_a_dead_holder_is_no_obstacle(
    places: list[Place], run_playbook, scenario_inventory: str, tmp_path: Path
):
    before = live(places)
    slow = webapps({"env": {**QUICK, "NUMBER": "5"}, "commands": {"build": ["sleep 25"]}})
    with load_on(places, tmp_path) as loads:
        first = begin_playbook(scenario_inventory, tmp_path, slow)
        try:
            held = "until pgrep -fx 'sleep 25' >/dev/null; do sleep 0.1; done; cat /srv/webapps/patient/.lock"
            owners = everywhere(lambda place: place.run(f'timeout 30 sh -c "{held}"'), places)
            run = run_playbook("pyweb.stack.site", deployed(6))
            assert run.status != 0
            for place, owner in zip(places, owners, strict=True):
                message = run.failure(place.name)
                assert "another deployment is under way" in message
                assert owner.strip() in message
                assert re.search(r"\S+@\S+, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, process \d+", message)
            # The first is still at it: the refusal did not wait for it.
            assert first.poll() is None
            everywhere(lambda place: place.run("kill -9 $(grep -o '[0-9]*$' /srv/webapps/patient/.lock)"), places)
            first.wait(30)
            assert first.returncode != 0
        finally:
            if first.poll() is None:
                os.killpg(first.pid, signal.SIGKILL)
        everywhere(lambda place: place.run("pkill -9 -fx 'sleep 25' || true"), places)
        assert [place.look()["current"] for place in places] == before
        assert run_playbook("pyweb.stack.site", deployed(6)).status == 0
    lost_nothing(loads)
    assert all(new != old for new, old in zip(live(places), before, strict=True))


# What the playbooks tell


REASONS = [
    ("code", {}, True),
    ("dependencies", {"python": {"packages": ["six"]}}, False),
    ("settings", {"gunicorn": {"keepalive": 9}}, False),
    ("secrets", {"env": {**QUICK, "NUMBER": "6", "TOKEN": "hunter2-is-secret"}}, False),
]
# The last of them is asked of the last host: one host for each reason, for what decides is the same everywhere.


def test_check_mode_says_what_would_change_and_why_and_no_secret(places: list[Place], run_playbook, source: Path):
    before = [place.look() for place in places]
    (source / "new.py").write_text("CHANGED = True\n")
    for place, (reason, more, code) in zip(places, REASONS, strict=True):
        change = {"env": {**QUICK, "NUMBER": "6"}, **more}
        variables = webapps(change, source) if code else webapps(change)
        run = run_playbook("pyweb.stack.site", variables, "--limit", place.name, "--check", "--diff", "-vvv")
        assert run.status == 0
        assert re.search(rf"\+ *patient: a new release \({reason}\)", run.output), run.output
        assert "hello: a new release" not in run.output
        assert "hunter2" not in run.output
    assert [place.look() for place in places] == before


def test_a_deployment_shows_no_secret_either(places: list[Place], run_playbook):
    secret = webapps({"env": {**QUICK, "NUMBER": "6", "TOKEN": "hunter2-is-secret"}})
    run = run_playbook("pyweb.stack.site", secret, "--diff", "-vvv")
    assert run.status == 0
    assert "hunter2" not in run.output
    everywhere(
        lambda place: place.run("! grep -r $(printf hunter%d 2) /srv/webapps/patient/deployments.log /var/log"), places
    )
    assert run_playbook("pyweb.stack.site", secret).output.count("changed=0") == len(places)


def test_history_and_table(places: list[Place], run_playbook):
    run = run_playbook("pyweb.stack.releases", {"app": "patient"})
    assert run.status == 0
    for place in places:
        lines = [json.loads(line) for line in place.run("cat /srv/webapps/patient/deployments.log").splitlines()]
        found = place.look()
        assert lines[-1]["release"] == found["current"]
        assert {line["result"] for line in lines} <= {"live", "failed"}
        assert {"activate", "rollback"} <= {line["action"] for line in lines}
        assert all(re.fullmatch(r"\S+@\S+", line["by"]) and line["time"] and line["seconds"] >= 0 for line in lines)
        told = run.output.partition("TASK [Print them]")[2].partition("PLAY RECAP")[0]
        section = told.partition(f"ok: [{place.name}] =>")[2].partition("ok: [")[0]
        assert re.search(rf"\* +patient +{found['current']} +live ", section), section
        assert all(release in section for release in found["states"])
        assert section.count("*") == 1


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("printf '%s|' \"a b\" 'c \"d\"' | tr '|' '+'", 'a b+c "d"+'),
        ("echo $WEBAPP_NAME is $((6 * 7)), 'not $HOME' | sed 's/is/has/'", "patient has 42, not $HOME"),
        ("flask routes | grep -c slow", "1"),
        ("id -un; echo wrong >&2", "patient"),
    ],
)
def test_a_command_of_the_application_is_run_as_written(command: str, says: str, run_playbook):
    run = run_playbook("pyweb.stack.run", {"app": "patient"}, "-e", f"command={command}")
    assert run.status == 0
    told = run.output.partition("TASK [Print what it said]")[2]
    assert says in told.replace('\\"', '"').replace("''", "'"), told
