# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Status, doctor and verify look through the balancers in front of a host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.balancers import answer_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.checks import checks
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.diagnosis import diagnose
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import status_row, status_table
from test_doctor import HOST, view, visit

ADDRESS = "192.0.2.1"
CHECK = "balancers send it requests"


def seen(state: str = "up", **changes: Any) -> list[dict[str, Any]]:
    """A balancer that sees the application on this host in a state."""
    server = {"host": HOST["name"], "state": state, "sessions": 3, "check": "L4CON 0", **changes}
    answer = answer_of({"problem": "", "apps": [{"name": "shop", "servers": [server]}]})
    return [{"name": "lb1", "address": ADDRESS, **answer}]


def through(**options: Any) -> list[dict[str, Any]]:
    return [{**visit(**options), "address": ADDRESS, "resolved": [ADDRESS]}]


def first(balancers: list[dict[str, Any]], visits: list[dict[str, Any]]) -> dict[str, Any]:
    told = diagnose(view(balancers=balancers, visits=visits))
    return [*told["broken"], *told["warnings"], {"link": "", "seen": ""}][0]


def test_a_balancer_that_works_is_no_finding() -> None:
    assert first(seen(), through())["link"] == ""
    row = status_row(view(balancers=seen(), visits=through()))
    assert status_table([row])[-1] == f"shop on {HOST['name']}: lb1 up, 3 open"
    (verdict,) = [one for one in checks(view(balancers=seen(), visits=through())) if one["check"] == CHECK]
    assert verdict["state"] == "ok"


@pytest.mark.parametrize(
    ("balancers", "visits", "words"),
    [
        (
            [{"name": "lb1", "address": ADDRESS, **answer_of({"unreachable": True, "msg": "no route"})}],
            through(),
            "no route",
        ),
        (seen(), through(status=None), "does not answer the controller"),
        (seen(), through(status=502), "but the application works on this host"),
        (seen("draining"), through(), "it is drained"),
        (seen("down"), through(), "L4CON 0"),
        (seen(host="other"), through(), "does not have shop on this host"),
    ],
)
def test_the_balancer_is_the_first_broken_link(
    balancers: list[dict[str, Any]], visits: list[dict[str, Any]], words: str
) -> None:
    found = first(balancers, visits)
    assert found["link"] == "balancer"
    assert words in found["seen"]
    assert found["fix"]


@pytest.mark.parametrize(
    ("state", "is_failed"), [("up", False), ("draining", False), ("down", True), ("unknown", True)]
)
def test_verify_fails_if_a_balancer_has_taken_the_host_out(state: str, is_failed: bool) -> None:
    found = checks(view(balancers=seen(state), visits=through()))
    (verdict,) = [one for one in found if one["check"] == CHECK]
    assert (verdict["state"] == "failed") is is_failed


def test_without_balancers_there_is_neither_link_nor_check() -> None:
    assert "balancer" not in diagnose(view())["links"]
    assert CHECK not in [one["check"] for one in checks(view())]


@pytest.mark.attack("17.3", "A balancer answers with states of the wrong kind, or with escape sequences.")
@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"apps": "x"},
        {"apps": [1, {"name": {}, "servers": 7}]},
        {"apps": [{"name": "shop", "servers": ["x"]}]},
    ],
)
def test_an_answer_of_the_wrong_kind_is_an_empty_one(answer: Any) -> None:
    assert answer_of(answer)["apps"] == {}
    balancers = [{"name": "lb1", "address": ADDRESS, **answer_of(answer)}]
    diagnose(view(balancers=balancers, visits=through()))
    assert status_row(view(balancers=balancers, visits=through()))["balancers"]


def test_texts_of_a_balancer_are_printed_on_one_line() -> None:
    row = status_row(view(balancers=seen("up\n\x1b[31m", sessions="9\n"), visits=through()))
    assert "\n" not in row["balancers"]["lb1"]
    assert "\x1b" not in row["balancers"]["lb1"]
