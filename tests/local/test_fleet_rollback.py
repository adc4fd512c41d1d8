# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rollbacks and restarts on several hosts, with real releases: all of them switch, or none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible_collections.pyweb.stack.plugins.action import webapp_switch
from ansible_collections.pyweb.stack.plugins.module_utils.release import locking
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import hold_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import has_lease
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    GOOD,
    Manifest,
    ReleaseError,
    read_manifest,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.modules import webapp_info
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.transactions import STAGES
from unit.test_plan import FACTS

from local import test_leases as leases
from local.test_activation import NEW, OLD
from local.test_leases import Leased

# Fixtures
make = leases.make

OLDEST = "20261119T000000Z-99999999"
R1, R2, R3 = "111111110000", "222222220000", "333333330000"
SHOP = {"name": "shop", "source": {"path": "shop"}, "wsgi": "shop:app"}


def give(host: Leased, identity: str, revision: str, state: str = GOOD) -> None:
    """The host has this release."""
    os.makedirs(host.layout.release(identity), exist_ok=True)
    (Path(host.layout.release(identity)) / "bin").mkdir(exist_ok=True)
    write_manifest(host.layout, Manifest(identity, state, {"code": identity}, revision, f"commit{revision}", venv="v"))


class Fleet:
    """Hosts that have deployed three revisions, and the playbooks on them."""

    def __init__(self, make: Callable[..., Leased], monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.monkeypatch = monkeypatch
        self.hosts = {name: self.deployed(make()) for name in names}
        self.lost: set[str] = set()
        # The hosts that are lost before a stage.
        self.losing: dict[str, str] = {}
        # The answers of modules instead of those of the host, by stage.
        self.answering: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.registered: dict[str, dict[str, Any]] = {}
        self.apps = [SHOP]
        self.rollout: dict[str, Any] = {}
        self.stages = dict(STAGES)
        monkeypatch.setattr(
            ActionBase, "_execute_module", lambda action, *given, **named: self.execute(action, *given, **named)
        )

    @staticmethod
    def deployed(host: Leased) -> Leased:
        give(host, OLDEST, R1)
        give(host, OLD, R2)
        give(host, NEW, R3)
        host.activate()
        return host

    # Modules

    def execute(self, action: Any, module_name: str = "", module_args: Any = None, **_rest: Any) -> dict[str, Any]:
        name, module = action.task_vars["inventory_hostname"], module_name.rpartition(".")[2]
        host = self.hosts[name]
        leases.use(self.monkeypatch, host)
        if module == "preflight":
            return {"changed": False, "ansible_facts": {"pyweb": {**FACTS, "time": time.time()}}}
        self.calls.append((name, module_args.get("stage", "") or module))
        if module == "webapp_info":
            return {"changed": False, "apps": [webapp_info.look(host.layout)]}
        (spec,) = module_args["apps"]
        if (answer := self.answering.get(module_args.get("stage", ""))) is not None:
            return dict(answer)
        return self.activate(host, spec, module_args)

    def activate(self, host: Leased, spec: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        run = given["lease"]["run"]
        stage = given.get("stage", "switch")
        try:
            if stage != "switch":
                result = host.stage(stage, run, **({"reason": given["reason"]} if "reason" in given else {}))
            elif spec["provisional"] and not spec["stop_first"]:
                result = host.lease("", switch=spec["switch"], release=spec["release"], lease=given["lease"])
            else:
                result = host.activate("", switch=spec["switch"], release=spec["release"])
        except ReleaseError as error:
            if given["report"] == "now":
                return {"failed": True, "msg": str(error)}
            return {"changed": True, "apps": [], "failures": {"names": ["shop"], "problems": [str(error)]}}
        return {"changed": True, "apps": [result]}

    # Playbooks

    def run(self, **given: Any) -> dict[str, dict[str, Any]]:
        """The last result of each host. One that has failed takes no later stage."""
        self.registered = {name: {} for name in self.hosts}
        self.calls.clear()
        answers: dict[str, dict[str, Any]] = {}
        for stage, variable in self.stages.items():
            if gone := self.losing.get(stage):
                self.lost.add(gone)
                self.registered[gone][variable] = {"unreachable": True, "changed": False}
            active = [one for one in self.hosts if one not in self.lost]
            if stage == "batches":
                # Once for all hosts.
                found = self.take(active[0], stage, variable, {}) if active else {}
                self.registered = {name: {**known, variable: found} for name, known in self.registered.items()}
                continue
            listed = self.registered[next(iter(self.hosts))].get("__batches", {}).get("steps")
            for step in listed or [{"batch": 0}] if stage == "switch" else [{}]:
                more = {"batch": step["batch"]} if step else given if stage == "choose" else {}
                for name in [one for one in self.hosts if one not in self.lost]:
                    answers[name] = self.take(name, stage, variable, more)
                    self.registered[name][variable] = answers[name]
                self.lost |= {name for name, answer in answers.items() if answer.get("failed")}
        return answers

    def take(self, name: str, stage: str, variable: str, given: dict[str, Any]) -> dict[str, Any]:
        active = [one for one in self.hosts if one not in self.lost]
        variables = {
            "webapps": self.apps,
            "webapp_rollout": self.rollout,
            "inventory_hostname": name,
            "ansible_play_batch": active,
            "ansible_play_hosts": active,
            "ansible_play_hosts_all": list(self.hosts),
            "hostvars": {one: dict(known) for one, known in self.registered.items()},
            "ansible_facts": {"pyweb": FACTS},
        }
        task = SimpleNamespace(
            args={"stage": stage, **given},
            check_mode=False,
            async_val=0,
            action="pyweb.stack.webapp_switch",
            diff=False,
            register=variable,
            get_play=lambda: SimpleNamespace(_uuid=leases.RUN, strategy="linear"),
        )
        loader = DataLoader()
        connection = SimpleNamespace(transport="local", _shell=SimpleNamespace(tmpdir=None))
        action = webapp_switch.ActionModule(
            task, connection, SimpleNamespace(), loader, Templar(loader=loader, variables=variables), None
        )
        return action.run(task_vars=variables)

    @property
    def serving(self) -> list[str]:
        """The revision that each host serves."""
        found = []
        for host in self.hosts.values():
            live = host.layout.current_release()
            manifest = read_manifest(host.layout, live or "")
            assert manifest is not None
            assert host.serving == live
            assert not has_lease(host.layout)
            found.append(manifest.revision)
        return found

    def messages(self, answers: dict[str, dict[str, Any]]) -> list[str]:
        return [str(answer.get("msg", "")) for answer in answers.values()]


@pytest.fixture
def web(make: Callable[..., Leased], monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    yield Fleet(make, monkeypatch, "web1", "web2", "web3")
    locking.settings.run = ""


def test_all_hosts_go_back_to_the_same_revision(web: Fleet) -> None:
    answers = web.run(app="shop")
    assert web.messages(answers) == [""] * 3
    assert web.serving == [R2] * 3
    for host in web.hosts.values():
        held = hold_in_effect(host.layout)
        assert held is not None
        assert (held["release"], held["revision"]) == (NEW, R3)
    line = answers["web1"]["lines"][0]
    assert line.startswith(f"shop: release {OLD} (revision {R2}) is live and has replaced {NEW}. {NEW} is held: ")
    # No host commits before all have confirmed.
    stages = [stage for _host, stage in web.calls]
    assert stages == ["webapp_info"] * 3 + ["webapp_activate"] * 3 + ["confirm"] * 3 + ["commit"] * 3
    # Once more, all go one step further.
    web.run(app="shop")
    assert web.serving == [R1] * 3


def test_a_host_that_missed_a_deployment_stops_it_before_anything_switches(web: Fleet) -> None:
    # The last host was away when the second revision was deployed.
    give(web.hosts["web3"], OLD, R2, "bad")
    answers = web.run(app="shop")
    first, *others = web.messages(answers)
    assert f"{R2} on web1, web2; {R1} on web3. web3 lacks {R2}. Nothing was switched on any host." in first
    assert f"use -e app=shop -e revision={R1}." in first
    assert all(text.startswith("Nothing was switched on any host. The message of web1 says why") for text in others)
    assert {stage for _host, stage in web.calls} == {"webapp_info"}
    assert web.serving == [R3] * 3
    assert hold_in_effect(web.hosts["web1"].layout) is None

    web.lost.clear()
    answers = web.run(app="shop", revision=R1[:4])
    assert web.messages(answers) == [""] * 3
    assert web.serving == [R1] * 3


@pytest.mark.parametrize("behaviour", ["dies", "500"])
def test_a_host_that_fails_takes_all_others_back(web: Fleet, behaviour: str) -> None:
    web.hosts["web2"].manager.behaviour[OLD] = behaviour
    answers = web.run(app="shop")
    first, second, third = web.messages(answers)
    assert f"webapps 'shop': it failed on web2, so this host is back on {NEW}." in first
    assert f"webapps 'shop': it failed on web2, so this host is back on {NEW}." in third
    assert OLD in second
    assert web.serving == [R3] * 3
    assert [hold_in_effect(host.layout) for host in web.hosts.values()] == [None] * 3
    assert ("web1", "confirm") not in web.calls, "the failure is known already"
    # A release that was good once stays so.
    web.hosts["web2"].manager.behaviour[OLD] = "ok"
    web.lost.clear()
    web.run(app="shop")
    assert web.serving == [R2] * 3


def test_a_host_that_is_lost_stops_it_or_takes_the_others_back(web: Fleet) -> None:
    web.losing = {"choose": "web2"}
    first = web.messages(web.run(app="shop"))[0]
    assert "Hosts of this run are missing: web2 (could not be reached). Nothing was switched on any host." in first
    assert "--limit 'all:!web2'" in first
    assert web.serving == [R3] * 3
    web.rollout = {"unreachable": "skip"}
    web.lost.clear()
    web.run(app="shop")
    assert web.serving == [R2, R3, R2], "the next rollback takes the other host to the same revision"
    web.losing = {}
    web.lost.clear()
    web.run(app="shop")
    assert web.serving == [R2] * 3
    web.lost.clear()
    web.losing = {"confirm": "web2"}
    texts = web.messages(web.run(app="shop"))
    assert "it failed on web2, so this host is back" in texts[0]
    assert has_lease(web.hosts["web2"].layout), "its guard goes back when the lease ends"
    assert [web.hosts[name].serving for name in ("web1", "web3")] == [OLD, OLD]


@pytest.mark.parametrize(
    ("stage", "answer"),
    [("commit", {"failed": True, "msg": "MODULE FAILURE"}), ("commit", {"changed": True, "apps": []})],
)
def test_an_end_that_the_host_does_not_report_is_a_failure(web: Fleet, stage: str, answer: dict[str, Any]) -> None:
    web.answering[stage] = answer
    answers = web.run(app="shop")
    assert [result.get("failed") for result in answers.values()] == [True] * 3
    assert all(f"webapps 'shop': the {stage} failed" in message for message in web.messages(answers))


def test_a_rollback_that_was_interrupted_is_completed_by_the_next_one(web: Fleet) -> None:
    one = Fleet.__new__(Fleet)
    one.__dict__ |= {**web.__dict__, "hosts": {"web1": web.hosts["web1"]}}
    web.monkeypatch.setattr(
        ActionBase, "_execute_module", lambda action, *given, **named: one.execute(action, *given, **named)
    )
    answers = one.run(app="shop")
    assert one.calls == [("web1", "webapp_activate")], "a single host is asked once"
    assert answers["web1"]["lines"][0].startswith(f"shop: release {OLD} is live and has replaced {NEW}. {NEW} is held")
    assert web.serving == [R2, R3, R3]
    web.monkeypatch.setattr(
        ActionBase, "_execute_module", lambda action, *given, **named: web.execute(action, *given, **named)
    )
    answers = web.run(app="shop")
    assert web.serving == [R2] * 3
    assert answers["web1"]["lines"] == [f"shop: release {OLD} stays, because its revision is live"]


def test_a_restart_is_one_for_all_hosts(web: Fleet) -> None:
    for host in web.hosts.values():
        # So that a copy of the live release fails on one host.
        host.manager.behaviour.setdefault(OLD, "ok")
    assert web.messages(web.run(switch="restart")) == [""] * 3
    assert web.serving == [R3] * 3
    copies = [host.layout.current_release() for host in web.hosts.values()]
    assert NEW not in copies
    web.hosts["web3"].front_status = 500
    texts = web.messages(web.run(app="shop", switch="restart"))
    assert "it failed on web3, so this host is back on" in texts[0]
    web.hosts["web3"].front_status = 0
    assert [host.layout.current_release() for host in web.hosts.values()] == copies


def test_hosts_without_the_application_take_no_part(web: Fleet) -> None:
    text = web.messages(web.run(app="blog"))[0]
    assert "'blog' is not an application on this host. Set -e app=NAME. Available applications: shop." in text
    web.lost.clear()
    assert "no application is given" in web.messages(web.run())[0]
    assert web.serving == [R3] * 3


def test_what_can_not_go_back_switches_in_batches_and_stops_at_the_first_failure(
    web: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(webapp_switch.display, "display", lines.append)
    web.apps = [{**SHOP, "switch": "stop_first"}]
    web.hosts["web2"].manager.behaviour[OLD] = "500"
    texts = web.messages(web.run(app="shop"))
    assert f"it failed on web2, but this host stays on {OLD}, because 'switch: stop_first'" in texts[0]
    assert "it failed on web2, so this host does not switch either" in texts[2]
    assert web.serving == [R2, R3, R3]
    assert [one for one in web.calls if one[1] == "webapp_activate"] == [
        ("web1", "webapp_activate"),
        ("web2", "webapp_activate"),
    ]
    assert ["each host switches for good" in line for line in lines] == [True]
    assert {"batch 1 of 3: web1"} <= {step["label"] for step in web.registered["web3"]["__batches"]["steps"]}

    web.hosts["web2"].manager.behaviour[OLD] = "ok"
    web.lost.clear()
    assert web.messages(web.run(app="shop")) == [""] * 3
    assert web.serving == [R2] * 3


def test_a_host_that_is_lost_before_its_batch_stops_the_later_ones(web: Fleet) -> None:
    web.apps = [{**SHOP, "switch": "stop_first"}]
    web.rollout = {"first": "1", "batch": "1"}
    web.losing = {"switch": "web1"}
    texts = web.messages(web.run(switch="restart"))
    assert ["it failed on web1, so this host does not switch either" in text for text in texts[1:]] == [True, True]
    assert not [one for one in web.calls if one[1] == "webapp_activate"]
    assert web.serving == [R3] * 3


def test_without_the_stage_that_lists_batches_all_hosts_switch_at_once(web: Fleet) -> None:
    del web.stages["batches"]
    web.apps = [{**SHOP, "switch": "stop_first"}]
    assert web.messages(web.run(app="shop")) == [""] * 3
    assert web.serving == [R2] * 3
