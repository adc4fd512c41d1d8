# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""One plan, one look, one apply: what each role adds to the plan, and how many trips a run makes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar, trust_as_template
from ansible_collections.pyweb.stack.plugins.action import apply
from ansible_collections.pyweb.stack.plugins.modules import apply as module
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import orphaned, stages
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import host as plan
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import parts as sending
from host_facts import GOOD

CHECKOUT = Path(__file__).resolve().parents[2]

FACTS: dict[str, Any] = {
    **GOOD,
    "packages": ["python3", "python3-venv", "ca-certificates", "nginx", "logrotate", "supervisor", "cron"],
    "uv": "0.13.8",
    "disks": [{"path": "/srv", "size": 10**11, "free": 10**11, "files": 10**6, "files_free": 10**6}],
}


class Host:
    """A host as an action sees it: it answers modules, and remembers what it was sent."""

    def __init__(self, **facts: Any) -> None:
        self.facts = {**FACTS, **facts}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"pyweb.stack.apply": self.apply}

    def run(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((name, json.loads(json.dumps(arguments))))
        if name == "pyweb.stack.preflight":
            return {"changed": False, "ansible_facts": {"pyweb": {**self.facts, "time": time.time()}}}
        return self.answers.get(name, lambda _arguments: {"changed": True, "apps": activated(arguments)})(arguments)

    def apply(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Everything was applied; the parts are verified from now on."""
        results: dict[str, Any] = {}
        for part in arguments["parts"]:
            self.facts["stamps"] = {**self.facts["stamps"], part["role"]: {part["key"]: {}}}
            results[part["role"]] = {"changed": True}
            if part["role"] == "webapp":
                switched = {spec["name"] for spec in part["inputs"]["activations"]}
                results["webapp"]["apps"] = [
                    built(app["name"], app["name"] not in switched) for app in part["inputs"]["apps"]
                ]
                results["webapp"]["stamp"] = {"key": part["key"], "seen": {}, "releases": {}}
        return {"changed": True, "parts": results}

    @property
    def trips(self) -> list[str]:
        return [name.rpartition(".")[2] for name, _arguments in self.calls]

    def whole(self) -> dict[str, Any]:
        """The inputs of the last call of apply, by role, with their secrets."""
        _name, arguments = self.calls[-1]
        found = module.with_secrets(arguments["parts"], json.loads(arguments["secrets"] or "{}"))
        return {part["role"]: part["inputs"] for part in found}

    def sent(self) -> dict[str, Any]:
        """The parts of the last call of apply, by role."""
        return {part["role"]: part for part in self.calls[-1][1]["parts"]}


def activated(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of webapp_activate, if everything works. The other modules have no applications."""
    stage = arguments.get("stage", "switch")
    return [
        {
            "name": app["name"],
            "release": app.get("candidate", ""),
            "replaced": "20261101T000000Z-11111111",
            "provisional": bool(app.get("provisional") if stage == "switch" else stage in ("confirm", "renew")),
        }
        for app in arguments.get("apps", [])
    ]


def built(name: str, activate: bool) -> dict[str, Any]:
    candidate = "20261122T000000Z-22222222"
    return {
        "name": name,
        "state": "present",
        "current": "",
        "candidate": candidate,
        "action": "build",
        "activate": activate,
    }


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, Any]:
    """A small application, in a folder of the controller."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.py").write_text("def app(environ, start_response): ...\n")
    return {
        "name": "shop",
        "source": {"path": str(tmp_path / "shop")},
        "wsgi": "shop:app",
        "env": {"SECRET": "hunter2"},
        "site": {"domains": ["shop.example.com"]},
    }


class Failed(AssertionError):
    """A stage failed; its message."""


# The stages of the site playbook. One name stands for all steps of a rollout.
WHOLE = ("look", "deploy", "build", "commands", "rollout", "report")
STEP = {"batch": -1, "seconds": 0}


class Run:
    """Runs of the action apply against hosts, as the site playbook makes them."""

    def __init__(self, hosts: dict[str, Host], monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts = hosts
        self.known: dict[str, dict[str, Any]] = {name: {} for name in hosts}
        self.batch: list[str] = []
        # Hosts that have failed or were not reached.
        self.lost: set[str] = set()
        self.registered: dict[str, dict[str, Any]] = {name: {} for name in hosts}
        self.report = "now"
        self.play = "1"
        self.strategy = "linear"
        # Ansible gives each task an ID, which is the same on all hosts. Here, a host that comes again begins a new one.
        self.task: tuple[str, str, list[str]] = ("", "", [])
        self.tasks = 0
        self.check_mode = False
        monkeypatch.setattr(
            ActionBase, "_execute_module", lambda action, *given, **named: self.execute(action, *given, **named)
        )

    def stages(self, names: Iterable[str] = WHOLE) -> Iterator[tuple[str, dict[str, Any]]]:
        """The stages of a run, each with its step of the rollout, which the stage commands lists."""
        for name in names:
            if name != "rollout":
                yield name, STEP
                continue
            hosts = [host for host in self.batch or self.hosts if host not in self.lost]
            found = [self.registered[host].get("__commands", {}).get("steps", []) for host in hosts]
            assert all(steps == found[0] for steps in found)
            yield from ((step["stage"], step) for step in (found[0] if found else []))

    def identity(self, stage: str, step: str, host: str) -> str:
        if self.task[:2] != (stage, step) or host in self.task[2]:
            self.task = (stage, step, [])
            self.tasks += 1
        self.task[2].append(host)
        return str(self.tasks)

    def execute(self, action: Any, module_name: str = "", module_args: Any = None, **_rest: Any) -> dict[str, Any]:
        return self.hosts[action.task_vars["inventory_hostname"]].run(module_name, module_args)

    def __call__(
        self,
        webapps: list[dict[str, Any]],
        roles: Any = plan.ROLES,
        stage: str = "deploy",
        host: str = "web1",
        more: dict[str, Any] | None = None,
        step: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        variables = {
            "webapps": webapps,
            "inventory_hostname": host,
            "ansible_play_batch": [name for name in self.batch or self.hosts if name not in self.lost],
            "ansible_play_hosts": [name for name in self.hosts if name not in self.lost],
            "ansible_play_hosts_all": list(self.hosts),
            "hostvars": {
                name: {"webapps": webapps, "ansible_facts": facts, **self.registered[name]}
                for name, facts in self.known.items()
            },
            "ansible_facts": self.known[host],
            **{f"__{role}_plan": {"role": role} for role in roles},
            **defaults(),
            **(more or {}),
        }
        loader = DataLoader()
        variable = stages.REGISTERED_NAMES.get(stage)
        task = SimpleNamespace(
            environment=None,
            args={
                "stage": stage,
                "report": self.report if variable else "now",
                **{key: (step or STEP)[key] for key in STEP},
            },
            check_mode=self.check_mode,
            async_val=0,
            action="pyweb.stack.apply",
            diff=False,
            register=variable,
            _uuid=self.identity(stage, str(step), host),
            get_play=lambda: SimpleNamespace(_uuid=self.play, strategy=self.strategy),
        )
        connection = SimpleNamespace(transport="local", _shell=SimpleNamespace(tmpdir=None))
        templar = Templar(loader=loader, variables=variables)
        action = apply.ActionModule(task, connection, SimpleNamespace(), loader, templar, None)
        result = action.run(task_vars=variables)
        if result.get("failed"):
            raise Failed(result["msg"])
        self.known[host] = {**self.known[host], **result.get("ansible_facts", {})}
        if variable:
            self.registered[host][variable] = result
        return result


def defaults() -> dict[str, Any]:
    """The defaults of all roles, as a playbook has them that imports the roles."""
    found: dict[str, Any] = {}
    for path in CHECKOUT.glob("roles/*/defaults/main.yml"):
        found |= yaml.safe_load(path.read_text())
    found.pop("webapps")
    return {name: trust_as_template(value) if isinstance(value, str) else value for name, value in found.items()}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run({"web1": Host()}, monkeypatch)


# --- trips ------------------------------------------------------------------------------------------------------------


def test_a_first_run_changes_the_host_in_one_call(run: Run, shop: dict[str, Any]) -> None:
    result = run([shop])
    assert run.hosts["web1"].trips == ["preflight", "apply"]
    assert result["changed"]
    assert [app["name"] for app in result["apps"]] == ["shop"]


def test_a_run_without_a_change_makes_one_trip(run: Run, shop: dict[str, Any]) -> None:
    run([shop])
    run.hosts["web1"].calls.clear()
    result = run([shop])
    assert run.hosts["web1"].trips == ["preflight"]
    assert not result["changed"]
    assert result["msg"] == apply.UNCHANGED


BLOG = {
    "name": "blog",
    "root": "/srv/webapps",
    "sites": [{"name": "blog", "names": [[80, "blog.example.com"]]}],
    "exclusive": ["blog.beat"],
}


def test_an_application_that_only_the_host_knows_is_named_at_the_end_of_each_run(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(orphaned.display, "warning", warned.append)
    run = Run({"web1": Host(orphans={"apps": [BLOG]})}, monkeypatch)
    run([shop])
    assert "web1: the application 'blog' is on the host" in warned.pop()
    run.report = "later"
    run.hosts["web1"].calls.clear()
    result = run([shop])
    assert (warned, result["changed"], run.hosts["web1"].trips) == ([], False, ["preflight"])
    assert run.hosts["web1"].calls[0][1]["known"] == ["shop"]
    run([shop], stage="report")
    assert "web1: the application 'blog' is on the host" in warned.pop()
    run([shop], more={"webapp_foreign_applications": ["blog"]})
    run([shop], stage="report")
    assert warned == []


@pytest.mark.parametrize(
    "change",
    [
        {"site": {"domains": ["blog.example.com"]}},
        {"processes": [{"name": "beat", "command": "x", "exclusive": True}]},
    ],
)
def test_a_conflict_with_an_application_that_only_the_host_knows_is_refused_before_any_change(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    run = Run({"web1": Host(orphans={"apps": [BLOG]})}, monkeypatch)
    with pytest.raises(Failed, match=r"found before anything was changed:\n- .*\{name: blog, state: absent\}"):
        run([{**shop, **change}])
    assert run.hosts["web1"].trips == ["preflight"]
    # The host does not report it as unknown if it is listed.
    run.hosts["web1"].facts["orphans"] = {}
    run([{**shop, **change}, {"name": "blog", "state": "absent"}])
    assert run.hosts["web1"].calls[-2][1]["known"] == ["shop", "blog"]
    assert run.hosts["web1"].sent()["nginx"]["inputs"]["removed"] == ["blog"]


def test_a_change_of_code_makes_two_trips_and_concerns_the_releases_only(run: Run, shop: dict[str, Any]) -> None:
    run([shop])
    run.hosts["web1"].calls.clear()
    Path(shop["source"]["path"], "shop.py").write_text("app = None\n")
    run([shop])
    assert run.hosts["web1"].trips == ["preflight", "apply"]
    assert list(run.hosts["web1"].sent()) == ["webapp"]


def test_missing_packages_take_one_trip_more(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"web1": Host(packages=[], uv="")}, monkeypatch)
    run([shop])
    host = run.hosts["web1"]
    assert host.trips == ["preflight", "apt", "apply"]
    assert "nginx" in host.calls[1][1]["name"]
    assert "supervisor" not in host.calls[1][1]["name"]
    assert host.sent()["python"]["inputs"]["version"] == "0.13.8"


@pytest.mark.parametrize("role", ["python", "nginx"])
def test_packages_of_the_inventory_are_added_to_those_that_a_role_needs(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    run = Run({"web1": Host(packages=[], uv="")}, monkeypatch)
    run([shop], more={f"{role}_packages": ["build-essential"]})
    names = run.hosts["web1"].calls[1][1]["name"]
    assert {"build-essential", "python3", "python3-venv", "ca-certificates", "nginx", "logrotate"} <= {*names}


def test_the_packages_that_a_role_needs_can_be_replaced(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"web1": Host(packages=[], uv="")}, monkeypatch)
    run([shop], more={"nginx_required_packages": [], "python_required_packages": ["python3"]})
    assert run.hosts["web1"].calls[1][1]["name"] == ["python3"]


def test_the_number_of_trips_does_not_grow_with_the_applications(run: Run, shop: dict[str, Any]) -> None:
    apps = [
        {**shop, "name": f"shop{number}", "site": {"domains": [f"shop{number}.example.com"]}} for number in range(20)
    ]
    run(apps)
    assert run.hosts["web1"].trips == ["preflight", "apply"]


def test_a_large_source_is_uploaded_only_when_the_host_asks_for_it(
    run: Run, shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(shop["source"]["path"], "video.bin").write_bytes(bytes(range(256)) * 4096)
    monkeypatch.setattr(sending, "INLINE", 100)
    host = run.hosts["web1"]

    def ask(arguments: dict[str, Any]) -> dict[str, Any]:
        (app,) = next(part for part in arguments["parts"] if part["role"] == "webapp")["inputs"]["apps"]
        if app["source"]["wanted"]:
            return {"changed": True, "parts": {"webapp": {"changed": True, "missing_sources": ["shop"], "apps": []}}}
        assert app["source"]["upload"] == "/remote/shop.tar.gz"
        return host.apply(arguments)

    host.answers["pyweb.stack.apply"] = ask
    monkeypatch.setattr(apply.ActionModule, "_make_tmp_path", lambda _self: "/remote")
    monkeypatch.setattr(apply.ActionModule, "_remove_tmp_path", lambda _self, _path: None)
    monkeypatch.setattr(apply.ActionModule, "upload", lambda _self, name, shipment, folder: f"{folder}/{name}.tar.gz")
    result = run([shop])
    assert host.trips == ["preflight", "apply", "apply"]
    assert [app["name"] for app in result["apps"]] == ["shop"]


# --- check mode -------------------------------------------------------------------------------------------------------


def test_check_mode_asks_one_call_for_everything_and_leaves_nothing_for_later_stages(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run({"web1": Host(), "web2": Host()}, monkeypatch)
    run.check_mode = True
    app = {**shop, "commands": {"release": ["flask db upgrade"]}}
    for host in run.hosts:
        assert run([app], host=host)["changed"]
        assert run.hosts[host].calls[-1][1]["finish"] is True
    for host in run.hosts:
        run([app], stage="switch", host=host)
        assert run.hosts[host].trips == ["preflight", "apply"]


def test_check_mode_uploads_no_source(run: Run, shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run.check_mode = True
    monkeypatch.setattr(sending, "INLINE", 0)
    asked = {"changed": True, "parts": {"webapp": {"changed": True, "missing_sources": ["shop"], "apps": []}}}
    run.hosts["web1"].answers["pyweb.stack.apply"] = lambda _arguments: asked
    run([shop])
    assert run.hosts["web1"].trips == ["preflight", "apply"]


# --- several hosts ----------------------------------------------------------------------------------------------------


def test_several_hosts_build_first_and_switch_later(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"web1": Host(), "web2": Host()}, monkeypatch)
    for host in run.hosts:
        run([shop], host=host)
        assert run.hosts[host].sent()["webapp"]["inputs"]["activations"] == []
    for host in run.hosts:
        run([shop], stage="switch", host=host)
        name, arguments = run.hosts[host].calls[-1]
        assert name == "pyweb.stack.webapp_activate"
        assert [(app["name"], app["candidate"]) for app in arguments["apps"]] == [("shop", "20261122T000000Z-22222222")]
        assert arguments["stamp"]["key"]


def test_release_commands_run_once_on_the_first_host(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"web1": Host(), "web2": Host()}, monkeypatch)
    app = {**shop, "commands": {"release": ["flask db upgrade"]}}
    for host in run.hosts:
        run([app], host=host)
    for host in run.hosts:
        run([app], stage="commands", host=host)
    assert run.hosts["web1"].calls[-1][1]["stage"] == "commands"
    assert run.hosts["web1"].calls[-1][1]["apps"][0]["release_commands"] == ["flask db upgrade"]
    assert run.hosts["web2"].trips == ["preflight", "apply"]


@pytest.mark.attack("13.low", "A host without the application reports a new release of it, so that no host migrates")
def test_a_host_does_not_lead_for_an_application_that_it_does_not_have(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Liar(Host):
        def apply(self, arguments: dict[str, Any]) -> dict[str, Any]:
            answer = super().apply(arguments)
            answer["parts"].setdefault("webapp", {})["apps"] = [built("shop", True), built("blog", True)]
            return answer

    run = Run({"web1": Liar(), "web2": Host()}, monkeypatch)
    app = {**shop, "commands": {"release": ["flask db upgrade"]}}
    webapps = {"web1": [{**shop, "name": "blog", "site": {"domains": ["blog.example.com"]}}], "web2": [app]}
    with pytest.raises(AnsibleActionFail, match="web1 answered with a build of the wrong kind"):
        run(webapps["web1"], stage="deploy", host="web1")
    for stage in ("deploy", "commands"):
        run(webapps["web2"], stage=stage, host="web2")
    assert run.hosts["web1"].trips == ["preflight", "apply"]
    assert run.hosts["web2"].calls[-1][1]["apps"][0]["release_commands"] == ["flask db upgrade"]


def test_one_host_with_release_commands_runs_them_before_the_switch(run: Run, shop: dict[str, Any]) -> None:
    app = {**shop, "commands": {"release": ["flask db upgrade"]}}
    for stage in ("deploy", "commands", "switch"):
        run([app], stage=stage)
    host = run.hosts["web1"]
    assert host.trips == ["preflight", "apply", "webapp_activate", "webapp_activate"]
    assert host.calls[1][1]["parts"][0]["inputs"]["activations"] == []
    assert [arguments.get("stage") for _name, arguments in host.calls[2:]] == ["commands", None]


def test_release_commands_run_once_whatever_the_batches(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"web1": Host(), "web2": Host()}, monkeypatch)
    app = {**shop, "commands": {"release": ["flask db upgrade"]}}
    for host in run.hosts:
        run.batch = [host]
        for stage in ("deploy", "commands", "switch"):
            run([app], stage=stage, host=host)
    stages = {name: [given.get("stage") for _name, given in host.calls[2:]] for name, host in run.hosts.items()}
    assert stages == {"web1": ["commands", None], "web2": [None]}


def test_the_role_webapp_alone_has_every_stage() -> None:
    folder = CHECKOUT / "roles" / "webapp" / "tasks"
    tasks = yaml.safe_load((folder / "main.yml").read_text())
    play, *_balancers = yaml.safe_load((CHECKOUT / "playbooks" / "site.yml").read_text())
    for listed in (tasks, play["tasks"]):
        applied = [task for task in listed if "pyweb.stack.apply" in task]
        # The playbook ends after it if no host has anything to do.
        applied = [task for task in applied if (task["pyweb.stack.apply"] or {}).get("stage") != "idle"]
        names = [(task["pyweb.stack.apply"] or {}).get("stage", "deploy") for task in applied]
        assert names == ["look", "deploy", "build", "commands", "report"]
        for stage, task in zip(names[:-1], applied[:-1], strict=True):
            assert task["register"] == stages.REGISTERED_NAMES[stage]
            assert task["pyweb.stack.apply"]["report"] == "later"
        assert applied[3]["any_errors_fatal"] is True
    for stage in stages.STAGES[5:-1]:
        (task,) = yaml.safe_load((folder / f"{stage}.yml").read_text())
        assert task["register"] == stages.REGISTERED_NAMES[stage]
        assert (task["pyweb.stack.apply"]["stage"], task["pyweb.stack.apply"]["report"]) == (stage, "later")


def test_certificates_that_are_due_are_obtained_after_the_switch(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run({"web1": Host(), "web2": Host()}, monkeypatch)
    host = run.hosts["web1"]

    def due(arguments: dict[str, Any]) -> dict[str, Any]:
        answer = host.apply(arguments)
        if "nginx" in answer["parts"] and not arguments["finish"]:
            answer["parts"]["nginx"]["due"] = ["shop"]
        return answer

    host.answers["pyweb.stack.apply"] = due
    app = {**shop, "site": {"domains": ["shop.example.com"], "tls": {"mode": "acme"}}}
    run([app])
    run([app], stage="switch")
    assert [trip for trip in host.trips if trip != "apt"] == ["preflight", "apply", "webapp_activate", "apply"]
    inputs = host.whole()["nginx"]
    assert inputs["fetch"] is True
    assert all("content" in file and "template" not in file for file in inputs["files"])


@pytest.mark.parametrize("stage", ["commands", "switch"])
def test_a_later_stage_with_nothing_to_do_makes_no_trip(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    run = Run({"web1": Host(), "web2": Host()}, monkeypatch)
    run([shop])
    run.known["web1"] = {}
    run([shop])
    run.hosts["web1"].calls.clear()
    result = run([shop], stage=stage)
    assert (run.hosts["web1"].calls, result["changed"]) == ([], False)


# --- the parts of the roles -------------------------------------------------------------------------------------------

ADDS = {
    "python": ({"python"}, set()),
    "gunicorn": (set(), {"gunicorn.conf.py", "bin/web"}),
    "webapp": ({"webapp"}, set()),
    "systemd": ({"systemd"}, set()),
    "nginx": ({"nginx"}, set()),
}


@pytest.mark.parametrize("role", ADDS)
def test_without_a_role_exactly_its_part_is_missing(
    shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    def parts(roles: list[str]) -> dict[str, Any]:
        run = Run({"web1": Host(uv="")}, monkeypatch)
        run([shop], roles)
        found = run.hosts["web1"].sent()
        return {name: part["inputs"] for name, part in found.items()}

    whole, rest = parts(list(plan.ROLES)), parts([one for one in plan.ROLES if one != role])
    missing, files = ADDS[role]
    assert set(whole) - set(rest) == missing
    for name in rest:
        before, after = json.dumps(whole[name]), json.dumps(rest[name])
        if name == "webapp" and role == "nginx":
            before = re.sub(r'"front_(tls_)?port": \d+', r'"front_\1port": null', before)
        elif name == "nginx" and role == "webapp":
            before = before.replace('"owners": ["webapps", "webapp_status_site"]', '"owners": []')
        elif name == "webapp":
            paths = {file["path"] for file in whole[name]["apps"][0]["server_files"]}
            kept = {file["path"] for file in rest[name]["apps"][0]["server_files"]}
            assert paths - kept == files
            continue
        assert before == after, name


def test_a_plan_without_roles_is_refused(run: Run, shop: dict[str, Any]) -> None:
    with pytest.raises(AnsibleActionFail, match="no role has a part in the plan"):
        run([shop], [])
    assert run.hosts["web1"].calls == []


def test_own_sites_that_resolve_to_none_are_no_owner(run: Run, shop: dict[str, Any]) -> None:
    run([shop], more={"nginx_sites": trust_as_template("{{ my_sites | default(none) }}")})
    assert run.hosts["web1"].sent()["nginx"]["inputs"]["owners"] == ["webapps", "webapp_status_site"]


def test_files_of_the_user_become_part_of_a_release(run: Run, shop: dict[str, Any]) -> None:
    file = {"path": "/srv/webapps/shop/releases/@RELEASE@/bin/web", "content": "#!/bin/sh\n", "mode": "0755"}
    run([shop], ["webapp"], more={"webapp_release_files": [file]})
    (app,) = run.hosts["web1"].sent()["webapp"]["inputs"]["apps"]
    assert [one["path"] for one in app["server_files"]] == ["bin/web"]


def test_switches_and_numbers_of_the_command_line_have_their_types(run: Run, shop: dict[str, Any]) -> None:
    """``-e NAME=false`` is a string, which Python takes for true."""
    names = ("webapp_upgrade_packages", "webapp_verify_front", "webapp_server_only_wheels", "nginx_acme_staging")
    run([shop], more={**dict.fromkeys(names, "false"), "webapp_keep_releases": "3"})
    sent = run.hosts["web1"].sent()
    webapp = sent["webapp"]["inputs"]
    assert webapp["upgrade"] is False
    assert [(one["keep"], one["front_port"]) for one in webapp["activations"]] == [(3, None)]
    lock = webapp["server_lock"]
    assert all(set(lock["sources"][python]) == set(packages) for python, packages in lock["versions"].items())
    assert sent["nginx"]["inputs"]["acme"]["directory"] == "https://acme-v02.api.letsencrypt.org/directory"


def test_a_broken_maintenance_switch_removes_no_site(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"web1": Host(maintenance={"shop": {"retry_after": "soon"}})}, monkeypatch)
    with pytest.raises(AssertionError, match="retry_after"):
        run([shop])
    assert run.hosts["web1"].trips == ["preflight"]


def test_the_site_playbook_imports_every_role_once() -> None:
    play, *_balancers = yaml.safe_load((CHECKOUT / "playbooks" / "site.yml").read_text())
    imports = [task["ansible.builtin.import_role"] for task in play["tasks"] if "ansible.builtin.import_role" in task]
    rollout = {"name": "pyweb.stack.webapp", "tasks_from": "rollout"}
    assert imports == [*({"name": f"pyweb.stack.{role}", "tasks_from": "plan"} for role in plan.ROLES), rollout]


@pytest.mark.parametrize("role", plan.ROLES)
def test_a_role_takes_part_by_its_own_task_file(role: str) -> None:
    (task,) = yaml.safe_load((CHECKOUT / "roles" / role / "tasks" / "plan.yml").read_text())
    assert (task["pyweb.stack.plan"], task["register"]) == ({"role": role}, f"__{role}_plan")


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.attack("17", "A reader of verbose output looks for secrets of an application")
def test_secrets_travel_apart_from_what_a_log_shows(run: Run, shop: dict[str, Any]) -> None:
    run([{**shop, "python": {"index_url": "https://user:tok3n@example.org/simple"}}])
    _name, arguments = run.hosts["web1"].calls[-1]
    shown = json.dumps(arguments["parts"])
    assert "hunter2" not in shown
    assert "tok3n" not in shown
    assert json.loads(arguments["secrets"])["webapp"]["apps"]["shop"]["env"] == {"SECRET": "hunter2"}


@pytest.mark.attack("17", "A reader of verbose output looks for the login of uv's index")
def test_the_login_of_the_index_of_uv_is_a_secret(shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"web1": Host(uv="")}, monkeypatch)
    run([shop], more={"python_uv_index_url": "https://user:tok3n@example.org/simple"})
    _name, arguments = run.hosts["web1"].calls[-1]
    assert "tok3n" not in json.dumps(arguments["parts"])
    assert run.hosts["web1"].whole()["python"]["index_url"] == "https://user:tok3n@example.org/simple"


def test_another_secret_is_another_wish(run: Run, shop: dict[str, Any]) -> None:
    run([shop])
    before = run.hosts["web1"].sent()["webapp"]["key"]
    run([{**shop, "env": {"SECRET": "hunter3"}}])
    assert run.hosts["web1"].sent()["webapp"]["key"] != before


def test_an_argument_that_says_nothing_hides_nothing() -> None:
    """Ansible hides the text of a secret argument wherever it occurs, and many a log has ``{}``."""
    assert sending.secret_json({}) == ""
    assert sending.secret_json({"shop": 1}) == '{"shop": 1}'
