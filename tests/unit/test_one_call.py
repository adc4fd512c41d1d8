# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Releases that take over in the call that builds them, and what the site playbook does for that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.action.webapp_release import secret_json
from ansible_collections.pyweb.stack.plugins.module_utils.release import activation
from ansible_collections.pyweb.stack.plugins.module_utils.release.deploy import Deployment, activate_at_once, failure

LIVE, OTHER = "20261121T000000Z-11111111", "20261122T000000Z-22222222"


def refuse(argv: list[str]) -> Any:
    raise AssertionError(f"ran {argv}")


DEPLOYMENT = Deployment(root="/nowhere", uv="", nginx_group="", owner="alice@desk", run=refuse)


def result(name: str, activate: bool, candidate: str = "") -> dict[str, Any]:
    return {"name": name, "activate": activate, "candidate": candidate, "current": LIVE}


@pytest.fixture
def activated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was activated; an application whose name is broken fails."""
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


def test_a_release_that_is_refused_fails_the_call_with_its_message(activated: list[Any]) -> None:
    results = [result("shop", True, OTHER), result("broken", True, OTHER)]
    answer = {"apps": results, "missing_sources": [], "changed": True, "diff": {"after": "a new one"}}
    added, problems = activate_at_once(DEPLOYMENT, [{"name": "shop"}, {"name": "broken"}], results)
    said = failure({**answer, **added}, problems)
    assert [one["activate"] for one in results] == [True, True]
    assert said == {
        "msg": "webapps 'broken': no",
        "changed": True,
        "activated": [{"name": "shop"}],
        # As a build that went well would have told.
        "apps": results,
        "diff": {"after": "a new one"},
    }


def test_an_argument_that_says_nothing_hides_nothing() -> None:
    """Ansible hides the text of a secret argument wherever it occurs, and many a log has ``{}``."""
    assert secret_json({}) == ""
    assert secret_json({"shop": 1}) == '{"shop": 1}'


def test_every_step_of_the_site_playbook_means_the_same_sites() -> None:
    """With the switch for maintenance, say, which no later step may lose."""
    playbooks = Path(__file__).resolve().parents[2] / "playbooks"
    text = "".join((playbooks / name).read_text() for name in ("site.yml", "tasks/definitions.yml"))
    meant = re.findall(r"(?m)^ +(?:__nginx_applications|systemd_services|supervisor_programs): (.*)$", text)
    assert sorted(set(meant)) == ['"{{ __site_programs }}"', '"{{ __site_services }}"', '"{{ __site_sites }}"']
    assert len(meant) == 7
