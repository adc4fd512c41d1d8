# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A rollout: hosts switch provisionally, batch by batch, and then keep the new release on all of them or on none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.pyweb.stack.plugins.action import apply
from ansible_collections.pyweb.stack.plugins.module_utils.switching import activation
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional import stages as ends
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import rolling_out, rollout, stages, transactions
from test_plan import STEP, Failed, Host, Run, activated, shop

__all__ = ["shop"]

OLD = "20261101T000000Z-11111111"


class Node(Host):
    """A host that fails or is lost in a stage. ``did`` holds the stages that its module webapp_activate has run."""

    def __init__(self, fails: str = "", lost: str = "", dies: str = "", **facts: Any) -> None:
        super().__init__(**facts)
        self.fails, self.lost, self.dies = fails, lost, dies
        self.did: list[tuple[str, list[str]]] = []
        self.given: list[dict[str, Any]] = []
        self.answers["pyweb.stack.webapp_activate"] = self.activate

    def activate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        stage, names = arguments.get("stage", "switch"), [app["name"] for app in arguments["apps"]]
        self.did.append((stage, names))
        self.given.append(arguments)
        if stage == self.lost:
            raise AnsibleConnectionFailure("the connection \x1b[31mended")
        if stage == self.dies:
            return {"failed": True, "msg": "MODULE FAILURE"}
        answer: dict[str, Any] = {"changed": True, "apps": activated(arguments)}
        if stage == self.fails:
            problems = [f"webapps '{names[0]}': it is unhealthy"]
            answer |= {"apps": answer["apps"][1:], "failures": {"names": names[:1], "problems": problems}}
        return answer

    @property
    def stages(self) -> list[str]:
        return [stage for stage, _names in self.did]


