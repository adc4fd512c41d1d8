# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Deployments in a row with visitors all along: none of them may notice, and none may wait for a boot."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import HOSTS, TAKE_OVER, Place, begin_playbook, load_on, lost_nothing, webapps
from pyweb_data import each
from pyweb_places import everywhere

BOOT = 2.0
KEEP = 2
SECRET = "hunter2-is-secret"
# Not as a word of the command: that may be logged itself.
NO_SECRET = "! grep -r $(printf hunter%d 2) deployments.log /var/log"

# What changes for good, and the playbook that does it.
Step = tuple[str, dict[str, Any], str]
STEPS: list[Step] = [
    ("code", {}, "site"),
    ("dependency", {"python": {"packages": ["six"]}}, "site"),
    ("secret", {"env": {"SECRET": SECRET}}, "site"),
    ("gunicorn option", {"gunicorn": {"keepalive": 7}}, "site"),
    ("restart", {}, "restart"),
    ("setting", {"threads": 10}, "site"),
    ("rollback", {}, "rollback"),
    ("more code", {}, "site"),
    ("rollback to a named release", {}, "rollback"),
    ("other secret", {"env": {"SECRET": "two"}}, "site"),
]


# One of each playbook.
SAMPLE = [step for step in STEPS if step[0] in ("code", "secret", "restart", "rollback")]

# Two at once, for what a machine of two processors can carry: visitors, hosts and runs share them.
PAIRS = [(HOSTS[0], HOSTS[3]), (HOSTS[1], HOSTS[2])]

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        pytest.param(PAIRS[0], SAMPLE, id="a sample"),
        *(pytest.param(pair, STEPS, id=" and ".join(pair), marks=pytest.mark.matrix) for pair in PAIRS),
    ],
)
def test_deployments_in_a_row_lose_no_request(
    names: tuple[str, str], steps: list[Step], places: list[Place], run_playbook, source: Path, tmp_path: Path
):
    pair = [place for place in places if place.name in names]
    limit = ("--limit", ",".join(names))
    change: dict[str, Any] = {"env": {"BOOT_SECONDS": f"{BOOT:g}"}}
    assert run_playbook("pyweb.stack.site", webapps(change, source), *limit).status == 0
    neighbours = everywhere(Place.neighbour, pair)
    lived = [[place.look()["current"]] for place in pair]
    took: dict[str, float] = {}
    with load_on(pair, tmp_path, rate=200, slow=5) as loads:
        for number, (what, more, playbook) in enumerate(steps):
            for key, value in more.items():
                change[key] = {**change.get(key, {}), **value} if isinstance(value, dict) else value
            if what.endswith("code"):
                (source / "new.py").write_text(f"NUMBER = {number}\n")
            variables = {**webapps(change, source), "app": "patient", "webapp_keep_releases": KEEP}
            if what.endswith("named release"):
                named = {place.name: {"release": history[-2]} for place, history in zip(pair, lived, strict=True)}
                variables |= each(named)
            began = time.monotonic()
            run = run_playbook(f"pyweb.stack.{playbook}", variables, *limit, "--diff")
            took[what] = time.monotonic() - began
            assert run.status == 0, f"{what}: {run.output}"
            assert SECRET not in run.output
            for history, found in zip(lived, everywhere(Place.look, pair), strict=True):
                assert found["current"] != history[-1], f"{what} changed nothing"
                history.append(found["current"])
                check_what_is_kept(found, history)
    print({what: f"{seconds:.1f} s" for what, seconds in took.items()})
    lost_nothing(loads)
    for load, history in zip(loads, lived, strict=True):
        assert load.report["requests"] > 0.95 * 200 * sum(took.values())
        assert load.report["kinds"]["slow"]["done"] >= 5 * len(steps)
        assert load.report["slowest"] < BOOT, f"a visitor waited for a boot: {load.report['kinds']}"
        # A release that serves a second time after a rollback is not new to the visitors.
        assert load.report["releases"] == list(dict.fromkeys(history))
    # What reaches nginx's configuration reloads it. It then closes the kept connections that are idle, and what a
    # visitor sends on one at that very moment meets a closed door; nginx has no remedy for it before 1.27.4.
    with load_on(pair, tmp_path, rate=200, slow=5) as loads:
        run = run_playbook("pyweb.stack.site", webapps({**change, "timeout": 9}, source), *limit)
    assert run.status == 0, run.output
    for load in loads:
        told = load.report["kinds"]
        assert not [kind for kind, found in told.items() if found["failures"] and not kind.endswith("kept")], told
        assert load.report["failed"] <= 2, told
    # Medians, because the load makes single runs up to a third slower than others.
    times = {
        playbook: [took[what] for what, _change, used in steps if used == playbook] for playbook in ("rollback", "site")
    }
    assert statistics.median(times["rollback"]) < statistics.median(times["site"]), took
    assert everywhere(Place.neighbour, pair) == neighbours
    everywhere(Place.settled, pair)
    everywhere(lambda place: place.run("cd /srv/webapps/patient && test -s deployments.log && " + NO_SECRET), pair)


@pytest.mark.parametrize(
    "names", [pytest.param(PAIRS[0], marks=pytest.mark.matrix), PAIRS[1]], ids=[" and ".join(pair) for pair in PAIRS]
)
def test_a_deployment_to_one_host_switches_in_the_call_that_builds(
    names: tuple[str, str], places: list[Place], run_playbook, scenario_inventory: str, source: Path, tmp_path: Path
):
    """Where the preflight sees that nothing is to be done in between; no visitor notices that either."""
    pair = [place for place in places if place.name in names]
    change = {"env": {"BOOT_SECONDS": "1"}}
    began = run_playbook("pyweb.stack.site", webapps(change, source), "--limit", ",".join(names))
    assert began.status == 0, began.output
    before = everywhere(Place.look, pair)
    with load_on(pair, tmp_path, rate=200, slow=5) as loads:
        (source / "new.py").write_text("NUMBER = 11\n")
        variables = webapps(change, source)
        runs = [begin_playbook(scenario_inventory, tmp_path, variables, "--limit", place.name) for place in pair]
        statuses = [run.wait(120) for run in runs]
    told = [log.read_text() for log in sorted(tmp_path.glob("variables-*.log"))]
    assert statuses == [0, 0], told
    lost_nothing(loads)
    for found, old in zip(everywhere(Place.look, pair), before, strict=True):
        assert found["current"] != old["current"]
        assert found["states"][found["current"]] == "good"
    for place, output in zip(pair, told, strict=True):
        spared = "[Run the release commands, once for all hosts]"
        assert spared in output
        # The task makes no connection, and changes nothing. It finds no batches to switch.
        assert output.partition(spared)[2].splitlines()[1].startswith(f"ok: [{place.name}]"), output
        assert TAKE_OVER not in output
    # A run of both hosts has the task.
    assert TAKE_OVER in began.output
    everywhere(Place.settled, pair)


def check_what_is_kept(found: dict[str, Any], history: list[str]) -> None:
    """What serves and what served before is there, with its environment; and little else, as was asked for."""
    states = found["states"]
    assert states[history[-1]] == "good"
    assert states[history[-2]] in ("good", "withdrawn"), (history, states)
    assert set(found["venvs"]) == set(found["venvs_used"])
    # After a rollback one more, so that there is still one to go back to.
    assert [state in ("good", "withdrawn") for state in states.values()].count(True) <= KEEP + 1, states
