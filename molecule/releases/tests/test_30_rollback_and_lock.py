# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What is never gone back to, two runs at once, and what the playbooks tell; on all hosts at once."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import Place, begin_playbook, load_on, lost_nothing, webapps
from pyweb_data import each
from pyweb_places import everywhere

QUICK = {"BOOT_SECONDS": "0"}


def deployed(number: int) -> dict[str, Any]:
    return webapps({"env": {**QUICK, "NUMBER": str(number)}})


def live(places: list[Place]) -> list[str]:
    return [place.settled()["current"] for place in places]


# Newer than every good one but the live one, so that a careless choice would take them.
MAKE = """
import json, os
home = "/srv/webapps/patient"
current = os.path.basename(os.readlink(f"{home}/current"))
good = json.load(open(f"{home}/current/release.json"))
for name, state in (("bad", "bad"), ("half", "building"), ("none", None)):
    identity = f"{current[:15]}Z-0000{name}"
    os.makedirs(f"{home}/releases/{identity}")
    if state:
        json.dump({**good, "id": identity, "state": state}, open(f"{home}/releases/{identity}/release.json", "w"))
"""


def test_a_bad_or_unfinished_release_is_never_chosen(places: list[Place], run_playbook):
    # Nothing to go back to may be older than these.
    assert run_playbook("pyweb.stack.site", deployed(2)).status == 0
    before = live(places)
    asked = [("bad", "is bad"), ("half", "is building"), ("none", "there is no release"), ("", "no release is given")]
    named = {
        place.name: {"release": f"{current[:15]}Z-0000{name}" if name else ""}
        for place, current, (name, _says) in zip(places, before, asked, strict=True)
    }
    everywhere(lambda place: place.run("python3 -", given=MAKE), places)
    try:
        wanted = {**deployed(2), "app": "patient", **each(named)}
        run = run_playbook("pyweb.stack.rollback", wanted)
        told = " ".join(run.output.split())
        for place, current, (_name, says) in zip(places, before, asked, strict=True):
            assert re.search(rf"{place.name}: (\S+ )?{says}", told), told
            assert place.look()["current"] == current, "nothing is switched unless all hosts can go back"
        run = run_playbook("pyweb.stack.rollback", wanted, "--limit", places[-1].name)
        for place, current, (name, _says) in zip(places, before, asked, strict=True):
            found = place.look()
            if name:
                assert found["current"] == current
            else:
                assert run.counts(place.name)["failed"] == 0
                assert found["current"] < current
                assert found["states"][found["current"]] == "good"
    finally:
        everywhere(lambda place: place.run("rm -rf /srv/webapps/patient/releases/*Z-0000*"), places)


def test_a_second_run_fails_at_once_and_a_dead_holder_is_no_obstacle(
    places: list[Place], run_playbook, scenario_inventory: str, tmp_path: Path
):
    before = live(places)
    # Two hosts are enough for what a lock is; the third run is on all.
    pair = [places[0], places[-1]]
    limit = ("--limit", ",".join(place.name for place in pair))
    slow = webapps({"env": {**QUICK, "NUMBER": "5"}, "commands": {"build": ["sleep 600"]}})
    with load_on(places, tmp_path) as loads:
        first = begin_playbook(scenario_inventory, tmp_path, slow, *limit)
        try:
            held = "until pgrep -fx 'sleep 600' >/dev/null; do sleep 0.1; done; cat /srv/webapps/patient/.lock"
            owners = everywhere(lambda place: place.run(f'timeout 100 sh -c "{held}"'), pair)
            run = run_playbook("pyweb.stack.site", deployed(6), *limit)
            assert run.status != 0
            for place, owner in zip(pair, owners, strict=True):
                message = run.failure(place.name)
                assert "another deployment is under way" in message
                assert owner.strip() in message
                assert re.search(r"\S+@\S+, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, process \d+", message)
            removal = {**deployed(6), "app": "patient", "confirm": "patient"}
            run = run_playbook("pyweb.stack.remove", removal, *limit)
            assert all("another deployment is under way" in run.failure(place.name) for place in pair)
            # The first is still at it: the refusal did not wait for it.
            assert first.poll() is None
            everywhere(lambda place: place.run("kill -9 $(grep -o '[0-9]*$' /srv/webapps/patient/.lock)"), pair)
            first.wait(60)
            assert first.returncode != 0
        finally:
            if first.poll() is None:
                os.killpg(first.pid, signal.SIGKILL)
        assert [place.look()["current"] for place in places] == before
        assert run_playbook("pyweb.stack.site", deployed(6)).status == 0
        # The holder is dead, and what it had begun has been ended.
        everywhere(lambda place: place.run("! pgrep -fx 'sleep 600'"), places)
    lost_nothing(loads)
    assert all(new != old for new, old in zip(live(places), before, strict=True))


