# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Several hosts are one transaction for each application: what fails to build on one of them switches on none."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.action import apply
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import stages
from test_isolation import Unlucky, apps, switched
from test_plan import Failed, Run, shop

__all__ = ["apps", "shop"]

OLD = "20261101T000000Z-11111111"
SKIP = {"webapp_rollout": {"unreachable": "skip"}}


class Web:
    """Runs of the site playbook on three hosts, and what they print."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, apps: list[dict[str, Any]], **hosts: Unlucky) -> None:
        self.run = Run({name: hosts.get(name) or Unlucky() for name in ("web1", "web2", "web3")}, monkeypatch)
        self.run.report = "later"
        self.apps = apps
        self.lines: list[str] = []
        self.warnings: list[str] = []
        monkeypatch.setattr(apply.display, "display", lambda text, **_options: self.lines.append(text))
        monkeypatch.setattr(apply.display, "warning", self.warnings.append)

    def whole(self, lost: dict[str, tuple[str, str]] | None = None, batches: Any = None, **more: Any) -> dict[str, str]:
        """Run all stages; the messages of failures. ``lost`` says how hosts are lost, and in which stage."""
        found: dict[str, str] = {}
        for batch in batches or [list(self.run.hosts)]:
            self.run.batch = batch
            for stage, step in self.run.stages():
                for host in [one for one in batch if one not in self.run.lost]:
                    how, when = (lost or {}).get(host, ("", ""))
                    if when == stage:
                        self.run.registered[host][stages.REGISTERED_NAMES[stage]] = {how: True, "msg": "Oh no"}
                        self.run.lost.add(host)
                        continue
                    try:
                        self.run(self.apps, stage=stage, host=host, more=more, step=step)
                    except Failed as error:
                        found[host] = str(error)
                        if stage != "report":
                            self.run.lost.add(host)
        return found

    @property
    def switched(self) -> dict[str, list[str]]:
        return {name: switched(host) for name, host in self.run.hosts.items()}

    @property
    def changed(self) -> list[str]:
        return [name for name, host in self.run.hosts.items() if set(host.trips) - {"preflight"}]


def test_an_application_switches_on_all_hosts_or_on_none(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    web = Web(monkeypatch, apps, web2=Unlucky(build="bad"))
    messages = web.whole()
    assert web.switched == {name: ["good"] for name in web.run.hosts}
    assert sorted(messages) == ["web1", "web2", "web3"]
    done = web.lines[1].split()
    assert done[:6] == ["good", "3", "hosts", "none", "→", "20261122T000000Z-22222222"]
    assert done[7] == "http://good.example.com/"
    assert [line.split()[:5] for line in web.lines[2:5]] == [
        ["application", "host", "revision", "result", "seconds"],
        ["bad", "web1", "none", "not", "switched"],
        ["bad", "web2", "none", "failed", "no"],
    ]
    assert "its build failed on web2, so this host does not switch to the new release either" in web.lines[3]
    assert len(web.lines) == 6


def test_release_commands_of_an_application_that_a_host_cannot_build_do_not_run(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = [{**app, "commands": {"release": ["flask db upgrade"]}} for app in apps]
    web = Web(monkeypatch, apps, web3=Unlucky(build="bad"))
    web.whole()
    assert switched(web.run.hosts["web1"], "commands") == ["good"]


@pytest.mark.parametrize("later", ["good", "bad"])
def test_release_commands_of_a_host_that_an_earlier_batch_has_lost_are_not_repeated(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    """Ansible continues without a host that has failed, if others of its batch have not."""
    web = Web(
        monkeypatch, [{**apps[0], "commands": {"release": ["flask db upgrade"]}}, apps[1]], web1=Unlucky(later=later)
    )
    web.run.batch = ["web1"]
    found = web.whole(batches=[["web1"]])
    assert "webapps" in found["web1"]
    web.run.lost.add("web1")
    found = web.whole(batches=[["web2", "web3"]])
    assert switched(web.run.hosts["web2"], "commands") == []
    assert web.switched["web3"] == (["bad"] if later == "good" else ["good", "bad"])
    assert ("its release commands failed on web1" in found.get("web3", "")) is (later == "good")


def test_a_live_release_that_has_stopped_starts_again_whatever_fails_elsewhere(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Unlucky):
        def apply(self, arguments: dict[str, Any]) -> dict[str, Any]:
            answer = super().apply(arguments)
            answer["parts"]["webapp"]["apps"][1] |= {"candidate": "", "current": OLD, "action": "none"}
            return answer

    web = Web(monkeypatch, apps, web1=Stopped(), web2=Unlucky(build="bad"))
    web.whole()
    assert web.switched == {"web1": ["good", "bad"], "web2": ["good"], "web3": ["good"]}


@pytest.mark.parametrize("how", ["failed", "unreachable"])
def test_a_host_that_is_lost_while_it_builds_has_built_nothing(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    web = Web(monkeypatch, apps)
    messages = web.whole({"web2": (how, "deploy")})
    assert web.switched == {"web1": [], "web2": [], "web3": []}
    assert "webapps 'good': its build failed on web2" in messages["web1"]
    assert any(line.split() == ["good", "web2", "unknown", how, "Oh", "no"] for line in web.lines)


@pytest.mark.parametrize(("how", "words"), [("unreachable", "web2 (could not be reached)"), ("failed", "web2 (failed")])
def test_nothing_is_built_if_a_host_is_missing(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, how: str, words: str
) -> None:
    web = Web(monkeypatch, apps)
    messages = web.whole({"web2": (how, "look")})
    assert web.changed == []
    assert sorted(messages) == ["web1", "web3"]
    assert words in messages["web1"]
    assert "Nothing was built on any host." in messages["web1"]
    assert "--limit 'all:!web2'" in messages["web1"]


@pytest.mark.parametrize("stage", ["look", "deploy"])
def test_unreachable_hosts_are_skipped_if_the_inventory_says_so(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    web = Web(monkeypatch, apps)
    assert web.whole({"web2": ("unreachable", stage)}, **SKIP) == {}
    assert web.switched == {"web1": ["good", "bad"], "web2": [], "web3": ["good", "bad"]}
    if stage == "look":
        assert len(web.warnings) == 1
        assert "web2 can't be reached" in web.warnings[0]


def test_a_host_whose_inventory_is_wrong_is_not_skipped(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    web = Web(monkeypatch, apps)
    assert sorted(web.whole({"web2": ("failed", "look")}, **SKIP)) == ["web1", "web3"]


def test_a_host_that_an_earlier_play_has_lost_is_missing(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    web = Web(monkeypatch, apps)
    web.run.lost.add("web3")
    assert "web3 (failed or could not be reached before this stage, or left the play)" in web.whole()["web1"]


def test_the_message_about_a_missing_host_names_what_earlier_batches_have_deployed(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    web = Web(monkeypatch, apps)
    messages = web.whole({"web2": ("unreachable", "look")}, batches=[["web1"], ["web2", "web3"]])
    assert "Only earlier batches were deployed: web1." in messages["web3"]
    assert "Nothing was built" not in messages["web3"]


def test_a_host_that_is_lost_while_it_switches_is_in_the_table(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    web = Web(monkeypatch, apps, web3=Unlucky(build="bad"))
    web.whole({"web2": ("unreachable", "switch")})
    rows = [line.split() for line in web.lines]
    assert ["good", "web2", "unknown", "unreachable", "Oh", "no"] in rows
    assert ["good", "web1"] in [row[:2] for row in rows]


def test_later_batches_do_not_switch_to_what_could_not_be_built(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    web = Web(monkeypatch, apps, web1=Unlucky(build="bad"))
    messages = web.whole(batches=[["web1"], ["web2"], ["web3"]])
    assert web.switched["web2"] == web.switched["web3"] == ["good"]
    assert "its build failed on web1" in messages["web3"]
    assert "each batch is a transaction of its own" in web.warnings[0]


def test_a_run_without_failures_prints_a_line_for_each_application(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    web = Web(monkeypatch, apps)
    assert web.whole() == {}
    assert [line.split()[:6] for line in web.lines] == [
        ["application", "host", "revision", "seconds", "address"],
        *([name, "3", "hosts", "none", "→", "20261122T000000Z-22222222"] for name in ("good", "bad")),
    ]
    web.lines.clear()
    assert web.whole() == {}
    assert (web.lines, web.warnings) == ([], [])
