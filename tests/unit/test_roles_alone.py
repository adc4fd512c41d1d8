# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Roles that are applied one by one send the same data to a host as one run of their plan."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import host as plan
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.servers import server_services
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.services import supervisor_programs, systemd_services
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import gunicorn, uwsgi
from test_plan import FACTS, Host, Run, defaults

CHECKOUT = Path(__file__).resolve().parents[2]

WORK = {
    "processes": [{"name": "worker", "command": "celery -A shop worker", "count": 2}],
    "jobs": [{"name": "nightly", "command": "flask cleanup", "schedule": "daily"}],
}
MODELS: dict[str, list[dict[str, Any]]] = {
    "one application": [{"name": "shop"}],
    "background work": [{"name": "shop", **WORK, "systemd": {"Nice": "5"}}],
    "uWSGI beside gunicorn": [
        {"name": "shop"},
        {"name": "blog", "server": "uwsgi", "site": {"domains": ["b.example.com"]}},
    ],
    "HTTPS, a password and a removed application": [
        {
            "name": "shop",
            "site": {
                "domains": ["shop.example.com"],
                "tls": {"mode": "selfsigned"},
                "basic_auth": {"users": {"alice": "$apr1$x$y"}},
                "extra": "add_header X-Shop yes;",
            },
        },
        {"name": "old", "state": "absent"},
    ],
}


@pytest.fixture
def apps(request: pytest.FixtureRequest, tmp_path: Path) -> list[dict[str, Any]]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "shop.py").write_text("app = None\n")
    usual = {"source": {"path": str(tmp_path / "code")}, "wsgi": "shop:app"}
    return [app if app.get("state") == "absent" else {**usual, **app} for app in MODELS[request.param]]


def arguments_of(role: str, file: str, action: str, **given: Any) -> dict[str, Any]:
    """The arguments that a task passes to its module when the role is used alone."""
    folder = CHECKOUT / "roles" / role
    variables = {**defaults(), "ansible_search_path": [str(folder)]}
    variables_file = folder / "vars" / "main.yml"
    if variables_file.exists():
        variables |= trusted(yaml.safe_load(variables_file.read_text()))
    loader = DataLoader()
    templar = Templar(loader=loader, variables={**variables, **given})
    tasks = yaml.safe_load((folder / "tasks" / file).read_text())
    (arguments,) = (task[f"pyweb.stack.{action}"] for task in tasks if f"pyweb.stack.{action}" in task)
    return templar.template(trusted(arguments))


def trusted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def parts(apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, **facts: Any) -> dict[str, Any]:
    """The arguments that one run of the plan sends, by role, with the secrets in their final place."""
    run = Run({"web1": Host(**facts)}, monkeypatch)
    run(apps)
    return run.hosts["web1"].whole()


EVERY = pytest.mark.parametrize("apps", MODELS, indirect=True)


@EVERY
def test_systemd_alone_defines_the_same_services(apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = arguments_of("systemd", "main.yml", "systemd_services", systemd_services=systemd_services(apps, FACTS))
    assert alone["services"]
    assert alone["services"] == parts(apps, monkeypatch)["systemd"]["services"]


@EVERY
def test_supervisor_alone_defines_the_same_programs(
    apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"init": "none", "supervisor": True}
    programs = supervisor_programs(apps, {**FACTS, **facts})
    alone = arguments_of("supervisor", "programs.yml", "supervisor_programs", supervisor_programs=programs)
    assert alone["programs"]
    assert alone["programs"] == parts(apps, monkeypatch, **facts)["supervisor"]["programs"]


@EVERY
def test_nginx_alone_serves_the_same_sites(apps: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "__nginx_applications": nginx_sites(apps),
        "__nginx_known": [app["name"] for app in apps if app.get("state") != "absent"],
        "__nginx_removed": [app["name"] for app in apps if app.get("state") == "absent"],
    }
    alone = arguments_of("nginx", "configure.yml", "nginx_config", **given)
    together = parts(apps, monkeypatch)["nginx"]
    assert len(alone["files"]) > 3
    assert alone.pop("fetch") is False
    # Empty secrets are not sent.
    empty = {name: type(value)() for name, value in alone.items() if not value}
    # Without the role webapp, no run publishes the status page, and none removes it.
    alone["owners"].append("webapp_status_site")
    assert {**empty, **together} == alone


@EVERY
@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_an_app_server_alone_writes_the_same_files(
    apps: list[dict[str, Any]], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = server_services(server, apps, FACTS)
    if not services:
        assert {"gunicorn": gunicorn, "uwsgi": uwsgi}[server].files_of(services, shlex.quote) == []
        return
    alone = arguments_of(server, "main.yml", "config_files", **{f"{server}_services": services})
    together = {
        f"/srv/webapps/{app['name']}/releases/@RELEASE@/{file['path']}": file
        for app in parts(apps, monkeypatch)["webapp"]["apps"]
        for file in app.get("server_files", [])
    }
    assert alone["files"]
    for file in alone["files"]:
        assert {**together[file["path"]], "path": file["path"]} == file


def test_the_plan_is_the_same_whatever_the_order_of_the_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop.py").write_text("app = None\n")
    app = {"name": "shop", "source": {"path": str(tmp_path)}, "wsgi": "shop:app"}
    sent = []
    for roles in (plan.ROLES, tuple(reversed(plan.ROLES))):
        run = Run({"web1": Host()}, monkeypatch)
        run([app], roles)
        sent.append(run.hosts["web1"].calls[-1])
    assert sent[0] == sent[1]