# What the playbooks tell


REASONS = [
    ("code", {}, True),
    ("dependencies", {"python": {"packages": ["six"]}}, False),
    ("settings", {"gunicorn": {"keepalive": 9}}, False),
    ("secrets", {"env": {**QUICK, "NUMBER": "6", "TOKEN": "hunter2-is-secret"}}, False),
]
# One host for each reason, for what decides is the same everywhere.


def test_check_mode_says_what_would_change_and_why_and_no_secret(places: list[Place], run_playbook, source: Path):
    before = [place.look() for place in places]
    (source / "new.py").write_text("CHANGED = True\n")
    wanted = {}
    for place, (_reason, more, code) in zip(places, REASONS, strict=True):
        change = {"env": {**QUICK, "NUMBER": "6"}, **more}
        wanted[place.name] = webapps(change, source) if code else webapps(change)
    run = run_playbook("pyweb.stack.site", each(wanted), "--check", "--diff", "-vvv")
    assert run.status == 0
    for reason, _more, _code in REASONS:
        assert len(re.findall(rf"\+ *patient: a new release \({reason}\)", run.output)) == 1, run.output
    assert "hello: a new release" not in run.output
    assert "hunter2" not in run.output
    assert [place.look() for place in places] == before


def test_history_and_table(places: list[Place], run_playbook):
    run = run_playbook("pyweb.stack.releases", {"app": "patient"})
    assert run.status == 0
    actions = set()
    for place in places:
        lines = [json.loads(line) for line in place.run("cat /srv/webapps/patient/deployments.log").splitlines()]
        found = place.look()
        assert lines[-1]["release"] == found["current"]
        assert {line["result"] for line in lines} <= {"live", "failed", "reverted"}
        actions |= {line["action"] for line in lines}
        assert all(re.fullmatch(r"\S+@\S+", line["by"]) and line["time"] and line["seconds"] >= 0 for line in lines)
        told = run.output.partition("TASK [Print the releases]")[2].partition("PLAY RECAP")[0]
        section = told.partition(f"ok: [{place.name}] =>")[2].partition("ok: [")[0]
        assert re.search(rf"\* +patient +{found['current']} +live ", section), section
        assert all(release in section for release in found["states"])
        assert section.count("*") == 1
    assert {"activate", "rollback"} <= actions


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("printf '%s|' \"a b\" 'c \"d\"' | tr '|' '+'", 'a b+c "d"+'),
        ("echo $WEBAPP_NAME is $((6 * 7)), 'not $HOME' | sed 's/is/has/'", "patient has 42, not $HOME"),
        pytest.param("flask routes | grep -c slow", "1", marks=pytest.mark.matrix),
        pytest.param("id -un; echo wrong >&2", "patient", marks=pytest.mark.matrix),
    ],
)
def test_a_command_of_the_application_is_run_as_written(command: str, says: str, run_playbook):
    run = run_playbook("pyweb.stack.run", {"app": "patient"}, "-e", f"command={command}")
    assert run.status == 0
    told = run.output.partition("TASK [Print the output]")[2]
    assert says in told.replace('\\"', '"').replace("''", "'"), told


def test_a_command_that_fails_says_its_own_words_first(run_playbook):
    run = run_playbook("pyweb.stack.run", {"app": "patient"}, "-e", "command=echo the database is down >&2; exit 3")
    assert run.status != 0
    words, code = (run.output.partition(text)[0] for text in ("the database is down", "ended with exit code 3"))
    assert len(words) < len(code) < len(run.output)
    assert "fatal:" not in code
    assert "stdout" not in run.output
