# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""One application that fails holds up no other, on any host, and the run fails at its end with every problem."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.action import apply
from ansible_collections.pyweb.stack.plugins.modules import webapp_activate
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import failures as failing
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import look as looking
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import stages
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import parts as sending
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.reports import urls
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import FetchError, SourceError
from test_plan import WHOLE, Failed, Host, Run, activated, built, shop

__all__ = ["shop"]

BUILT = "20261122T000000Z-22222222"


def failed(name: str, current: str = "") -> dict[str, Any]:
    return {**built(name, False), "candidate": "", "action": "failed", "current": current}


class Unlucky(Host):
    """A host on which one application can't be built, and another fails in a later stage."""

    def __init__(self, build: str = "", later: str = "", **facts: Any) -> None:
        super().__init__(**facts)
        self.unlucky = build
        self.later = later
        self.answers["pyweb.stack.webapp_activate"] = self.activate

    def apply(self, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = super().apply(arguments)
        apps = next(part for part in arguments["parts"] if part["role"] == "webapp")["inputs"]["apps"]
        bad = {app["name"]: app.get("problem", "no wheel") for app in apps if app["name"] == self.unlucky}
        bad |= {app["name"]: app["problem"] for app in apps if "problem" in app}
        if bad:
            listed = answer["parts"]["webapp"]["apps"]
            answer["parts"]["webapp"]["apps"] = [failed(one["name"]) if one["name"] in bad else one for one in listed]
            problems = [f"webapps '{name}': {text}" for name, text in bad.items()]
            answer["parts"]["webapp"]["failures"] = {"names": list(bad), "problems": problems}
            answer["parts"]["webapp"]["stamp"] = {}
        return answer

    def activate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        names = [app["name"] for app in arguments["apps"]]
        answer: dict[str, Any] = {"changed": True, "apps": activated(arguments)}
        if self.later in names and arguments.get("stage", "switch") in ("commands", "switch"):
            answer["apps"] = [one for one in answer["apps"] if one["name"] != self.later]
            problems = [f"webapps '{self.later}': no in {arguments.get('stage', 'switch')}"]
            answer["failures"] = {"names": [self.later], "problems": problems}
        return answer


@pytest.fixture
def apps(shop: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**shop, "name": name, "site": {"domains": [f"{name}.example.com"]}} for name in ("good", "bad")]


def whole(run: Run, apps: list[dict[str, Any]]) -> dict[str, str]:
    """Run all stages on all hosts, as site.yml does; the message of each host that failed at the end."""
    run.report = "later"
    for stage, step in run.stages(WHOLE[:-1]):
        for host in run.hosts:
            run(apps, stage=stage, host=host, step=step)
    found = {}
    for host in run.hosts:
        try:
            run(apps, stage="report", host=host)
        except Failed as error:
            found[host] = str(error)
    return found


def switched(host: Host, stage: str = "switch") -> list[str]:
    calls = [given for name, given in host.calls if name == "pyweb.stack.webapp_activate"]
    return [app["name"] for given in calls if given.get("stage", "switch") == stage for app in given["apps"]]


