# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Ten deployments in a row with visitors all along: none of them may notice, and none may wait for a boot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import HOSTS, Place, load_on, lost_nothing, webapps

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


@pytest.mark.parametrize("name", HOSTS)
def test_ten_deployments_lose_no_request(name: str, places: list[Place], run_playbook, source: Path, tmp_path: Path):
    place = next(place for place in places if place.name == name)
    change: dict[str, Any] = {"env": {"BOOT_SECONDS": f"{BOOT:g}"}}
    assert run_playbook("pyweb.stack.site", webapps(change, source), "--limit", name).status == 0
    neighbour = place.neighbour()
    lived = [place.look()["current"]]
    with load_on([place], tmp_path, rate=200, slow=5) as loads:
        for number, (what, more, playbook) in enumerate(STEPS):
            for key, value in more.items():
                change[key] = {**change.get(key, {}), **value} if isinstance(value, dict) else value
            if what == "code":
                (source / "new.py").write_text(f"NUMBER = {number}\n")
            variables = {**webapps(change, source), "app": "patient"}
            run = run_playbook(f"pyweb.stack.{playbook}", variables, "--limit", name)
            assert run.status == 0, f"{what}: {run.output}"
            lived.append(place.look()["current"])
            assert lived[-1] != lived[-2], f"{what} changed nothing"
    lost_nothing(loads)
    report = loads[0].report
    assert report["kinds"]["slow"]["done"] >= 5
    assert report["slowest"] < BOOT, f"a visitor waited for a boot: {report['kinds']}"
    # A release that serves a second time after a rollback is not new to the visitors.
    assert report["releases"] == list(dict.fromkeys(lived))
    assert place.neighbour() == neighbour
    place.settled()
