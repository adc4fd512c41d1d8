# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The status page: it shows all values of the JSON output, executes nothing, and contains no secret."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.logs import traffic as host_traffic
from ansible_collections.pyweb.stack.plugins.module_utils.status import charts, rows, timeline, values
from ansible_collections.pyweb.stack.plugins.module_utils.status.drift import with_drift
from ansible_collections.pyweb.stack.plugins.module_utils.status.hosts import Answers
from ansible_collections.pyweb.stack.plugins.module_utils.status.page import embedded, page
from ansible_collections.pyweb.stack.plugins.module_utils.status.traffic import Slice, Traffic
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import status_row
from ansible_collections.pyweb.stack.plugins.plugin_utils.status_page import writing
from status_fleet import HOSTILE, HOURS, NOW, Page, fleet, history, hostile_fleet, stamp
from test_doctor import view


def page_of(answers: list[Answers]) -> Page:
    return Page(page(answers, NOW, HOURS))


def json_of(answers: list[Answers]) -> list[dict[str, Any]]:
    """The output of -e format=json."""
    return with_drift([app["status"] for host in answers for app in host.apps])


# It shows what the JSON output has


def test_the_embedded_data_are_those_of_the_json_output() -> None:
    answers = fleet(3, 4, troubles=True)
    assert page_of(answers).data["status"] == json.loads(json.dumps(json_of(answers)))


# The state of a lease is shown by the sentence about it, which differs for each of them.
IN_WORDS = frozenset({"state", "overdue", "guarded"})


def shown_as(key: str, value: Any) -> list[str]:
    """Texts of which each has to stand in the element of a value."""
    if value in (None, "", [], {}):
        return []
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if key == "memory":
        return [values.size(value)]
    if key == "since":
        return [value[:16].replace("T", " ")]
    if key == "without_service":
        return [values.seconds(value)]
    if key == "drift":
        return [value["text"]]
    if isinstance(value, list):
        return [str(item[name]) for item in value for name in item if name in ("name", "service", "state")]
    if isinstance(value, dict):
        moments = {
            one: str(item).replace("T", " ").rstrip("Z") for one, item in value.items() if one in ("time", "since")
        }
        return [str(item) for one, item in {**value, **moments}.items() if one not in IN_WORDS]
    return [str(value)]


@pytest.mark.parametrize("number", range(3))
def test_every_value_of_the_json_output_is_visible(number: int) -> None:
    answers = fleet(3, 4, troubles=True)
    extra = {
        0: {
            "lease": {"run": "r-1", "by": "anna", "release": "20261130T1", "before": "b", "until": "2026", "state": "s"}
        },
        1: {"balancers": {"lb1": "up, 3 open"}, "drained": {"since": "2026-11-30T13:40:00Z", "by": "ben"}},
        2: {"without_service": 2.5, "worker_deaths": 7, "key_of_tomorrow": "a new value", "source": "v1.4.2"},
    }[number]
    answers[0].apps[0]["status"].update(extra)
    found, wanted = page_of(answers), json_of(answers)
    for cells, details, row in zip(found.rows, found.data["details"], wanted, strict=True):
        # The script of the page shows the details of a row that is opened, as they are.
        shown = cells | {one["key"]: " ".join([cells.get(one["key"], ""), *one["lines"]]) for one in details}
        for key, value in row.items():
            for text in shown_as(key, value):
                assert text in shown[key], (key, value)


def test_no_value_of_the_status_has_the_label_of_an_unknown_one() -> None:
    """A new value gets a label that people read, or a cell."""
    known = {*rows.DETAILS, *rows.CELLS}
    assert {*status_row(view()), "drift"} == known


def test_the_charts_have_the_requests_of_all_hosts() -> None:
    answers = fleet(2, 2)
    chart = page_of(answers).data["charts"][1]
    wanted = [
        sum(app["slices"][0]["requests"] for host in answers for app in host.traffic["apps"] if app["name"] == name)
        for name in ("api", "shop")
    ]
    assert [page_of(answers).data["charts"][place]["requests"][0] for place in (0, 1)] == wanted
    assert chart["rate"][0] == pytest.approx(wanted[1] / (HOURS * 60 / 72), abs=0.01)


