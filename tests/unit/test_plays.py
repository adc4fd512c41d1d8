# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Several plays of one run: the variables of a host still hold the results of an earlier play."""

from __future__ import annotations

from typing import Any

import pytest
from test_plan import Failed, Host, Run, shop

__all__ = ["shop"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    found = Run({"web1": Host(), "web2": Host()}, monkeypatch)
    found.report = "later"
    return found


def play(run: Run, apps: list[dict[str, Any]], stages: tuple[str, ...], **more: Any) -> None:
    for stage in stages:
        for host in [one for one in run.hosts if one not in run.lost]:
            run(apps, stage=stage, host=host, **more)


WHOLE = ("look", "deploy", "build", "commands", "switch", "report")


def test_a_play_without_the_stage_look_does_not_use_the_look_of_an_earlier_one(run: Run, shop: dict[str, Any]) -> None:
    play(run, [shop], WHOLE)
    run.play = "2"
    play(run, [shop], WHOLE)
    run.play = "3"
    run.hosts["web1"].calls.clear()
    play(run, [{**shop, "env": {"OTHER": "1"}}], ("deploy", "commands", "switch", "report"))
    assert run.hosts["web1"].trips == ["preflight", "apply", "webapp_activate"]


def test_a_host_that_an_earlier_play_has_lost_is_missing_in_the_next_one(run: Run, shop: dict[str, Any]) -> None:
    play(run, [shop], WHOLE)
    run.play = "2"
    run.lost.add("web2")
    with pytest.raises(Failed, match="Hosts of this run are missing: web2"):
        play(run, [{**shop, "env": {"OTHER": "1"}}], WHOLE)


def test_a_role_of_an_earlier_play_has_no_part_in_the_plan_of_the_next_one(run: Run, shop: dict[str, Any]) -> None:
    other = {"__nginx_plan": {"role": "nginx", "play": "1"}}
    for name, sent in (("1", True), ("2", False)):
        run.play = name
        app = {**shop, "env": {"OTHER": name}, "site": {"domains": [f"shop{name}.example.com"]}}
        run([app], roles=("python", "gunicorn", "webapp", "systemd"), more=other)
        assert ("nginx" in run.hosts["web1"].sent()) is sent
