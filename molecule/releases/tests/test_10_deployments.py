# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Ten deployments in a row with visitors all along: none of them may notice, and none may wait for a boot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import HOSTS, Place, everywhere, load_on, lost_nothing, webapps

BOOT = 2.0

# What changes for good, and the playbook that does it.
STEPS: list[tuple[str, dict[str, Any], str]] = [
    ("code", {}, "site"),
    ("dependency", {"python": {"packages": ["six"]}}, "site"),
    ("secret", {"env": {"SECRET": "one"}}, "site"),
    ("gunicorn option", {"gunicorn": {"keepalive": 7}}, "site"),
    ("restart", {}, "restart"),
    ("timeout", {"timeout": 9}, "site"),
    ("rollback", {}, "rollback"),
    ("code", {"timeout": 8}, "site"),
    ("restart", {}, "restart"),
    ("secret", {"env": {"SECRET": "two"}}, "site"),
]


# Two at once, for what one machine can carry: visitors, hosts and runs share its processors.
PAIRS = [("releases-systemd12", "releases-supervisor13"), ("releases-systemd13", "releases-supervisor12")]


@pytest.mark.parametrize("names", PAIRS, ids=" and ".join)
def test_ten_deployments_lose_no_request(
    names: tuple[str, str], places: list[Place], run_playbook, source: Path, tmp_path: Path
):
    assert sorted(name for pair in PAIRS for name in pair) == sorted(HOSTS)
    pair = [place for place in places if place.name in names]
    limit = ("--limit", ",".join(names))
    change: dict[str, Any] = {"env": {"BOOT_SECONDS": f"{BOOT:g}"}}
    assert run_playbook("pyweb.stack.site", webapps(change, source), *limit).status == 0
    neighbours = everywhere(Place.neighbour, pair)
    lived = [[release] for release in everywhere(live, pair)]
    with load_on(pair, tmp_path, rate=200, slow=5) as loads:
        for number, (what, more, playbook) in enumerate(STEPS):
            for key, value in more.items():
                change[key] = {**change.get(key, {}), **value} if isinstance(value, dict) else value
            if what == "code":
                (source / "new.py").write_text(f"NUMBER = {number}\n")
            variables = {**webapps(change, source), "app": "patient"}
            run = run_playbook(f"pyweb.stack.{playbook}", variables, *limit)
            assert run.status == 0, f"{what}: {run.output}"
            for history, release in zip(lived, everywhere(live, pair), strict=True):
                assert release != history[-1], f"{what} changed nothing"
                history.append(release)
    lost_nothing(loads)
    for load, history in zip(loads, lived, strict=True):
        assert load.report["kinds"]["slow"]["done"] >= 5
        assert load.report["slowest"] < BOOT, f"a visitor waited for a boot: {load.report['kinds']}"
        # A release that serves a second time after a rollback is not new to the visitors.
        assert load.report["releases"] == list(dict.fromkeys(history))
    assert everywhere(Place.neighbour, pair) == neighbours
    everywhere(Place.settled, pair)


def live(place: Place) -> str:
    return place.look()["current"]
