# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A rollback lasts until the inventory changes; two runs at once; a release command whose run is gone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Place, begin_playbook, webapps
from pyweb_places import everywhere

QUICK = {"BOOT_SECONDS": "0"}


def deployed(number: int, **more: Any) -> dict[str, Any]:
    return webapps({"env": {**QUICK, "NUMBER": str(number)}, **more})


def unfolded(output: str) -> str:
    """The output of Ansible, which folds long lines, in one line."""
    return " ".join(output.split())


def end_run(pid: int) -> None:
    """End a run and its connections, as if its controller had stopped. Its workers have sessions of their own."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    os.kill(pid, signal.SIGKILL)
    for child in children:
        end_run(int(child))


def live(places: list[Place]) -> list[str]:
    return [place.look()["current"] for place in places]


@pytest.mark.matrix  # tests/local/test_holds.py always runs
def test_a_rollback_lasts_until_the_inventory_changes(places: list[Place], run_playbook):
    assert run_playbook("pyweb.stack.site", deployed(31)).status == 0
    older = live(places)
    assert run_playbook("pyweb.stack.site", deployed(32)).status == 0
    newer = live(places)
    # A restart makes a copy of the live release. A rollback passes over both.
    assert run_playbook("pyweb.stack.restart", {**deployed(32), "app": "patient"}).status == 0
    copies = live(places)
    run = run_playbook("pyweb.stack.rollback", {**deployed(32), "app": "patient"})
    assert run.status == 0
    assert live(places) == older
    for copy, release in zip(copies, newer, strict=True):
        assert f"Skipped: {release} (the same content as the live one)" in unfolded(run.output)
        assert f"{copy} is held" in unfolded(run.output)

    # The inventory still describes what was rolled back. Other applications are deployed.
    changed = deployed(32)
    changed["webapps"][1]["env"] = {"NUMBER": "32"}
    hello = [place.look("hello")["current"] for place in places]
    run = run_playbook("pyweb.stack.site", changed)
    assert run.status == 0, run.output
    assert live(places) == older
    assert "webapps 'patient': HELD, so this run deploys no release of it" in unfolded(run.output)
    assert unfolded(run.output).count("HELD since a rollback") == len(places)
    assert not {*hello} & {place.look("hello")["current"] for place in places}

    # Changed settings lift the hold.
    assert run_playbook("pyweb.stack.site", deployed(33)).status == 0
    latest = live(places)
    assert not {*latest} & {*older, *newer, *copies}
    everywhere(lambda place: place.run("test ! -e /srv/webapps/patient/.hold.json"), places)


@pytest.mark.matrix  # tests/local/test_holds.py always runs
def test_a_held_release_is_named_and_an_operator_lifts_the_hold(places: list[Place], run_playbook):
    older = live(places)
    assert run_playbook("pyweb.stack.site", deployed(34)).status == 0
    latest = live(places)
    assert run_playbook("pyweb.stack.rollback", {**deployed(34), "app": "patient"}).status == 0
    assert live(places) == older
    predicted = run_playbook("pyweb.stack.site", {**deployed(34), "webapp_upgrade_packages": True}, "--check", "--diff")
    assert predicted.status == 0
    assert "patient: a new release" not in predicted.output
    shown = run_playbook("pyweb.stack.status", {**deployed(34), "app": "patient"}).output
    shown = unfolded(shown)
    holds = re.findall(r"patient on \S+: HELD since \S+ \S+ UTC, when \S+@\S+ rolled back from", shown)
    assert len(holds) == len(places)

    run = run_playbook("pyweb.stack.site", deployed(34), "-e", "release_hold=false")
    assert (run.status, "HELD" in run.output) == (0, False)
    assert live(places) == latest


@pytest.mark.matrix  # tests/local/test_two_runs.py always runs
def test_two_runs_at_once_deploy_both_of_their_applications(
    places: list[Place], run_playbook, scenario_inventory: str, tmp_path: Path
):
    assert run_playbook("pyweb.stack.site", deployed(33)).status == 0
    before = [(place.look()["current"], place.look("hello")["current"]) for place in places]
    other = deployed(33)
    other["webapps"][1]["env"] = {"NUMBER": "35"}
    runs = [begin_playbook(scenario_inventory, tmp_path, variables) for variables in (deployed(35), other)]
    try:
        assert [run.wait(240) for run in runs] == [0, 0], [path.read_text() for path in tmp_path.glob("*.log")]
    finally:
        for run in runs:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
    for place, (patient, hello) in zip(places, before, strict=True):
        assert place.settled()["current"] != patient
        assert place.settled("hello")["current"] != hello
    assert run_playbook("pyweb.stack.site", deployed(35)).status == 0


@pytest.mark.matrix  # tests/local/test_lost_runs.py always runs
def test_a_release_command_whose_run_is_gone_is_named_and_ended_on_request(
    places: list[Place], run_playbook, scenario_inventory: str, tmp_path: Path
):
    place = places[0]
    limit = ("--limit", place.name)
    before = place.look()["current"]
    first = begin_playbook(scenario_inventory, tmp_path, deployed(36, commands={"release": ["sleep 611"]}), *limit)
    try:
        place.run("timeout 300 sh -c 'until pgrep -fx \"sleep 611\" >/dev/null; do sleep 0.2; done'")
        run = run_playbook("pyweb.stack.site", deployed(37), *limit)
        assert "It is running the release command 'sleep 611'" in unfolded(run.failure(place.name))
    finally:
        end_run(first.pid)
        first.wait(60)
    run = run_playbook("pyweb.stack.site", deployed(37), *limit)
    assert "its run is gone" in unfolded(run.failure(place.name))
    assert place.look()["current"] == before
    place.run("pgrep -fx 'sleep 611'")
    run = run_playbook("pyweb.stack.site", deployed(37), *limit, "-e", "end_lost_command=true")
    assert run.status == 0, run.output
    assert "ended the work of an earlier run that is gone" in unfolded(run.output)
    place.run("! pgrep -fx 'sleep 611'")
    assert place.settled()["current"] != before