def test_a_host_without_an_answer_is_on_the_page() -> None:
    answers = [
        *fleet(1, 1),
        Answers("web8", {"unreachable": True, "msg": "Failed to connect to the host via ssh: no route\nmore"}),
        Answers("web9", {"failed": True, "msg": "the inventory has errors"}),
        Answers("web10"),
    ]
    text = page_of(answers).text
    assert "web8: unreachable: Failed to connect to the host via ssh: no route" in text
    assert "web9: not inspected: the inventory has errors" in text
    assert "web10: not inspected: it was not inspected" in text
    assert "3 hosts did not answer" in text
    assert "more" not in re.sub(r"and \d+ more", "", text)


def test_hosts_that_did_not_answer_count_for_the_applications_that_they_should_have() -> None:
    gone = [Answers("web8", {"unreachable": True}, expected=("shop", "queue")), Answers("web9", {"failed": True})]
    text = page_of([*fleet(2, 1), *gone]).text
    assert "2 of 2 hosts well" in page_of(fleet(2, 1)).text
    assert "2 of 3 hosts well, 1 did not answer" in text
    # No host that answered has it.
    assert "0 of 1 host well, 1 did not answer" in text
    assert "instances well2 of 4" in text


def test_a_fleet_of_which_no_host_answers_has_a_page() -> None:
    text = page_of([Answers("web1", {"unreachable": True, "msg": ""})]).text
    assert "1 host did not answer" in text
    assert "No host has reported an application of the inventory." in text


def test_what_is_wrong_comes_first() -> None:
    text = page_of(fleet(3, 4, troubles=True)).text
    told = text[text.index("Needs attention") : text.index("Applications the last")]
    wanted = [
        "api on web1: BAD: status 502; its process is failed",
        "the disk of /srv/webapps is nearly full",
        "shop on web2: the job nightly: failed (status 2)",
        "accounts: hosts differ",
        "drained since",
    ]
    assert sorted(told.index(one) for one in wanted)[0] == told.index(wanted[0])
    assert all(one in told for one in wanted)


def test_a_problem_of_several_hosts_is_one_line() -> None:
    answers = fleet(4, 1)
    for host in answers:
        host.apps[0]["status"].update(healthy=False, health="BAD: status 500")
    assert page_of(answers).text.count("shop on web1, web2, web3, web4: BAD: status 500") == 1


# Nothing that a host says is more than text


@pytest.mark.attack("20", "An application or a host writes HTML and scripts into every field of the status page")
def test_hostile_texts_stay_texts() -> None:
    text = page(hostile_fleet(3, 13), NOW, HOURS)
    found = Page(text)
    assert len(found.scripts) == 2
    assert not {"img", "iframe", "object", "b", "i"} & found.tags
    assert not {name for name in found.attributes if name.startswith("on")}
    assert "style" not in found.attributes
    assert HOSTILE[0] in found.text
    assert not re.search("[\u202e\u2028\x00\x1b]", text)


def test_the_policy_permits_only_the_own_style_and_script() -> None:
    text = page(hostile_fleet(1, 13), NOW, HOURS)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    policy = html.unescape(policy)
    assert policy.startswith("default-src 'none'; ")
    for kind, tag in (("style", "style"), ("script", "script")):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy


def test_embedded_data_do_not_end_their_element() -> None:
    data = {"a": HOSTILE}
    text = embedded(data)
    assert json.loads(text) == data
    assert not re.search("[<>&\u2028\u2029]", text)


@pytest.mark.parametrize(
    "odd", [None, 7, "x", [], {"a": 1}, [{"a": [1]}], True, 1e400, pytest.param(10**400, id="huge"), -1]
)
def test_values_of_other_types_are_shown_as_they_are(odd: Any) -> None:
    """One host with a wrong answer does not hide the others."""
    answers = fleet(2, 2)
    row = answers[0].apps[0]["status"]
    row.update({key: odd for key in row if key not in ("host", "application", "in_inventory")})
    answers[0].status["host"].update({key: odd for key in answers[0].status["host"] if key != "name"})
    answers[0].releases["apps"][0].update(history=odd, releases=odd)
    answers[0].traffic["apps"][0]["slices"] = odd
    found = page_of(answers)
    assert "api" in found.text
    assert "Infinity" not in found.scripts[0]