def test_a_build_that_fails_lets_the_other_applications_switch(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run({"web1": Unlucky(build="bad"), "web2": Unlucky()}, monkeypatch)
    messages = whole(run, apps)
    assert switched(run.hosts["web1"]) == ["good"]
    assert switched(run.hosts["web2"]) == ["good"]
    assert list(messages) == ["web1", "web2"]
    assert "webapps 'bad': no wheel" in messages["web1"]
    assert (
        "webapps 'bad': its build failed on web1, so this host does not switch to the new release" in messages["web2"]
    )
    assert "still live. The other applications of this run are deployed: good." in messages["web1"]
    # No stage of the failed host leaves a stamp.
    assert all(not given.get("stamp") for name, given in run.hosts["web1"].calls if name.endswith("webapp_activate"))


def test_release_commands_that_fail_keep_only_their_application_from_every_host(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = [{**app, "commands": {"release": ["flask db upgrade"]}} for app in apps]
    run = Run({"web1": Unlucky(later="bad"), "web2": Unlucky()}, monkeypatch)
    messages = whole(run, apps)
    assert switched(run.hosts["web1"], "commands") == ["good", "bad"]
    assert {name: switched(host) for name, host in run.hosts.items()} == {"web1": ["good"], "web2": ["good"]}
    assert "webapps 'bad': no in commands" in messages["web1"]
    assert "webapps 'bad': its release commands failed on web1, so this host does not switch" in messages["web2"]
    assert not run.hosts["web2"].calls[-1][1].get("stamp")


def test_a_gate_that_fails_is_reported_at_the_end(apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"web1": Unlucky(later="bad"), "web2": Unlucky()}, monkeypatch)
    messages = whole(run, apps)
    assert list(messages) == ["web1", "web2"]
    assert "webapps 'bad': no in switch" in messages["web1"]
    assert "webapps 'bad': it failed on web1, so this host does not switch to the new release" in messages["web2"]


def test_a_stage_that_reports_now_fails_with_every_problem(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run({"web1": Unlucky(build="bad")}, monkeypatch)
    with pytest.raises(Failed, match="webapps 'bad': no wheel"):
        run(apps)


def test_the_last_stage_passes_without_failures(apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert whole(Run({"web1": Unlucky(), "web2": Unlucky()}, monkeypatch), apps) == {}


@pytest.mark.attack("15.7", "A host reports failures of applications that it did not run, so that no host switches")
def test_a_host_fails_only_the_applications_that_it_was_given(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"failures": {"names": ["good", "bad"], "problems": ["no"]}}
    assert failing.failures_of(answer, ["good"])["names"] == ["good"]
    assert failing.failures_of({"failures": ["good"]}, ["good"]) == {"names": [], "problems": []}
    (problem,) = failing.failures_of({"failures": {"names": ["good"], "problems": []}}, ["good"])["problems"]
    assert "did not report why" in problem


def test_a_task_registers_a_name_or_since_ansible_core_2_21_a_dictionary_of_names() -> None:
    for register in ("__look", {"__look": "expression"}, {"other": "expression", "__look": "expression"}):
        assert stages.registers(SimpleNamespace(register=register), "__look")
    assert not stages.registers(SimpleNamespace(register={}), "__look")
    assert not stages.registers(SimpleNamespace(), "__look")


@pytest.mark.parametrize("registered", ["result", None, {"result": "expression"}])
def test_a_stage_refuses_to_leave_its_failures_where_no_stage_finds_them(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, registered: str | dict[str, str] | None
) -> None:
    run = Run({"web1": Host()}, monkeypatch)
    run.report = "later"
    monkeypatch.setitem(stages.REGISTERED_NAMES, "deploy", "__deployment")
    original = apply.ActionModule.check_registration

    def renamed(action: apply.ActionModule, stage: str, is_step: bool) -> None:
        action._task.register = registered
        original(action, stage, is_step)

    monkeypatch.setattr(apply.ActionModule, "check_registration", renamed)
    with pytest.raises(AnsibleActionFail, match="must register its result as __deployment"):
        run(apps)
    assert run.hosts["web1"].trips == []


# --- sources ----------------------------------------------------------------------------------------------------------


def unreachable(monkeypatch: pytest.MonkeyPatch, error: SourceError) -> None:
    real = looking.pin

    def pin(source: dict[str, Any], bases: list[str], run: Any = None) -> dict[str, str]:
        if source.get("git"):
            raise error
        return real(source, bases)

    monkeypatch.setattr(looking, "pin", pin)


@pytest.fixture
def with_git(apps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [apps[0], {**apps[1], "source": {"git": "https://git.example.com/bad.git"}}]


def test_a_repository_that_cannot_be_reached_leaves_out_its_application_only(
    with_git: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable(monkeypatch, FetchError("asking for 'HEAD' failed."))
    run = Run({"web1": Unlucky(), "web2": Unlucky()}, monkeypatch)
    messages = whole(run, with_git)
    for host in run.hosts.values():
        sent = next(given for name, given in host.calls if name == "pyweb.stack.apply")
        apps = next(part for part in sent["parts"] if part["role"] == "webapp")["inputs"]["apps"]
        assert apps[1] == {"name": "bad", "state": "present", "problem": "asking for 'HEAD' failed."}
        assert switched(host) == ["good"]
    assert "webapps 'bad': asking for 'HEAD' failed." in messages["web1"]


def test_a_source_that_is_wrong_in_the_inventory_stops_the_run_before_any_change(
    with_git: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable(monkeypatch, SourceError("source.version 'main' is no branch."))
    run = Run({"web1": Unlucky()}, monkeypatch)
    with pytest.raises(Failed, match=r"(?s)source.version 'main' is no branch.*Nothing on the host has changed"):
        run(with_git)
    assert run.hosts["web1"].trips == []


def test_a_source_that_cannot_be_packed_leaves_out_its_application_only(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "INLINE", 0)
    host = Unlucky()
    asked: list[Any] = []

    def ask(arguments: dict[str, Any]) -> dict[str, Any]:
        apps = next(part for part in arguments["parts"] if part["role"] == "webapp")["inputs"]["apps"]
        asked.append(apps)
        if len(asked) == 1:
            answer = {"changed": True, "missing_sources": ["good", "bad"], "apps": []}
            return {"changed": True, "parts": {"webapp": answer}}
        return host.apply(arguments)

    def upload(_self: Any, name: str, _shipment: Any, folder: str) -> str:
        if name == "bad":
            raise FetchError("fetching 'main' failed.")
        return f"{folder}/{name}"

    host.answers["pyweb.stack.apply"] = ask
    monkeypatch.setattr(apply.ActionModule, "_make_tmp_path", lambda _self: "/remote")
    monkeypatch.setattr(apply.ActionModule, "_remove_tmp_path", lambda _self, _path: None)
    monkeypatch.setattr(apply.ActionModule, "upload", upload)
    run = Run({"web1": host}, monkeypatch)
    with pytest.raises(Failed, match="webapps 'bad': fetching 'main' failed"):
        run(apps)
    assert [app.get("problem", "") for app in asked[1]] == ["", "fetching 'main' failed."]


# --- packages that a build needs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "installed"), [(["git"], ["git"]), (["git", "sudo"], ["git"]), (["sudo"], [])])
def test_a_host_gets_git_when_a_build_needs_it_and_no_other_package(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, asked: list[str], installed: list[str]
) -> None:
    host = Unlucky()

    def ask(arguments: dict[str, Any]) -> dict[str, Any]:
        inputs = next(part for part in arguments["parts"] if part["role"] == "webapp")["inputs"]
        if "installed" in inputs or host.trips.count("apply") > 1:
            assert inputs.get("installed", []) == installed
            return host.apply(arguments)
        return {"changed": True, "parts": {"webapp": {"changed": True, "missing_packages": asked, "apps": []}}}

    host.answers["pyweb.stack.apply"] = ask
    run = Run({"web1": host}, monkeypatch)
    run(apps)
    assert host.trips == ["preflight", "apply", *(["apt"] if installed else []), "apply"]
    if installed:
        assert host.calls[2][1]["name"] == installed


# --- the table at the end ---------------------------------------------------------------------------------------------


def test_the_table_says_what_serves_an_application_that_failed(apps: list[dict[str, Any]]) -> None:
    builds = [built("good", False), failed("bad", current="20261101T000000Z-11111111")]
    lines = urls(apps, "192.0.2.1", builds, [{"failures": {"names": ["good"]}}, {"skipped": True}])
    assert lines == [
        "good FAILED: no release serves http://good.example.com/",
        "bad FAILED: release 20261101T000000Z-11111111 still serves http://bad.example.com/",
    ]


def test_one_host_compares_all_at_the_end(apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible computes all variables of a host for each look at it, so looks of each at each would take long."""
    run = Run({f"web{number}": Unlucky(build="bad" if number == 7 else "") for number in range(20)}, monkeypatch)
    lines: list[str] = []
    monkeypatch.setattr(apply.display, "display", lambda text, **_options: lines.append(text))
    whole(run, apps)
    assert lines.pop(0).split() == ["application", "host", "revision", "seconds", "address"]
    done = r"good +20 hosts +none → 20261122T000000Z-22222222 +\d+\.\d +http://good\.example\.com/"
    assert re.fullmatch(done, lines.pop(0))
    assert len(lines) == 21
    assert re.fullmatch(r"bad +web0 +none +not switched +its build failed on web7, so .*", lines[1])
    assert re.fullmatch(r"bad +web7 +none +failed +no wheel", lines[8])
    lines.clear()
    for host in run.hosts.values():
        host.unlucky = ""
    whole(run, apps)
    looks: list[str] = []
    stages_of = apply.ActionModule.stages_of
    monkeypatch.setattr(
        apply.ActionModule, "stages_of", lambda action, host: (looks.append(host), stages_of(action, host))[1]
    )
    for stage in ("switch", "report"):
        for host in run.hosts:
            run(apps, stage=stage, host=host)
    assert len(looks) < 4 * len(run.hosts)
    assert lines == []


def test_the_empty_path_of_a_folder_is_a_mistake_of_the_inventory(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Run({"web1": Unlucky()}, monkeypatch)
    with pytest.raises(Failed, match="Nothing on the host has changed"):
        run([apps[0], {**apps[1], "source": {"path": str(tmp_path / "nowhere")}}])


# --- what a stage says and sends after a failure ----------------------------------------------------------------------


def test_the_site_of_an_application_that_failed_stays_when_certificates_are_fetched(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Due(Unlucky):
        def apply(self, arguments: dict[str, Any]) -> dict[str, Any]:
            parts = [part["role"] for part in arguments["parts"]]
            if parts == ["nginx"]:
                return Host.apply(self, arguments)
            answer = super().apply(arguments)
            answer["parts"]["nginx"]["due"] = ["good"]
            listed = answer["parts"]["webapp"]["apps"]
            answer["parts"]["webapp"]["apps"] = [
                {**one, "current": BUILT} if one["action"] == "failed" else one for one in listed
            ]
            return answer

    apps = [{**app, "site": {**app["site"], "tls": {"mode": "acme"}}} for app in apps]
    run = Run({"web1": Due(build="bad"), "web2": Due()}, monkeypatch)
    whole(run, apps)
    calls = {
        name: [given for call, given in host.calls if call == "pyweb.stack.apply"] for name, host in run.hosts.items()
    }
    last = {name: found[-1]["parts"][0] for name, found in calls.items()}
    assert {name: (part["role"], part["inputs"]["fetch"], part["inputs"]["held"]) for name, part in last.items()} == {
        "web1": ("nginx", True, ["bad"]),
        "web2": ("nginx", True, []),
    }
    # The tree with the old site is not the one of the inventory, so no stamp may stand for it.
    assert (last["web1"]["key"], bool(last["web2"]["key"])) == ("", True)


def test_a_stage_that_only_builds_calls_nothing_deployed(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run({"web1": Unlucky(build="bad"), "web2": Unlucky()}, monkeypatch)
    with pytest.raises(Failed) as caught:
        run(apps)
    assert "deployed" not in str(caught.value)


def test_check_mode_calls_nothing_deployed(apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"web1": Unlucky(build="bad")}, monkeypatch)
    run.check_mode = True
    assert "deployed" not in whole(run, apps)["web1"]


def test_an_application_to_remove_is_not_called_deployed(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run({"web1": Unlucky(build="bad")}, monkeypatch)
    message = whole(run, [*apps, {"name": "gone", "state": "absent"}])["web1"]
    assert "are deployed: good." in message


def test_an_application_that_fails_hides_no_warning_about_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(Exception):
        """The module has ended."""

    class Module:
        def __init__(self, argument_spec: dict[str, Any], **_options: Any) -> None:
            self.check_mode = False
            given: dict[str, Any] = {"apps": [{"name": "gone"}, {"name": "bad"}], "lease": {"run": "", "seconds": 300}}
            given |= {"report": "later", "root": str(tmp_path)}
            self.params = {**{name: option.get("default") for name, option in argument_spec.items()}, **given}
            self.warnings: list[str] = []
            made.append(self)

        def warn(self, text: str) -> None:
            self.warnings.append(text)

        def exit_json(self, **answer: Any) -> None:
            raise Ended(answer)

    made: list[Module] = []
    monkeypatch.setattr(webapp_activate, "AnsibleModule", Module)
    results = [{"name": "gone", "found": ["a crontab"]}]
    monkeypatch.setattr(webapp_activate, "activate", lambda *_given: (results, ["webapps 'bad': no"]))
    with pytest.raises(Ended):
        webapp_activate.main()
    assert made[0].warnings == ["webapps 'gone': it is removed, and had left on the host: a crontab"]