class Fleet:
    """Runs of the site playbook on four hosts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, apps: list[dict[str, Any]], **hosts: Node) -> None:
        self.run = Run({name: hosts.get(name) or Node() for name in ("web1", "web2", "web3", "web4")}, monkeypatch)
        self.run.report = "later"
        self.apps = dict.fromkeys(self.run.hosts, apps)
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.slept: list[float] = []
        self.begins: Callable[[str], None] = lambda _stage: None
        monkeypatch.setattr(apply.display, "display", lambda text, **_options: self.lines.append(text))
        monkeypatch.setattr(apply.display, "warning", self.warnings.append)
        monkeypatch.setattr(rolling_out.time, "sleep", self.slept.append)

    def whole(self, **more: Any) -> dict[str, str]:
        """Run all stages; the messages of failures."""
        found: dict[str, str] = {}
        for stage, step in self.run.stages():
            self.begins(stage)
            for host in [one for one in self.run.batch or self.run.hosts if one not in self.run.lost]:
                try:
                    result = self.run(self.apps[host], stage=stage, host=host, more=more, step=step)
                except Failed as error:
                    found[host] = str(error)
                    continue
                if result.get("unreachable"):
                    self.run.lost.add(host)
        return found

    @property
    def nodes(self) -> list[Any]:
        return list(self.run.hosts.values())

    @property
    def stages(self) -> list[list[str]]:
        return [node.stages for node in self.nodes]

    @property
    def rows(self) -> dict[str, list[str]]:
        """The lines of the table by host, cut into cells."""
        rows = [[cell for cell in line.split("  ") if cell] for line in self.lines]
        return {cells[1].strip(): [cell.strip() for cell in cells[2:]] for cells in rows if len(cells) > 2}


def give(rollout: dict[str, Any]) -> dict[str, Any]:
    return {"webapp_rollout": rollout}


# The work for many hosts


@pytest.mark.parametrize("stage", ["commands", "switch", "confirm", "finish"])
def test_the_work_for_a_host_does_not_grow_with_the_number_of_hosts(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """One task of a stage reads the results of all hosts. The others read their own, and that of the first host."""
    looks: list[tuple[str, str]] = []
    current: list[str] = []
    found = stages.StagesAction.stages_of

    def stages_of(action: Any, host: str) -> Any:
        if (current[-1:] == [stage]) and host not in action.found_stages:
            looks.append((action.host, host))
        return found(action, host)

    monkeypatch.setattr(stages.StagesAction, "stages_of", stages_of)
    fleet = Fleet(monkeypatch, [shop])
    fleet.begins = current.append
    assert fleet.whole(**give({"first": "4"})) == {}
    read = {host: {other for one, other in looks if one == host} for host in fleet.run.hosts}
    assert read.pop("web1") == {"web1", "web2", "web3", "web4"}
    assert read == {host: {host, "web1"} for host in read}


@pytest.mark.parametrize("how", ["raises", "failed", "unreachable"])
def test_a_task_that_fails_lets_the_hosts_after_it_look_for_themselves(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def stage_watch(_action: Any) -> dict[str, Any]:
        if how == "raises":
            raise AnsibleActionFail("no")
        return {"changed": False, how: True, "msg": "no"}

    forgotten: list[str] = []
    monkeypatch.setattr(rolling_out.RolloutAction, "stage_watch", stage_watch)
    monkeypatch.setattr(stages.Once, "forget", lambda once: forgotten.append(once.task))
    fleet = Fleet(monkeypatch, [shop])
    with contextlib.suppress(AnsibleActionFail, Failed):
        fleet.run([shop], stage="watch", host="web1")
    assert len(forgotten) == 1


# The batches


@pytest.mark.parametrize(
    ("count", "first", "batch", "sizes"),
    [
        (8, "1", "25%", [1, 2, 2, 2, 1]),
        (4, "1", "25%", [1, 1, 1, 1]),
        (2, "1", "25%", [1, 1]),
        (3, "1", "100%", [1, 2]),
        (3, "100%", "1", [3]),
        (10, "15%", "3", [1, 3, 3, 3]),
        (3, "7", "7", [3]),
        (0, "1", "25%", []),
    ],
)
def test_the_batches_hold_all_hosts_in_the_order_of_the_play(
    count: int, first: str, batch: str, sizes: list[int]
) -> None:
    hosts = [f"web{number}" for number in range(count)]
    found = rollout.batches(hosts, first, batch)
    assert [len(one) for one in found] == sizes
    assert [host for one in found for host in one] == hosts


def wants(*names: str) -> dict[str, Any]:
    return {"switch": [{"name": name, "candidate": "x", "health": {"timeout": 30}} for name in names]}


def test_only_hosts_with_a_release_that_several_have_are_in_batches() -> None:
    deployments = {"web1": {}, "web2": wants("shop"), "web3": wants("shop", "blog"), "web4": wants("wiki")}
    found = rollout.planned(deployments, ["blog"], "1", "1")
    assert found.batches == [["web2"], ["web3"]]
    assert found.shared == {"shop": ["web2", "web3"]}
    assert [found.batch_of(host) for host in deployments] == [0, 0, 1, 0]
    assert [step["stage"] for step in rollout.steps(found, deployments, 0, 0)] == [*["switch"] * 2, "confirm", "finish"]


def test_hosts_without_a_common_release_switch_at_once() -> None:
    deployments = {"web1": wants("shop"), "web2": wants("blog")}
    (step,) = rollout.steps(rollout.planned(deployments, [], "1", "1"), deployments, 60, 60)
    assert (step["stage"], step["batch"]) == ("switch", -1)
    assert rollout.steps(rollout.planned({"web1": {}}, [], "1", "1"), {"web1": {}}, 0, 0) == []


def test_leases_are_renewed_between_waits_however_long_a_pause_is() -> None:
    deployments = {f"web{number}": wants("shop") for number in range(4)}
    found = rollout.planned(deployments, [], "1", "2")
    steps = rollout.steps(found, deployments, 700, 60)
    assert [(step["stage"], step["seconds"]) for step in steps] == [
        ("switch", 0),
        *[("wait", 234)] * 3,
        ("wait", 60),
        ("watch", 0),
        ("switch", 0),
        *[("wait", 234)] * 3,
        ("switch", 0),
        ("confirm", 0),
        ("finish", 0),
    ]
    assert rollout.lease_seconds(found, deployments, 5, 0) == 120 + 100
    # Two hosts at a time need twice as long, and the lease outlasts one wait.
    assert rollout.lease_seconds(found, deployments, 2, 700) == 120 + 200 + 300
    assert rollout.is_due(1000.0 + 100, 220, now=1000.0)
    assert not rollout.is_due(1000.0 + 200, 220, now=1000.0)


def test_a_lease_outlasts_the_switch_of_many_applications_on_a_host() -> None:
    assert rollout.AT_A_TIME == activation.MOST_AT_A_TIME == ends.MOST_AT_A_TIME
    many = {"web1": wants(*(f"app{number}" for number in range(9))), "web2": wants("app0")}
    found = rollout.planned(many, [], "1", "1")
    # Two waves of 100 seconds each, and a third one of an application that stops first.
    assert rollout.lease_seconds(found, many, 5, 0) == 120 + 200
    many["web1"]["switch"].append({"name": "single", "stop_first": True})
    assert rollout.lease_seconds(found, many, 5, 0) == 120 + 300
    # A rollback or restart has no renewals.
    assert transactions.lease_seconds(4, 5, wants("shop")["switch"]) == 300
    assert transactions.lease_seconds(4, 2, many["web1"]["switch"]) == 120 + 600


# A rollout without a failure


def test_a_check_run_claims_no_switch(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(monkeypatch, [shop])
    fleet.run.check_mode = True
    assert fleet.whole() == {}
    assert not [line for line in fleet.lines if "→" in line]


def test_all_hosts_switch_provisionally_and_then_for_good(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(monkeypatch, [shop])
    assert fleet.whole() == {}
    assert fleet.stages == [["switch", "confirm", "commit"]] * 4
    switch, _confirm, commit = fleet.nodes[0].given
    assert switch["apps"][0]["provisional"] is True
    assert switch["lease"] == {"run": "1", "seconds": commit["lease"]["seconds"]}
    assert switch["lease"]["seconds"] >= 120
    assert not switch.get("stamp")
    assert commit["stamp"]["key"]
    head, done = (line.split() for line in fleet.lines)
    assert head == ["application", "host", "revision", "seconds", "address"]
    assert done[:6] == ["shop", "4", "hosts", "none", "→", "20261122T000000Z-22222222"]
    assert done[7] == "http://shop.example.com/"


def test_hosts_of_later_batches_make_no_call_before_their_turn(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(monkeypatch, [shop])
    seen = []
    for stage, step in fleet.run.stages():
        for host in fleet.run.hosts:
            fleet.run([shop], stage=stage, host=host, step=step)
        if stage == "switch":
            seen.append([len(node.did) for node in fleet.nodes])
    assert seen == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_an_application_of_one_host_switches_for_good_at_once(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    blog = {**shop, "name": "blog", "site": {"domains": ["blog.example.com"]}}
    fleet = Fleet(monkeypatch, [shop])
    fleet.apps["web2"] = [shop, blog]
    assert fleet.whole() == {}
    assert [app.get("provisional", False) for app in fleet.nodes[1].given[0]["apps"]] == [True, False]
    assert fleet.nodes[1].did[-1] == ("commit", ["shop"])
    assert fleet.nodes[1].given[-1]["stamp"]


def test_a_playbook_with_the_stage_switch_alone_switches_all_hosts_for_good(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(monkeypatch, [shop])
    for stage in ("look", "deploy", "build", "commands", "switch", "report"):
        for host in fleet.run.hosts:
            fleet.run([shop], stage=stage, host=host)
    assert fleet.stages == [["switch"]] * 4
    assert not fleet.nodes[0].given[0]["apps"][0].get("provisional")
    (warning,) = fleet.warnings
    assert "This playbook switches all hosts at once and for good (shop)." in warning


def test_a_pause_is_waited_once_for_all_hosts(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(monkeypatch, [shop])
    assert fleet.whole(**give({"batch": "100%", "pause": 30})) == {}
    assert fleet.slept == [30]


def test_leases_that_are_due_are_renewed(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(monkeypatch, [shop])
    clock = [time.time()]
    monkeypatch.setattr(rolling_out.time, "time", lambda: clock[0])

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(rolling_out.time, "sleep", sleep)
    assert fleet.whole(**give({"batch": "100%", "pause": 600})) == {}
    assert fleet.stages == [["switch", "renew", "renew", "confirm", "commit"], *[["switch", "confirm", "commit"]] * 3]


# Failures


def test_a_host_that_fails_at_its_switch_turns_all_hosts_back(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(monkeypatch, [shop], web3=Node(fails="switch"))
    messages = fleet.whole()
    assert fleet.stages == [["switch", "revert"], ["switch", "revert"], ["switch"], []]
    assert fleet.nodes[0].given[-1]["reason"] == "it failed on web3"
    assert f"webapps 'shop': it failed on web3, so this host went back to the release {OLD}." in messages["web1"]
    assert "it is unhealthy" in messages["web3"]
    assert "it failed on web3, so this host does not switch to the new release either" in messages["web4"]
    assert {host: cells[1] for host, cells in fleet.rows.items()} == {
        "host": "result",
        "web1": "went back",
        "web2": "went back",
        "web3": "failed",
        "web4": "not switched",
    }


def test_hosts_go_back_in_the_step_after_a_failure_and_nobody_waits(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(monkeypatch, [shop], web2=Node(fails="switch"))
    fleet.whole(**give({"pause": 30}))
    assert fleet.slept == [30], "the pause before the failure"
    assert fleet.stages == [["switch", "revert"], ["switch"], [], []]


def test_a_host_that_fails_its_probation_turns_all_hosts_back(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(monkeypatch, [shop], web1=Node(fails="confirm"))
    messages = fleet.whole()
    # The others have begun the stage confirm later, so they know.
    assert fleet.stages == [["switch", "confirm"], *[["switch", "revert"]] * 3]
    assert all(stages.count("commit") == 0 for stages in fleet.stages)
    assert "it failed on web1, so this host went back" in messages["web4"]


@pytest.mark.parametrize("stage", ["switch", "confirm"])
def test_a_host_that_is_lost_turns_the_others_back_and_itself_by_its_lease(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    fleet = Fleet(monkeypatch, [shop], web2=Node(lost=stage))
    messages = fleet.whole(**give({"unreachable": "skip"}))
    assert "web2 was lost, so this host went back" in messages["web1"]
    assert all("commit" not in stages for stages in fleet.stages)
    assert fleet.stages[0][-1] == "revert"
    revision, result, _seconds, reason = fleet.rows["web2"]
    assert (revision, result) == ("unknown", "unreachable")
    assert reason.startswith("if it serves the new release, it goes back at ")
    assert "\x1b" not in "".join(fleet.lines)


def test_a_host_that_is_lost_at_its_commit_changes_nothing_for_the_others(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(monkeypatch, [shop], web1=Node(lost="commit"))
    assert fleet.whole() == {}
    assert fleet.stages == [["switch", "confirm", "commit"]] * 4
    revision, result, _seconds, reason = fleet.rows["web1"]
    assert (revision, result) == ("unknown", "unreachable")
    assert reason.startswith("it keeps the new release if the commit reached it, otherwise it goes back at ")
    assert [fleet.rows[host][1] for host in ("web2", "web3", "web4")] == ["live"] * 3


def test_a_module_that_ends_with_an_error_is_a_failure_of_its_applications(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(monkeypatch, [shop], web2=Node(dies="switch"))
    messages = fleet.whole()
    assert fleet.stages == [["switch", "revert"], ["switch", "revert"], [], []]
    assert "webapps 'shop': the stage switch failed: MODULE FAILURE" in messages["web2"]


def test_the_other_applications_are_committed(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    blog = {**shop, "name": "blog", "site": {"domains": ["blog.example.com"]}}
    fleet = Fleet(monkeypatch, [shop, blog], web3=Node(fails="switch"))
    messages = fleet.whole()
    assert fleet.nodes[0].did == [
        ("switch", ["shop", "blog"]),
        ("revert", ["shop"]),
        ("confirm", ["blog"]),
        ("commit", ["blog"]),
    ]
    assert fleet.nodes[3].did == [("switch", ["blog"]), ("confirm", ["blog"]), ("commit", ["blog"])]
    assert not any(given.get("stamp") for node in fleet.nodes for given in node.given)
    assert "The other applications of this run are deployed: blog." in messages["web3"]


def test_a_host_that_does_not_answer_for_an_application_has_failed(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Node):
        def activate(self, arguments: dict[str, Any]) -> dict[str, Any]:
            return {**super().activate(arguments), "apps": []}

    fleet = Fleet(monkeypatch, [shop], web1=Silent())
    messages = fleet.whole()
    assert "the stage switch failed: the host did not report its result" in messages["web1"]
    assert fleet.stages[1:] == [[]] * 3


@pytest.mark.attack(
    "17", "A host answers its switch with applications that it was not given, and with text for terminals"
)
def test_the_answer_of_a_host_about_its_switch_is_untrusted(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Liar(Node):
        def activate(self, arguments: dict[str, Any]) -> dict[str, Any]:
            answer = super().activate(arguments)
            answer["apps"][0] |= {"release": "\x1b[2J" + "x" * 1000, "replaced": ["y"]}
            answer["apps"] += [{"name": "blog", "provisional": True}, {"name": ["shop"]}, "shop", None]
            answer["failures"] = {"names": ["blog"], "problems": "no"}
            return answer

    fleet = Fleet(monkeypatch, [shop], web1=Liar(), web2=Node(fails="switch"))
    messages = fleet.whole()
    assert sorted(messages) == ["web1", "web2", "web3", "web4"]
    assert fleet.stages[0] == ["switch", "revert"]
    state = fleet.run.registered["web1"]["__finish"]
    assert [app["name"] for app in state["apps"]] == ["shop"]
    assert len(max(messages["web1"].split(), key=len)) <= 100
    assert "\x1b" not in messages["web1"]


def test_what_a_return_does_not_undo_is_in_the_messages(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    beat = {"name": "beat", "command": "python beat.py", "exclusive": True}
    app = {**shop, "commands": {"release": ["flask db upgrade"]}, "processes": [beat]}
    messages = Fleet(monkeypatch, [app], web2=Node(fails="switch")).whole()
    assert "Its release commands have run, and are not undone." in messages["web1"]
    assert "Exclusive processes of the old release run again: beat." in messages["web1"]


def test_applications_that_stop_first_switch_for_good_in_batches(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(monkeypatch, [{**shop, "switch": "stop_first"}], web3=Node(fails="switch"))
    messages = fleet.whole()
    assert fleet.stages == [["switch"], ["switch"], ["switch"], []]
    assert not any(app.get("provisional") for node in fleet.nodes for given in node.given for app in given["apps"])
    assert "with 'switch: stop_first', each host switches for good" in fleet.lines[0]
    assert sorted(messages) == ["web3", "web4"]
    assert [warning for warning in fleet.warnings if "web1 stays on its new release" in warning]
    assert [fleet.rows[host][1] for host in ("web1", "web2", "web3", "web4")] == [
        "live",
        "live",
        "failed",
        "not switched",
    ]


def counted(errors: int, requests: int = 50) -> dict[str, Any]:
    """The answer of webapp_traffic: the same in each part of the window."""
    one = {"requests": requests, "errors": errors, "buckets": [[30, requests]]}
    return {"changed": False, "apps": [{"name": "shop", "slices": [one] * 12, "unread": 0, "problems": []}]}


@pytest.mark.parametrize(("errors", "few", "back"), [(0, "stop", False), (10, "continue", True)])
def test_a_first_batch_with_more_errors_than_the_other_hosts_goes_back(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, errors: int, few: str, back: bool
) -> None:
    fleet = Fleet(monkeypatch, [shop])
    for node in fleet.nodes:
        node.answers["pyweb.stack.webapp_traffic"] = lambda _arguments: counted(0)
    fleet.nodes[0].answers["pyweb.stack.webapp_traffic"] = lambda _arguments: counted(errors)
    messages = fleet.whole(**give({"watch": 60, "bounds": {"few": few}}))
    assert fleet.slept == [60]
    assert [line for line in fleet.lines if "requests to the first batch, and to the other hosts" in line]
    if not back:
        assert messages == {}
        assert fleet.stages == [["switch", "confirm", "commit"]] * 4
        return
    assert fleet.stages == [["switch", "revert"], [], [], []]
    reason = "the new release was worse on web1 than the old one on the other hosts"
    assert f"webapps 'shop': {reason}, so this host went back" in messages["web1"]
    assert f"webapps 'shop': {reason}, so this host does not switch" in messages["web4"]
    assert [fleet.rows[host][1] for host in ("web1", "web2")] == ["went back", "not switched"]


@pytest.mark.parametrize("few", ["continue", "stop"])
def test_a_first_batch_that_cannot_be_compared_is_told(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, few: str
) -> None:
    fleet = Fleet(monkeypatch, [shop])
    for node in fleet.nodes:
        node.answers["pyweb.stack.webapp_traffic"] = lambda _arguments: {"failed": True, "msg": "no \x1blog"}
    messages = fleet.whole(**give({"watch": 60, "bounds": {"few": few}}))
    assert [line for line in fleet.lines if "The new release is not judged" in line]
    assert bool(messages) is (few == "stop")
    assert ("could not be compared with the old one" in messages.get("web1", "")) is (few == "stop")
    assert "\x1b" not in "".join(fleet.lines)


@pytest.mark.parametrize(("option", "most", "one"), [("pause", 10, 20), ("unreachable", "skip", "stop")])
def test_hosts_with_other_settings_build_nothing(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, option: str, most: Any, one: Any
) -> None:
    fleet = Fleet(monkeypatch, [shop])
    for host in fleet.run.hosts:
        fleet.run([shop], stage="look", host=host, more=give({option: one if host == "web2" else most}))
    message = rf"webapp_rollout.{option} is {most} for web1 and {one} for web2. .* Nothing was built"
    with pytest.raises(Failed, match=message):
        fleet.run([shop], host="web1", more=give({option: most}))


def test_the_results_of_an_earlier_deployment_of_the_play_do_not_count(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A play may deploy twice. A host that is lost in between must not count as confirmed."""
    fleet = Fleet(monkeypatch, [shop])
    assert fleet.whole() == {}
    fleet.apps = {host: [{**shop, "env": {"OTHER": "1"}}] for host in fleet.run.hosts}
    fleet.nodes[3].lost = "switch"
    messages = fleet.whole()
    assert sorted(messages) == ["web1", "web2", "web3"]
    assert [node.stages[3:] for node in fleet.nodes[:3]] == [["switch", "revert"]] * 3


def test_a_batch_of_ansible_is_a_rollout_of_its_own(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(monkeypatch, [shop], web4=Node(fails="switch"))
    fleet.run.batch = ["web1", "web2"]
    assert fleet.whole() == {}
    fleet.run.batch = ["web3", "web4"]
    fleet.whole()
    assert fleet.stages == [*[["switch", "confirm", "commit"]] * 2, ["switch", "revert"], ["switch"]]


def test_a_step_is_given_by_the_stage_commands_alone(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(monkeypatch, [shop])
    fleet.run.report = "now"
    with pytest.raises(AnsibleActionFail, match="of a rollout needs 'report: later'"):
        fleet.run([shop], stage="switch", step={**STEP, "batch": 0})
