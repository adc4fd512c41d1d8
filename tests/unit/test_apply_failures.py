# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A part of the plan that fails on the host: the message says what failed, and the answer what was done before."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import owners
from ansible_collections.pyweb.stack.plugins.module_utils.plan import apply
from ansible_collections.pyweb.stack.plugins.module_utils.plan import releases as releases_module
from ansible_collections.pyweb.stack.plugins.module_utils.plan.apply import Application, PartFailed
from ansible_collections.pyweb.stack.plugins.module_utils.plan.deploy import choose_intact
from ansible_collections.pyweb.stack.plugins.module_utils.plan.failures import Failures, belongs_to
from ansible_collections.pyweb.stack.plugins.module_utils.plan.releases import Releases
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest, MissingPackages
from ansible_collections.pyweb.stack.plugins.module_utils.switching import activation
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.sending import built_in

BUILT = {"changed": True, "apps": [{"name": "shop", "candidate": "20261122T000000Z-22222222"}]}


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Application:
    """A run whose role python has changed the host before."""
    application = Application(lambda *_args, **_options: None, check_mode=False)
    monkeypatch.setattr(application, "python", lambda _inputs: ({"changed": True}, None))
    return application


def parts(*roles: str) -> list[dict[str, Any]]:
    return [{"role": role, "inputs": {}, "key": ""} for role in roles]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (HostError("the disk is full"), r"^the disk is full$"),
        (OSError(28, "No space left on device"), r"No space left on device"),
        (KeyError("server_files"), r"role systemd: the key 'server_files' is missing .* please report it"),
    ],
)
def test_a_part_that_fails_leaves_the_answer_of_the_parts_before(
    application: Application, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(_inputs: dict[str, Any]) -> None:
        raise error

    monkeypatch.setattr(application, "systemd", fail)
    with pytest.raises(PartFailed, match=message) as caught:
        application.apply(parts("python", "systemd", "nginx"))
    assert caught.value.answer["changed"] is True
    assert list(caught.value.answer["parts"]) == ["python", "systemd"]


@pytest.mark.parametrize("error", [HostError("it did not start"), OSError(28, "No space left"), KeyError("process")])
def test_a_switch_that_fails_leaves_the_answer_of_the_build(
    application: Application, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> None:
        raise error

    def build(_inputs: dict[str, Any]) -> tuple[dict[str, Any], None]:
        application.releases = SimpleNamespace(switch=fail, failures=Failures(), skip_front=lambda names: None)
        return BUILT, None

    monkeypatch.setattr(application, "webapp", build)
    with pytest.raises(PartFailed) as caught:
        application.apply(parts("webapp"))
    assert caught.value.answer["parts"]["webapp"]["apps"] == BUILT["apps"]


# --- one application that fails holds up no other ---------------------------------------------------------------------


def with_a_bad_application(
    monkeypatch: pytest.MonkeyPatch, current: str = ""
) -> tuple[Application, dict[str, dict[str, Any]], list[str]]:
    """A run whose application ``bad`` could not be built, what each part then gets, and the recorded parts."""
    application = Application(lambda *_args, **_options: None, check_mode=False)
    got: dict[str, dict[str, Any]] = {}
    recorded: list[str] = []
    failures = Failures()
    failures.add("bad", "webapps 'bad': no")

    def build(_inputs: dict[str, Any]) -> tuple[dict[str, Any], None]:
        application.releases = SimpleNamespace(
            switch=lambda: {"changed": True},
            failures=failures,
            held=["bad"] if current else [],
            skip_front=lambda names: None,
            witnesses=lambda: None,
            stamp=dict,
        )
        return {**BUILT, **failures.answer}, None

    def take(role: str) -> Any:
        return lambda inputs: (got.update({role: inputs}), ({"changed": True}, {"paths": {}}))[1]

    monkeypatch.setattr(application, "webapp", build)
    for role in ("systemd", "supervisor", "nginx"):
        monkeypatch.setattr(application, role, take(role))
    monkeypatch.setattr(apply.stamps, "record", lambda role, *_rest: recorded.append(role))
    return application, got, recorded


SENT = [
    {"role": "webapp", "inputs": {}, "key": "1"},
    {"role": "systemd", "key": "2", "inputs": {"services": [{"name": "bad@"}, {"name": "bad.*"}, {"name": "good@"}]}},
    {"role": "supervisor", "key": "3", "inputs": {"programs": [{"name": "bad.worker@"}, {"name": "good@"}]}},
    {"role": "nginx", "key": "4", "inputs": {"files": []}},
]


def test_an_application_that_cannot_be_built_keeps_its_definitions_and_its_site(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    application, got, recorded = with_a_bad_application(monkeypatch, current="20261122T000000Z-22222222")
    answer = application.apply(SENT)
    assert got["systemd"]["services"] == [{"name": "good@"}]
    assert got["supervisor"]["programs"] == [{"name": "good@"}]
    assert got["nginx"]["held"] == ["bad"]
    assert answer["parts"]["webapp"]["failures"] == {"names": ["bad"], "problems": ["webapps 'bad': no"]}
    # No part is recorded, so the next run tries everything again.
    assert recorded == []


def test_the_site_of_a_new_application_that_cannot_be_built_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx answers 502, because no release listens."""
    application, got, recorded = with_a_bad_application(monkeypatch)
    application.apply(SENT)
    assert "held" not in got["nginx"]
    assert recorded == ["nginx"]


def test_a_part_that_fails_too_names_the_applications_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    application, _got, _recorded = with_a_bad_application(monkeypatch)

    def fail(_inputs: dict[str, Any]) -> None:
        raise HostError("nginx: no")

    monkeypatch.setattr(application, "nginx", fail)
    with pytest.raises(PartFailed) as caught:
        application.apply(SENT)
    assert str(caught.value) == "webapps 'bad': no\n\nnginx: no"


@pytest.mark.parametrize(
    ("service", "belongs"),
    [
        ("shop@", True),
        ("shop@.socket", True),
        ("shop.worker@", True),
        ("shop.*", True),
        ("shop2@", False),
        ("x", False),
    ],
)
def test_a_service_belongs_to_the_application_in_its_name(service: str, belongs: bool) -> None:
    assert belongs_to(service, ["shop"]) is belongs


NO_CHANGE = {"changed": False, "activate": False}


def broken(name: str) -> dict[str, Any]:
    return {"name": name, "state": "present", "problem": f"{name} can't be fetched"}


def test_every_application_that_fails_is_in_the_answer(tmp_path: Path) -> None:
    inputs = {"root": str(tmp_path), "uv": "", "nginx_group": "", "owner": "alice@desk"}
    (tmp_path / "old" / "releases").mkdir(parents=True)
    (tmp_path / "old" / "current").symlink_to("releases/20261122T000000Z-22222222")
    releases = Releases({**inputs, "apps": [broken("new"), broken("old")]}, lambda *_: None, check_mode=False)
    answer = releases.build()
    assert answer["failures"]["names"] == ["new", "old"]
    assert answer["failures"]["problems"][0] == "webapps 'new': new can't be fetched"
    assert [(one["name"], one["action"], one["activate"]) for one in answer["apps"]] == [
        ("new", "failed", False),
        ("old", "failed", False),
    ]
    assert releases.held == ["old"]
    assert releases.witnesses() is None
    assert releases.stamp() == {}


ODD = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


def test_an_error_that_no_code_expects_concerns_one_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(_deployment: Any, spec: dict[str, Any], _versions: Any) -> dict[str, Any]:
        if spec["name"] == "odd":
            raise ODD
        return {"name": spec["name"], "action": "none", "activate": False, "changed": False, "current": ""}

    monkeypatch.setattr(releases_module, "release", build)
    inputs = {
        "root": str(tmp_path),
        "uv": "",
        "nginx_group": "",
        "owner": "",
        "apps": [{"name": "odd"}, {"name": "shop"}],
    }
    answer = Releases(inputs, lambda *_: None, check_mode=False).build()
    assert [one["action"] for one in answer["apps"]] == ["failed", "none"]
    assert "webapps 'odd': its build failed: UnicodeDecodeError: 'utf-8' codec" in answer["failures"]["problems"][0]
    assert "please report it" in answer["failures"]["problems"][0]


@pytest.mark.parametrize("step", ["start", "finish"])
def test_an_error_that_no_code_expects_lets_the_other_switches_finish(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Odd:
        def __init__(self, spec: dict[str, Any], *_given: Any) -> None:
            self.name = spec["name"]

        def start(self) -> None:
            self.step("start")

        def finish(self) -> dict[str, Any]:
            self.step("finish")
            return {"name": self.name}

        def step(self, name: str) -> None:
            if (self.name, name) == ("odd", step):
                raise KeyError("process")

        def close(self) -> None:
            pass

    monkeypatch.setattr(activation, "Switch", Odd)
    specs = [{"name": name, "state": "present"} for name in ("odd", "shop")]
    results, problems = activation.activate(specs, "/srv/webapps", lambda *_: None, "")
    assert results == [{"name": "shop"}]
    assert len(problems) == 1
    assert "webapps 'odd': " in problems[0]
    assert "KeyError: 'process'" in problems[0]


def test_a_package_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def needs_git(_deployment: Any, spec: dict[str, Any], _versions: Any) -> None:
        raise MissingPackages(spec["name"], "uv found no git", ["git"])

    monkeypatch.setattr(releases_module, "release", needs_git)
    inputs = {"root": str(tmp_path), "uv": "", "nginx_group": "", "owner": "", "apps": [{"name": "shop"}]}
    first = Releases(inputs, lambda *_: None, check_mode=False).build()
    assert (first["missing_packages"], "failures" in first) == (["git"], False)
    second = Releases({**inputs, "installed": ["git"]}, lambda *_: None, check_mode=False).build()
    assert (second["missing_packages"], second["failures"]["problems"]) == ([], ["webapps 'shop': uv found no git"])


def test_each_run_with_an_upgrade_of_packages_upgrades_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str | None] = []

    def release(_deployment: Any, spec: dict[str, Any], _versions: Any) -> dict[str, Any]:
        built.append(spec["built"])
        return {"name": spec["name"], "action": "build", "candidate": "x", "current": "", "reasons": []} | NO_CHANGE

    monkeypatch.setattr(releases_module, "release", release)
    inputs = {"root": str(tmp_path), "uv": "", "nginx_group": "", "owner": "", "apps": [{"name": "shop"}]}
    first = Releases({**inputs, "upgrade": True}, lambda *_: None, check_mode=False)
    candidates = built_in(first.build())
    assert (candidates, first.witnesses(), first.stamp()) == ({"shop": "x"}, None, {}), "the next run may not skip it"
    Releases({**inputs, "upgrade": True, "built": candidates}, lambda *_: None, check_mode=False).build()
    assert built == [None, "x"]


def test_what_a_run_has_upgraded_is_used_by_its_next_call(tmp_path: Path) -> None:
    layout, known = Layout("shop", str(tmp_path)), [Manifest("20261122T000000Z-22222222")]
    spec = {"upgrade": True, "notes": []}
    assert choose_intact(layout, {**spec, "built": known[0].id}, {}, known) == ("reuse", known[0].id, ["dependencies"])
    assert choose_intact(layout, {**spec, "built": "../x"}, {}, known)[0] == "build"


# --- the sites that stay ----------------------------------------------------------------------------------------------


def site(domain: str, *applications: str, note: str = "") -> str:
    places = "".join(f"        proxy_pass http://unix:/srv/webapps/{one}/current.sock;\n" for one in applications)
    return f"# Owner: webapps\nserver {{\n    listen 80;\n    server_name {domain};\n{places}# {note}\n}}\n"


def test_a_held_site_keeps_the_text_and_the_secrets_of_the_live_tree() -> None:
    live = {"sites/bad.conf": site("b.example", "bad", note="old"), "secrets/bad_1": "old", "sites/x.conf": "x"}
    new = {"sites/bad.conf": site("b.example", "bad", note="new"), "secrets/bad_1": "new", "nginx.conf": ""}
    found, replaced = owners.held(live, new, ["bad"])
    assert found == {"sites/bad.conf": live["sites/bad.conf"], "secrets/bad_1": "old"}
    assert replaced == {"sites/bad.conf", "secrets/bad_1"}


@pytest.mark.parametrize(
    ("live", "new"),
    [
        # It is the first run with this site.
        ({}, {"sites/bad.conf": site("b.example", "bad")}),
        # A good application is served by the same site.
        (
            {"sites/bad.conf": site("b.example", "bad")},
            {"sites/bad.conf": site("b.example", "bad", "good")},
        ),
        # Another application gets its domain.
        (
            {"sites/bad.conf": site("b.example", "bad")},
            {"sites/bad.conf": site("c.example", "bad"), "sites/good.conf": site("b.example", "good")},
        ),
    ],
)
def test_a_site_is_not_held_where_another_application_needs_the_new_one(
    live: dict[str, str], new: dict[str, str]
) -> None:
    assert owners.held(live, new, ["bad"]) == ({}, set())


def test_a_site_with_other_domains_is_held_under_its_old_name() -> None:
    live = {"sites/bad.conf": site("b.example", "bad"), "sites/bad-2.conf": site("old.example", "bad")}
    new = {"sites/bad.conf": site("new.example", "bad")}
    assert owners.held(live, new, ["bad"]) == (live, {"sites/bad.conf"})
