# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Runs that are killed at twenty different moments: visitors notice nothing, and the next run puts everything right."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import TAKE_OVER, Place, begin_playbook, deploy, load_on, lost_nothing, webapps
from pyweb_places import everywhere

# In rounds of one moment for each of the four hosts, at least twenty in all. The first of each kind is the sample.
ANSIBLE_ROUNDS, MODULE_ROUNDS = 2, 3
# Moments, one for each host: in which of its calls the module is killed, and how many seconds after that call took the
# lock. Measured here: a build takes some 0.4 s if the environment is there; in a run of several hosts, the switch takes
# 0.3 s and the end 0.8 s, after a confirmation; in a run of one host, one call builds and switches, in 4 s.
BUILDING = [("build", after) for after in (0.0, 0.1, 0.2, 0.3)]
TOGETHER = [[("switch", after) for after in (0.0, 0.05, 0.1, 0.2)], BUILDING,
            [("finish", after) for after in (0.0, 0.15, 0.3, 0.5)]]  # fmt: skip
ALONE = [[("switch", after) for after in (0.0, 1.0, 2.0, 3.0)], BUILDING,
         [("switch", after) for after in (0.5, 1.5, 2.5, 2.8)]]  # fmt: skip
# The calls of a run that change a release, by the number of those before them with the same `.activating`.
CALLS = {"build": (False, 1), "switch": (True, 1), "finish": (True, 3)}

# Kills what holds the lock of the application in a call (argv 2: 1 if `.activating` is there, argv 3: the number of the
# call), some seconds after it took it (argv 1). No process is named after the module.
KILL = r"""
import os, re, signal, sys, time
after, switching, number = float(sys.argv[1]), sys.argv[2] == "1", int(sys.argv[3])
home, calls = "/srv/webapps/patient", []
until = time.monotonic() + 60
while time.monotonic() < until:
    try:
        found = re.search(r"process (\d+)", open(f"{home}/.lock").read())
    except OSError:
        found = None
    alive = found and os.path.exists(f"/proc/{found[1]}") and os.path.exists(f"{home}/.activating") == switching
    if alive and found[1] not in calls:
        calls.append(found[1])
    if alive and len(calls) == number:
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


def finish(places: list[Place], run_playbook, number: int) -> None:
    """The next run, of another change every second time: the first may find its release finished, or not."""
    everywhere(free, places)
    run = run_playbook("pyweb.stack.site", change(number))
    if "another deployment is under way" in run.output:
        # The module of the killed run took the lock only after the look at it.
        everywhere(free, places)
        run = run_playbook("pyweb.stack.site", change(number))
    assert run.status == 0, run.output

    def check(place: Place) -> None:
        found = place.settled()
        seen = place.run(f"grep -h KILLED= /srv/webapps/patient/releases/{found['current']}/env").strip()
        assert seen == f"KILLED={number}"
        assert "built" not in found["states"].values(), "a release that no run will ever use"

    everywhere(check, places)


def rounds(count: int) -> list[Any]:
    return [pytest.param(number, marks=[pytest.mark.matrix] if number else []) for number in range(count)]


def begin(place: Place, inventory: str, folder: Path, number: int) -> subprocess.Popen:
    return begin_playbook(inventory, folder, change(number), "--limit", place.name)


@pytest.fixture(scope="module")
def whole(places: list[Place], run_playbook, scenario_inventory: str, tmp_path_factory) -> float:
    """The seconds that a deployment takes while the other hosts have theirs."""
    assert run_playbook("pyweb.stack.site", change(0)).status == 0
    folder = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    assert {run.wait(120) for run in [begin(place, scenario_inventory, folder, 1) for place in places]} == {0}
    return time.monotonic() - began


@pytest.mark.parametrize("number", rounds(ANSIBLE_ROUNDS))
def test_ansible_killed_at_any_moment(
    number: int, whole: float, places: list[Place], run_playbook, scenario_inventory: str, tmp_path: Path
):
    neighbours = everywhere(Place.neighbour, places)
    # Early, late and between on each of the hosts.
    moments = [number * len(places) + (place + number) % len(places) for place in range(len(places))]
    with load_on(places, tmp_path) as loads:
        runs = [begin(place, scenario_inventory, tmp_path, 2 + 2 * number) for place in places]
        began = time.monotonic()
        for moment, run in sorted(zip(moments, runs, strict=True), key=lambda pair: pair[0]):
            time.sleep(max(0.0, began + whole * (moment + 0.5) / (ANSIBLE_ROUNDS * len(places)) - time.monotonic()))
            os.killpg(run.pid, signal.SIGKILL)
        for run in runs:
            run.wait(10)
        finish(places, run_playbook, 2 + 2 * number + number % 2)
    lost_nothing(loads)
    assert everywhere(Place.neighbour, places) == neighbours


# For each host: whether the module was killed, and the number of failed tasks.
OUTCOMES: list[tuple[str, int]] = []


def begin_killing(place: Place, call: str, after: float) -> subprocess.Popen:
    switching, number = CALLS[call]
    command = place.command(f"python3 - {after:g} {switching:d} {number}")
    killer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert killer.stdin
    killer.stdin.write(KILL)
    killer.stdin.close()
    return killer


@pytest.mark.parametrize("number", rounds(MODULE_ROUNDS))
@pytest.mark.parametrize(
    "alone",
    # tests/local/test_activation.py always runs.
    [pytest.param(False, id="one run for all"), pytest.param(True, id="a run for each", marks=pytest.mark.matrix)],
)
def test_module_killed_at_any_moment(places: list[Place], run_playbook, tmp_path: Path, number: int, alone: bool):
    first = (202 if alone else 102) + 2 * number
    neighbours = everywhere(Place.neighbour, places)
    # In the round of builds, no host switches, because another one could not build.
    chosen = (ALONE if alone else TOGETHER)[number]
    chosen = chosen[number:] + chosen[:number]
    with load_on(places, tmp_path) as loads:
        killers = [begin_killing(place, *moment) for place, moment in zip(places, chosen, strict=True)]
        runs = deploy(run_playbook, dict.fromkeys((place.name for place in places), change(first)), alone)
        told = [killer.stdout.read().strip() for killer in killers]
        for killer in killers:
            killer.wait(70)
        for place, outcome in zip(places, told, strict=True):
            run = runs[place.name]
            broke = run.counts(place.name)["failed"]
            # One that is killed when it has said its last word has done its work.
            waits = broke and "so this host does not switch" in run.failure(place.name)
            assert outcome == "killed" or not broke or waits, (place.name, told, run.output)
            assert not (alone and broke and TAKE_OVER in run.output), "it did not switch in the call that builds"
            # A host that waits for one that was killed has no module to kill.
            if not waits:
                OUTCOMES.append((outcome, broke))
        finish(places, run_playbook, first + number % 2)
    lost_nothing(loads)
    assert everywhere(Place.neighbour, places) == neighbours


def test_most_modules_were_killed_in_time():
    """Else the tests above have shown nothing."""
    print(OUTCOMES)
    assert OUTCOMES
    assert [outcome for outcome, _broke in OUTCOMES].count("killed") >= len(OUTCOMES) * 5 // 6, OUTCOMES
    assert sum(broke for _outcome, broke in OUTCOMES) >= len(OUTCOMES) * 2 // 3, OUTCOMES


def test_every_host_is_left_as_it_should_be(host):
    assert host.run("find /srv/webapps /etc/systemd /etc/supervisor -name '*.new'").stdout == ""
