# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Runs that are killed at any moment: visitors notice nothing, and the next run puts everything right."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Place, begin_playbook, everywhere, load_on, lost_nothing, webapps

MOMENTS = 10

# Kills what holds the lock of the application, some seconds after it took it: argv 1. The module takes it for building
# and again for the switch (`.activating` tells them apart, argv 2: 1 for the switch), and no process is named after it.
KILL = r"""
import os, re, signal, sys, time
after, switching = float(sys.argv[1]), sys.argv[2] == "1"
home = "/srv/webapps/patient"
until = time.monotonic() + 30
while time.monotonic() < until:
    try:
        found = re.search(r"process (\d+)", open(f"{home}/.lock").read())
    except OSError:
        found = None
    alive = found and os.path.exists(f"/proc/{found[1]}") and os.path.exists(f"{home}/.activating") == switching
    if alive:
        time.sleep(after)
        try:
            os.kill(int(found[1]), signal.SIGKILL)
            print("killed")
        except ProcessLookupError:
            print("over")
        break
    time.sleep(0.002)
else:
    print("never")
"""


def change(number: int) -> dict[str, Any]:
    return webapps({"env": {"BOOT_SECONDS": "0", "KILLED": str(number)}})


def free(place: Place) -> None:
    """Wait for a module that goes on after its ansible-playbook was killed; a live holder is refused by right."""
    place.run("timeout 60 flock /srv/webapps/patient/.lock true")


@pytest.fixture(scope="module")
def pair(places: list[Place]) -> list[Place]:
    """One host of each process manager and of each Debian, both in every run."""
    return [place for place in places if place.name in ("releases-systemd12", "releases-supervisor13")]


def only(pair: list[Place]) -> tuple[str, str]:
    return "--limit", ",".join(place.name for place in pair)


def finish(pair: list[Place], run_playbook, number: int) -> None:
    """The next run, of another change every second time: the first may find its release finished, or not."""
    everywhere(free, pair)
    run = run_playbook("pyweb.stack.site", change(number), *only(pair))
    if "another deployment is under way" in run.output:
        # The module of the killed run took the lock only after the look at it.
        everywhere(free, pair)
        run = run_playbook("pyweb.stack.site", change(number), *only(pair))
    assert run.status == 0, run.output

    def check(place: Place) -> None:
        found = place.settled()
        seen = place.run(f"grep -h KILLED= /srv/webapps/patient/releases/{found['current']}/env").strip()
        assert seen == f"KILLED={number}"

    everywhere(check, pair)


def test_ansible_killed_at_any_moment(pair: list[Place], run_playbook, scenario_inventory: str, tmp_path: Path):
    assert run_playbook("pyweb.stack.site", change(0), *only(pair)).status == 0
    began = time.monotonic()
    assert run_playbook("pyweb.stack.site", change(1), *only(pair)).status == 0
    whole = time.monotonic() - began
    neighbours = everywhere(Place.neighbour, pair)
    with load_on(pair, tmp_path) as loads:
        for moment in range(MOMENTS):
            number = 2 + 2 * moment
            run = begin_playbook(scenario_inventory, tmp_path, change(number), *only(pair))
            time.sleep(whole * (moment + 0.5) / MOMENTS)
            os.killpg(run.pid, signal.SIGKILL)
            run.wait(10)
            finish(pair, run_playbook, number + moment % 2)
    lost_nothing(loads)
    assert everywhere(Place.neighbour, pair) == neighbours


def test_module_killed_at_any_moment(pair: list[Place], run_playbook, scenario_inventory: str, tmp_path: Path):
    neighbours = everywhere(Place.neighbour, pair)
    outcomes: list[list[str]] = []
    failed = 0
    with load_on(pair, tmp_path) as loads:
        for moment in range(MOMENTS):
            number = 102 + 2 * moment
            switching = moment % 2
            # The build of a release whose environment is there takes a good half second, the switch some four.
            after = (moment // 2) * (0.9 if switching else 0.15)
            killers = [
                subprocess.Popen(
                    place.command(f"python3 - {after:g} {switching}"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for place in pair
            ]
            for killer in killers:
                killer.stdin.write(KILL)
                killer.stdin.close()
            run = begin_playbook(scenario_inventory, tmp_path, change(number), *only(pair))
            status = run.wait(60)
            outcomes.append([killer.stdout.read().strip() for killer in killers])
            for killer in killers:
                killer.wait(40)
            # One that is killed when it has said its last word has done its work.
            assert status == 0 or "killed" in outcomes[-1], (moment, outcomes)
            failed += status != 0
            finish(pair, run_playbook, number + moment // 2 % 2)
    print(failed, outcomes)
    assert failed >= 6
    lost_nothing(loads)
    for number, place in enumerate(pair):
        assert [outcome[number] for outcome in outcomes].count("killed") >= 6, (place.name, outcomes)
    assert everywhere(Place.neighbour, pair) == neighbours


def test_every_host_is_left_as_it_should_be(host):
    assert host.run("find /srv/webapps /etc/systemd /etc/supervisor -name '*.new'").stdout == ""
