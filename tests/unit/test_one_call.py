# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Switching to new releases in the call that builds them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.plan.apply import Application
from ansible_collections.pyweb.stack.plugins.module_utils.plan.deploy import Deployment, activate_at_once
from ansible_collections.pyweb.stack.plugins.module_utils.plan.releases import Releases
from ansible_collections.pyweb.stack.plugins.module_utils.switching import activation

LIVE, OTHER = "20261121T000000Z-11111111", "20261122T000000Z-22222222"


def refuse(argv: list[str]) -> Any:
    raise AssertionError(f"ran {argv}")


DEPLOYMENT = Deployment(root="/nowhere", uv="", nginx_group="", owner="alice@desk", run=refuse)


def result(name: str, activate: bool, candidate: str = "") -> dict[str, Any]:
    return {"name": name, "activate": activate, "candidate": candidate, "current": LIVE}


@pytest.fixture
def activated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The activated applications; the one named ``broken`` fails."""
    seen: list[Any] = []

    def activate(specs: list[dict[str, Any]], root: str, run: Any, owner: str) -> tuple[list[Any], list[str]]:
        seen.extend((spec["name"], spec["candidate"], root, owner) for spec in specs)
        good = [{"name": spec["name"]} for spec in specs if spec["name"] != "broken"]
        return good, [f"webapps '{spec['name']}': no" for spec in specs if spec["name"] == "broken"]

    monkeypatch.setattr(activation, "activate", activate)
    return seen


def test_what_has_a_new_release_takes_over_where_it_is_known_how(activated: list[Any]) -> None:
    results = [result("shop", True, OTHER), result("idle", False), result("unknown", True, OTHER)]
    activations = [{"name": "idle", "candidate": ""}, {"name": "shop", "candidate": ""}]
    answer, problems = activate_at_once(DEPLOYMENT, activations, results)
    assert problems == []
    assert activated == [("shop", OTHER, "/nowhere", "alice@desk")]
    assert answer == {"activated": [{"name": "shop"}], "changed": True}
    assert [one["activate"] for one in results] == [False, False, True]


@pytest.mark.parametrize("activations", [[], [{"name": "idle", "candidate": ""}]])
def test_nothing_takes_over_where_nobody_asked_or_nothing_is_new(activated: list[Any], activations: list[Any]) -> None:
    results = [result("shop", True, OTHER), result("idle", False)]
    assert activate_at_once(DEPLOYMENT, activations, results) == ({}, [])
    assert (activated, results[0]["activate"]) == ([], True)


def test_a_release_that_is_refused_holds_up_no_other_and_leaves_no_stamp(activated: list[Any]) -> None:
    inputs = {"apps": [], "root": "/nowhere", "uv": "", "nginx_group": "", "owner": "alice@desk"}
    releases = Releases({**inputs, "activations": [{"name": "shop"}, {"name": "broken"}]}, refuse, check_mode=False)
    results = [result("shop", True, OTHER), result("broken", True, OTHER)]
    releases.answer = {"apps": results, "changed": True, "diff": {"after": "a new one"}}
    answer = releases.switch()
    assert [one["activate"] for one in results] == [False, True]
    assert answer == {
        "failures": {"names": ["broken"], "problems": ["webapps 'broken': no"]},
        "changed": True,
        "activated": [{"name": "shop"}],
        # The state after a successful build.
        "apps": results,
        "diff": {"after": "a new one"},
    }
    assert releases.witnesses() is None
    assert releases.stamp() == {}


@pytest.mark.parametrize("activate", [True, False])
def test_a_check_predicts_a_switch_a_restart_and_a_removal(activated: list[Any], activate: bool) -> None:
    inputs = {"apps": [], "root": "/nowhere", "uv": "", "nginx_group": "", "owner": "alice@desk", "activations": []}
    releases = Releases(inputs, refuse, check_mode=True)
    releases.answer = {"apps": [result("shop", activate)], "changed": False, "diff": []}
    assert releases.switch()["changed"] is activate
    assert activated == []


class Parts:
    """The parts of a host, in the order in which they were applied."""

    def __init__(self, **answers: list[dict[str, Any]]) -> None:
        self.answers = answers
        self.applied: list[tuple[str, bool]] = []

    def application(self, monkeypatch: pytest.MonkeyPatch, check_mode: bool = False) -> Application:
        found = Application(refuse, check_mode)

        def nginx(inputs: dict[str, Any]) -> tuple[dict[str, Any], None]:
            self.applied.append(("nginx", bool(inputs.get("fetch"))))
            return dict(self.answers["nginx"].pop(0)), None

        monkeypatch.setattr(found, "nginx", nginx)
        return found


@pytest.mark.parametrize(
    ("answers", "applied"),
    [
        ([{"waiting": [], "due": []}], [False]),
        ([{"waiting": ["shop"], "due": []}, {"waiting": [], "due": []}], [False, False]),
        ([{"waiting": [], "retiring": ["shop"], "due": []}, {"waiting": [], "due": []}], [False, False]),
        ([{"waiting": [], "due": ["shop"]}, {"waiting": [], "due": []}], [False, True]),
        # The site of a certificate must be served before an authority asks for it.
        ([{"waiting": ["shop"], "due": []}, {"waiting": [], "due": ["shop"]}, {"due": []}], [False, False, True]),
    ],
)
def test_sites_that_waited_for_releases_come_before_certificates(
    monkeypatch: pytest.MonkeyPatch, answers: list[dict[str, Any]], applied: list[bool]
) -> None:
    parts = Parts(nginx=answers)
    application = parts.application(monkeypatch)
    application.apply([{"role": "nginx", "inputs": {}, "key": ""}])
    assert parts.applied == [("nginx", fetch) for fetch in applied]


def test_a_site_that_waits_is_not_asked_for_through_nginx() -> None:
    inputs = {"apps": [], "root": "/nowhere", "uv": "", "nginx_group": "", "owner": "alice@desk"}
    activations = [{"name": "shop", "front_port": 80}, {"name": "blog", "front_port": 80}]
    releases = Releases({**inputs, "activations": activations}, refuse, check_mode=False)
    releases.skip_front(["shop"])
    assert [one["front_port"] for one in releases.activations] == [None, 80]