def test_the_page_contains_nothing_but_the_status_of_applications() -> None:
    """The answers of hosts also have logs, environments and findings, which can contain secrets."""
    answers = fleet(2, 2, troubles=True)
    secret = "s3cret-of-a-test"
    for host in answers:
        for app in host.apps:
            app.update(findings={"log": secret, "env": {"KEY": secret}}, diagnosis={"cause": secret}, checks=[secret])
        host.status["host"]["nginx"]["complaint"] = secret
        host.status["invocation"] = {"module_args": secret}
        host.releases["apps"][0]["env"] = secret
    assert secret not in page(answers, NOW, HOURS)


# Charts


def window(slices: int = 4) -> charts.Window:
    return charts.Window(NOW - 240, NOW, slices)


def test_figures_are_those_of_all_hosts_that_could_be_counted() -> None:
    slices = [Slice(6, 1, {40: 6}), Slice(0, 0), Slice(2, 0, {80: 2}), Slice(0, 0)]
    one, two = Traffic("web1", tuple(slices)), Traffic("web2", tuple(slices))
    found = charts.series([one, two, Traffic("web3", problem="no log")], window())
    assert (found["requests"], found["errors"], found["rate"]) == ([12, 0, 4, 0], [2, 0, 0, 0], [12.0, 0.0, 4.0, 0.0])
    assert [value and round(value, 2) for value in found["p50"]] == [0.03, None, 1.07, None]
    assert charts.figures([one, two])["share"] == pytest.approx(2 / 16)


def test_a_slice_without_requests_interrupts_a_line() -> None:
    pieces = charts.points([1.0, 2.0, None, 2.0], 2.0, window())
    assert [len(piece) for piece in pieces] == [2, 1]
    assert charts.path(pieces) == "M40 28L120 1M280 1L281 1"


@pytest.mark.parametrize(("value", "top"), [(0.02, 0.02), (0.021, 0.03), (1, 1), (7, 8), (9, 10), (11, 15), (420, 500)])
def test_the_top_of_a_chart_is_a_round_number(value: float, top: float) -> None:
    assert charts.rounded_up(value) == pytest.approx(top)


def test_releases_are_marked_in_the_charts() -> None:
    text = page(fleet(2, 2), NOW, HOURS)
    assert len(re.findall(r'<path class="mark failed"', text)) == 3
    assert f"deployed {history('api', 1, '', 'x')[-1]['revision']}" in text


@pytest.mark.parametrize(("rate", "text"), [(0, "0"), (0.03, "< 0.1"), (2.26, "2.3"), (1234.5, "1,234")])
def test_a_rate_is_only_zero_without_requests(rate: float, text: str) -> None:
    assert values.rate(rate) == text


# The timeline


def apps_of(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "shop", "history": list(entries), "releases": []}]


def entry(ago: float, **changed: Any) -> dict[str, Any]:
    return {
        "time": stamp(ago),
        "action": "activate",
        "release": "r",
        "run": "1",
        "by": "anna",
        "result": "live",
        **changed,
    }


def test_a_deployment_of_several_hosts_is_one_entry() -> None:
    found = timeline.deployments([("web1", apps_of(entry(90, seconds=3.0))), ("web2", apps_of(entry(60, seconds=8.0)))])
    assert [(one.hosts, one.seconds) for one in found] == [(["web1", "web2"], 8.0)]


def test_the_same_step_again_is_another_entry() -> None:
    found = timeline.deployments([("web1", apps_of(entry(90), entry(60))), ("web2", apps_of(entry(9000)))])
    assert [one.hosts for one in found] == [["web1"], ["web1"], ["web2"]]


