# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Runs that are killed, and two runs at once: the fleet never ends on two builds without a report."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import yaml
from conftest import HOME, Place, assert_settled, begin_playbook, builds, kill_run
from pyweb_places import everywhere, wait_until

MOMENTS = 10
# Seconds for which hosts may wait for a run that is gone, and some more.
PATIENCE = 400


@pytest.fixture(scope="module")
def whole(webs, deploy, numbers) -> float:
    """The seconds that a deployment takes."""
    began = time.monotonic()
    assert deploy(next(numbers)).status == 0
    return time.monotonic() - began


def converge(webs, deploy, build: str) -> None:
    """The next run that is not refused."""
    until = time.monotonic() + PATIENCE
    while (run := deploy(build)).status != 0:
        assert time.monotonic() < until, run.output
        time.sleep(10)
    assert_settled(webs, build)


@pytest.mark.matrix(whole=True)
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_controller_is_killed_at_any_moment(
    webs, traffic, deploy, numbers, whole, scenario_inventory, tmp_path: Path, moment: int
):
    build = next(numbers)
    with traffic() as visitors:
        run = begin_playbook(scenario_inventory, tmp_path, {"build": build})
        time.sleep(whole * (moment + 0.5) / MOMENTS)
        kill_run(run)
        converge(webs, deploy, next(numbers))
    visitors.assert_nothing_was_lost()


# Ends when the host has committed, which removes the lease at its end.
LEASE = f"{HOME}/.lease.json"
AWAIT_COMMIT = f"until [ -e {LEASE} ]; do sleep 0.05; done; while [ -e {LEASE} ]; do sleep 0.01; done"
COMMITTED = f"timeout 900 sh -c '{AWAIT_COMMIT}'"
# Ends the lease in a few seconds: with one fork, it lasts for nine minutes.
SHORTEN = f"""
import json, os, time
path = "{LEASE}"
if os.path.exists(path):
    lease = json.load(open(path))
    lease["expires"] = time.time() + 3
    json.dump(lease, open(path + ".test", "w"))
    os.chmod(path + ".test", 0o600)
    os.rename(path + ".test", path)
"""


@pytest.mark.matrix(whole=True)
def test_a_controller_is_killed_between_the_first_and_the_last_commit(
    webs, traffic, deploy, run_playbook, numbers, scenario_inventory, tmp_path: Path
):
    before, build = next(numbers), next(numbers)
    assert deploy(before).status == 0
    with traffic() as visitors:
        first = webs[0].begin(COMMITTED)
        run = begin_playbook(scenario_inventory, tmp_path, {"build": build}, "--forks", "1")
        assert first.wait(920) == 0, "no commit"
        kill_run(run)
        # The host that was asked next may still commit.
        wait_until(lambda: not is_ending(webs[1]), 60)
        looks = everywhere(Place.look, webs)
        assert [look.build for look in looks] == [build] * 4
        assert [look.leased for look in looks][::3] == [False, True], looks
        everywhere(lambda place: place.run("python3 -", given=SHORTEN), webs)
        wait_until(lambda: not any(look.leased for look in everywhere(Place.look, webs)), 60)
        kept = [build if not look.leased else before for look in looks]
        assert builds(webs) == kept
        assert_drift_is_told(run_playbook("pyweb.stack.status").output, webs, kept)
        # The next run needs no wait.
        again = next(numbers)
        run = deploy(again)
        assert run.status == 0, run.output
        assert_settled(webs, again)
    visitors.assert_nothing_was_lost()


def is_ending(place: Place) -> bool:
    """Whether a commit is under way."""
    return '"committing"' in place.run(f"cat {LEASE} 2>/dev/null || true")


def assert_drift_is_told(output: str, webs, serving) -> None:
    """One line has both revisions, each with its hosts."""
    (line,) = (line for line in output.splitlines() if "orders: " in line and " on fleet-web" in line)
    for build in set(serving):
        hosts = ", ".join(place.name for place, one in zip(webs, serving, strict=True) if one == build)
        assert f" on {hosts}" in line, line


def reversed_inventory(inventory: str, folder: Path) -> Path:
    """The same hosts in the opposite order."""
    target = folder / "reversed"
    shutil.copytree(inventory, target, symlinks=False)
    path = target / "hosts"
    path = path if path.exists() else target / "hosts.yml"
    found = yaml.safe_load(path.read_text())
    found["web"]["hosts"] = {f"fleet-web{number}": None for number in (4, 3, 2, 1)}
    path.write_text(json.dumps(found))
    return target


@pytest.mark.matrix(whole=True)
def test_two_controllers_in_opposite_order_end_on_one_build(
    webs, traffic, deploy, numbers, scenario_inventory, tmp_path: Path
):
    wanted = [next(numbers), next(numbers)]
    inventories = [scenario_inventory, reversed_inventory(scenario_inventory, tmp_path)]
    with traffic() as visitors:
        runs = [
            begin_playbook(inventory, tmp_path, {"build": build})
            for inventory, build in zip(inventories, wanted, strict=True)
        ]
        statuses = [run.wait(600) for run in runs]
    told = [path.read_text() for path in sorted(tmp_path.glob("variables-*.log"))]
    visitors.assert_nothing_was_lost()
    assert len(set(builds(webs))) == 1, told
    serving = builds(webs)[0]
    for build, status in zip(wanted, statuses, strict=True):
        # A run that says that it has succeeded was the last one, or another one has replaced its build after it.
        assert status != 0 or serving in wanted, (build, told)
    assert 0 in statuses or serving not in wanted, told
    converge(webs, deploy, next(numbers))
