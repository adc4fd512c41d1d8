# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Several plays of one run: the variables of a host still hold the results of an earlier play."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from test_plan import CHECKOUT, Failed, Host, Run, shop

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


@pytest.mark.parametrize("strategy", ["free", "ansible.builtin.free", "host_pinned"])
def test_hosts_that_do_not_wait_for_each_other_are_refused(run: Run, shop: dict[str, Any], strategy: str) -> None:
    run.strategy = strategy
    with pytest.raises(AnsibleActionFail, match="Set 'strategy: linear' in this play"):
        play(run, [shop], WHOLE)
    assert run.hosts["web1"].calls == []
    run.batch = ["web1"]
    run([shop], stage="look")


def test_the_site_playbook_has_hosts_wait_for_each_other() -> None:
    for play in yaml.safe_load((CHECKOUT / "playbooks/site.yml").read_text()):
        assert play["strategy"] == "ansible.builtin.linear"