@pytest.mark.parametrize(
    ("changed", "words", "kind"),
    [
        ({}, "deployed", "live"),
        ({"action": "rollback"}, "rolled back to", "rollback"),
        ({"action": "restart"}, "restarted", "live"),
        ({"result": "failed"}, "deployment failed", "failed"),
        ({"result": "reverted"}, "deployment reverted", "failed"),
        ({"action": "build", "result": "failed"}, "build failed", "failed"),
        ({"action": "<b>", "result": "live"}, "<b>: live", "live"),
    ],
)
def test_an_entry_says_what_happened(changed: dict[str, Any], words: str, kind: str) -> None:
    (found,) = timeline.deployments([("web1", apps_of(entry(9, **changed)))])
    assert (found.words, found.kind) == (words, kind)


def test_a_failure_has_the_first_line_of_its_reason() -> None:
    (found,) = timeline.deployments([("web1", apps_of(entry(9, result="failed", reason="no module shop\nlog")))])
    assert found.as_dict()["reason"] == "no module shop"
    apps = [{"name": "shop", "history": [entry(9, result="failed")], "releases": [{"id": "r", "reason": "why\nlog"}]}]
    assert timeline.deployments([("web1", apps)])[0].reason == "why"


def test_only_the_newest_entries_are_shown() -> None:
    found = timeline.deployments([("web1", apps_of(*(entry(ago, run=str(ago)) for ago in range(1, 40))))])
    assert [one.run for one in timeline.newest(found, 3)] == ["1", "2", "3"]


# The file


@pytest.mark.parametrize(
    ("form", "to", "hours", "words"),
    [
        ("xml", "", "6", ["'xml'", "-e format=json"]),
        ("html", "", "6", ["to is not set", "-e to=status.html"]),
        ("json", "x.html", "6", ["format is 'json'", "-e format=html"]),
        ("html", "{}/none/x.html", "6", ["{}/none does not exist on this controller"]),
        ("html", "{}", "6", ["which is a folder", "-e to={}/status.html"]),
        ("html", "/dev/null", "6", ["'/dev/null', which is no regular file"]),
        ("html", "{}/x.html", "0", ["hours is '0'", "1 to 24"]),
        ("html", "{}/x.html", "25", ["hours is '25'"]),
        ("html", "{}/x.html", "two", ["hours is 'two'"]),
    ],
)
def test_a_mistake_is_reported(tmp_path: Path, form: str, to: str, hours: str, words: list[str]) -> None:
    found = writing.problem(form, to.format(tmp_path), hours)
    for word in words:
        assert word.format(tmp_path) in found


@pytest.mark.parametrize(("form", "to"), [("table", ""), ("json", ""), ("html", "{}/x.html")])
def test_right_variables_have_no_problem(tmp_path: Path, form: str, to: str) -> None:
    assert writing.problem(form, to.format(tmp_path), "6") == ""


def test_a_new_page_is_for_its_account_alone(tmp_path: Path) -> None:
    path = tmp_path / "status.html"
    assert writing.write(str(path), "é") == str(path)
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == ("é", 0o600)
    assert os.listdir(tmp_path) == ["status.html"]


def test_an_existing_page_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "status.html"
    path.write_text("old")
    path.chmod(0o640)
    before = path.stat().st_ino
    writing.write(str(path), "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)
    assert path.stat().st_ino != before, "it was not replaced in one step"


@pytest.mark.attack("20", "Another account puts a link where the page will be written, to overwrite its target")
def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "status.html"
    target.write_text("kept")
    path.symlink_to(target)
    writing.write(str(path), "new")
    assert (target.read_text(), path.read_text(), path.is_symlink()) == ("kept", "new", False)


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(writing.PageError, match="can't be written to"):
        writing.write(str(tmp_path / "none" / "x.html"), "new")
    (tmp_path / "full").mkdir()
    with pytest.raises(writing.PageError, match="can't be written to"):
        writing.write(str(tmp_path / "full"), "new")
    assert os.listdir(tmp_path) == ["full"]


# The slices of the window


def test_the_number_of_slices_can_be_chosen() -> None:
    window = host_traffic.Window(0, 3600, 6)
    assert [window.slice_of(moment) for moment in (0, 599, 600, 3599, 3600)] == [0, 0, 1, 5, None]
    assert host_traffic.Window(0, 3600).slices == 12
