# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The preflight: facts of a host, and problems that it reports before any change."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import Templar, trust_as_template
from ansible_collections.pyweb.stack.plugins.module_utils.host import machine
from ansible_collections.pyweb.stack.plugins.module_utils.host.uv import installed_version
from ansible_collections.pyweb.stack.plugins.module_utils.preflight import facts
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import becoming, look
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.requirements import core_problems, mitogen_problem
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variable import resolved_webapps
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import source_folders
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.obstacles import Wanted, host_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.source_folders import folder_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import (
    app_problems,
    checked_inventory,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import (
    input_problems,
    misspelt_inputs,
    single_inputs,
)
from pyweb_data import merged

CASES = yaml.safe_load((Path(__file__).parent / "mistakes.yml").read_text())

# A valid application and a valid host; the cases change them.
APP: dict[str, Any] = {"name": "shop", "source": {"path": "shop"}, "wsgi": "shop:app"}
HOST: dict[str, Any] = {
    "distribution": {"id": "debian", "name": "Debian GNU/Linux", "version": "12", "codename": "bookworm"},
    "platform": {"apt": True, "python": "3.11", "versions": {"systemd": "252.39-1~deb12u1"}},
    "init": "systemd",
    "root": True,
    "cpus": 2,
    "memory_bytes": 2 * 1024**3,
    "listeners": [{"port": 80, "address": "0.0.0.0", "program": "nginx", "pid": 5}],
    "clashes": {},
    "interpreters": {"python3": {"path": "/usr/bin/python3", "version": "3.11"}},
    "pythons": ["python3.11"],
    "provided_pythons": [],
    "disks": [{"path": "/srv", "size": 2**35, "free": 2**34, "files": 10**6, "files_free": 10**5}],
    "ahead": 0.0,
}


def problems_of(case: dict[str, Any]) -> list[str]:
    """The problems that the preflight reports for a case: in the model alone, or in the model on a host."""
    webapps = case["webapps"] if "webapps" in case else [merged(APP, change) for change in case.get("apps", [{}])]
    served, problems, *_ = checked_inventory(webapps, case.get("root", "/srv/webapps"), {})
    if problems or "host" not in case:
        return problems
    asked = {key: case.get(key, {}) for key in ("requires_python", "python_versions")}
    wanted = Wanted(served, builds=case.get("builds", True), **asked)
    return host_problems(wanted, merged(HOST, case["host"]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"].replace(" ", "-"))
def test_a_mistake_is_told_with_its_remedy(case: dict[str, Any]) -> None:
    problems = problems_of(case)
    assert len(problems) == case.get("problems", 1), problems
    text = "\n".join(problems)
    for words in case["says"]:
        assert words in text
    assert not re.search(r"Traceback|jinja|Ansible[A-Z]|\bNone\b|\{'|<class", text)


# Facts of a host


def test_the_distribution_is_read(tmp_path: Path) -> None:
    text = 'ID=debian\nVERSION_ID=\'12\'\n# x\n\nVERSION_CODENAME=bookworm\nNAME="Debian GNU/Linux"\nPRETTY="a=b"\n'
    (tmp_path / "r").write_text(text)
    nowhere = str(tmp_path / "nowhere")
    assert machine.distribution((str(tmp_path / "r"), nowhere)) == HOST["distribution"]
    assert machine.distribution((nowhere, str(tmp_path / "r"))) == HOST["distribution"]
    nothing = {"id": "", "name": "", "version": "", "codename": ""}
    (tmp_path / "r").write_text("NOTHING=x\n")
    assert machine.distribution((str(tmp_path / "r"),)) == nothing
    assert machine.distribution((nowhere,)) == nothing


STATUS = """Package: nginx
Status: install ok installed
Version: 1.22

Package: nginx-common
Status: deinstall ok config-files

Package: supervisor
Status: install ok half-configured

Package: python3-venv
Status: hold ok installed
Description: nginx
 Package: fake
"""


def test_only_packages_that_are_whole_count(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(STATUS)
    wanted = ["nginx", "nginx-common", "supervisor", "python3-venv", "fake", "python3.venv", "ngin"]
    assert machine.installed_packages(wanted, str(tmp_path / "status")) == ["nginx", "python3-venv"]
    assert machine.installed_packages([], str(tmp_path / "status")) == []
    assert machine.installed_packages(wanted, str(tmp_path / "none")) == []


def test_figures_of_this_machine_are_plausible() -> None:
    assert 1 <= machine.cpus() <= (os.cpu_count() or 1)
    assert machine.memory_bytes() > 64 * 1024**2


@pytest.mark.parametrize(
    ("files", "cpus", "memory"),
    [
        ({"cpu.max": "100000 100000\n", "memory.max": "67108864\n"}, 1, 64 * 1024**2),
        ({"cpu.max": "50000 100000\n", "memory.max": "max\n"}, 1, None),
        ({"cpu.max": "max 100000\n"}, None, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None, None),
        ({"memory/memory.limit_in_bytes": "67108864\n"}, None, 64 * 1024**2),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None, None),
        ({}, None, None),
    ],
)
def test_the_limits_of_a_container_count(
    tmp_path: Path, files: dict[str, str], cpus: int | None, memory: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    nowhere = str(tmp_path / "nowhere")
    assert machine.cpus(str(tmp_path)) == (cpus or machine.cpus(nowhere))
    assert machine.memory_bytes(str(tmp_path)) == (memory or machine.memory_bytes(nowhere))


def test_uv_counts_when_it_can_run(tmp_path: Path) -> None:
    assert installed_version(str(tmp_path)) == ""
    (tmp_path / "lib/python3.11/site-packages/uv-0.13.2.dist-info").mkdir(parents=True)
    assert installed_version(str(tmp_path)) == ""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/uv").touch(mode=0o755)
    assert installed_version(str(tmp_path)) == "0.13.2"


def test_accounts_groups_and_units_of_the_system_clash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "UNIT_FOLDERS", [str(tmp_path)])
    assert facts.clashes("pyweb-does-not-exist", "/srv/webapps") == []
    assert "account 'daemon' with the home /usr/sbin" in facts.clashes("daemon", "/srv/webapps")[0]
    assert "group 'tty'" in facts.clashes("tty", "/srv/webapps")[0]
    unit = tmp_path / "shop@.service"
    unit.write_text("[Unit]\nDescription=Another package's\n")
    assert f"service 'shop@' ({unit})" in facts.clashes("shop", "/srv/webapps")[0]
    unit.write_text("# Managed by pyweb.stack (role systemd).\n")
    assert facts.clashes("shop", "/srv/webapps") == []


def test_a_disk_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    found = machine.disk(str(tmp_path / "not" / "yet"))
    assert found["path"] == str(tmp_path)
    assert found["size"] > found["free"] > 0


# Conflicts on the host


def test_a_fine_host_has_no_problems() -> None:
    assert problems_of({"host": {}}) == []
    assert problems_of({"host": {"init": "none"}}) == []


def test_a_package_that_is_to_be_installed_may_bring_the_interpreter() -> None:
    served, *_ = checked_inventory([merged(APP, {"python": {"interpreter": "python3.12"}})], "/srv/webapps", {})
    assert host_problems(Wanted(served, packages=["python3.12-venv"]), HOST) == []


@pytest.mark.parametrize(
    "app",
    [
        {"python": {"ca_bundle": "/home/ca.pem"}, "systemd": {"ProtectHome": "read-only"}},
        {"python": {"ca_bundle": "/home/shop/ca.pem"}, "systemd": {"ProtectHome": False}},
        {"python": {"ca_bundle": "/home/ca.pem"}, "systemd": {"ProtectHome": "tmpfs", "BindReadOnlyPaths": "-/home"}},
        {"python": {"ca_bundle": "/tmp/a/ca.pem"}, "systemd": {"BindReadOnlyPaths": ["/opt", "/etc/a:/tmp/a:rbind"]}},
        {"python": {"ca_bundle": "/tmp/ca.pem"}, "systemd": {"PrivateTmp": "no"}},
        {"python": {"ca_bundle": "/homes/ca.pem", "index_url": "https://index.example/home/simple"}},
    ],
)
def test_builds_see_what_the_settings_of_the_application_show(app: dict[str, Any]) -> None:
    assert problems_of({"apps": [app], "host": {}}) == []
    assert problems_of({"apps": [{"python": {"ca_bundle": "/tmp/ca.pem"}}], "host": {"init": "none"}}) == []


def test_a_rollback_does_not_fail_for_what_only_a_deployment_needs() -> None:
    full = {"disks": [{"path": "/srv", "size": 2**35, "free": 0, "files": 1, "files_free": 0}], "ahead": 9999.0}
    assert len(problems_of({"host": full})) == 2
    assert problems_of({"host": full, "builds": False}) == []


@pytest.mark.parametrize(("version", "old"), [("2.19.0", False), ("2.21.5rc1", False), ("2.18.9", True), ("2.9", True)])
def test_an_ansible_that_is_too_old_is_told(version: str, old: bool) -> None:
    problems = core_problems(version)
    assert bool(problems) is old
    if old:
        assert f"ansible-core {version}" in problems[0]
        assert "pip install 'ansible-core>=2.19'" in problems[0]


def test_an_action_that_mitogen_runs_is_refused() -> None:
    ours = type("ActionModule", (), {})
    theirs = type("ActionModuleMixin", (), {"__module__": "ansible_mitogen.mixins"})
    assert mitogen_problem(cast(Any, ours())) == ""
    problem = mitogen_problem(cast(Any, type("ActionModule", (theirs, ours), {})()))
    assert "ANSIBLE_STRATEGY=linear" in problem


def test_an_account_without_sudo_is_told_what_to_do() -> None:
    text = becoming.sudo_problem("deploy", "web1")
    for words in ("'deploy'", "web1", "--ask-become-pass", "/etc/sudoers.d/deploy"):
        assert words in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {},
            [
                "'shop'.site.static '/static/': 'static' is not a folder in",
                "Did you mean 'shop/static'?",
                "commands.build",
            ],
        ),
        ({"site": {"static": [{"url": "/x/", "path": "nowhere"}]}}, ["'nowhere' is not a folder in"]),
        ({"site": {"static": [{"url": "/static/", "path": "shop/static"}]}}, []),
        ({"commands": {"build": ["make static"]}}, []),
        ({"shared": ["static"]}, []),
        ({"shared": ["static", "app.db"]}, ["shared: 'app.db' is a file in the source, but shared takes folders"]),
        ({"source": {"subdir": "backend"}}, ["source.subdir: 'backend' is not a folder in"]),
        (
            {"python": {"requirements": ["none.txt"]}, "shared": ["static"]},
            ["requirements: 'none.txt' is not a file in"],
        ),
    ],
)
def test_what_a_folder_does_not_have_is_told(tmp_path: Path, change: dict[str, Any], words: list[str]) -> None:
    (tmp_path / "shop/static").mkdir(parents=True)
    (tmp_path / "app.db").touch()
    static = {"site": {"static": [{"url": "/static/", "path": "static"}]}}
    (app,), problems, *_ = checked_inventory([merged({**APP, **static}, change)], "/srv/webapps", {})
    assert problems == []
    told = folder_problems(app, tmp_path)
    assert len(told) == bool(words)
    for word in words:
        assert word in told[0]


@pytest.mark.parametrize(
    ("files", "named", "words"),
    [
        (["poetry.lock", "pyproject.toml"], None, "'poetry.lock' lists the versions to install, but uv can't read it."),
        (["poetry.lock", "requirements.txt"], None, "'requirements.txt' asks for gunicorn 21.2.0"),
        (["poetry.lock"], [], ""),
    ],
)
def test_dependencies_that_would_not_be_installed_as_listed_are_told(
    tmp_path: Path, files: list[str], named: list[str] | None, words: str
) -> None:
    for name in files:
        (tmp_path / name).write_text("gunicorn==21.2.0\n" if name.endswith(".txt") else "")
    (app,), *_ = checked_inventory([merged(APP, {"python": {"requirements": named}})], "/srv/webapps", {})
    told = folder_problems(app, tmp_path, {"gunicorn": "gunicorn>=22.0"})
    assert len(told) == bool(words)
    assert words in "".join(told)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"files": [{"path": "config/a.toml", "content": "x"}]},
            "files 'config/a.toml': the source has this file. Set",
        ),
        ({"files": [{"path": "config/a.toml", "content": "x", "replace": True}]}, ""),
        ({"files": [{"path": ".env", "content": "x"}]}, ""),
        ({"files": [{"path": "config/b.toml", "content": "x"}]}, ""),
        ({"env": {"SETTINGS": {"release": "config/b.toml"}}}, "env.SETTINGS: 'config/b.toml' is not in"),
        ({"env": {"SETTINGS": {"release": "config/a.toml"}}}, ""),
        ({"env": {"SETTINGS": {"release": "made"}}, "commands": {"build": ["make"]}}, ""),
        ({"env": {"SETTINGS": {"release": "data/x"}}, "shared": ["data"]}, ""),
        ({"env": {"ROOT": {"release": "new"}}, "files": [{"path": "new/b.toml", "content": "x"}]}, ""),
    ],
)
def test_files_and_paths_of_the_inventory_are_compared_with_the_source(
    given: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that .gitignore names, such as the .env of a developer, is not sent."""
    (tmp_path / "config").mkdir()
    for name in ("config/a.toml", ".env"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(source_folders, "source_files", lambda _folder: ["config/a.toml"])
    (app,), problems, *_ = checked_inventory([merged(APP, given)], "/srv/webapps", {})
    assert problems == []
    told = folder_problems(app, tmp_path)
    assert len(told) == bool(words)
    assert words in "".join(told)


# The variable itself


def resolve(own: Any) -> tuple[Any, list[str]]:
    """The variable webapps of the host web1, as its inventory has it (``own``) or a role's default."""
    known = {"webapps": [], "colour": "red", **own, "inventory_hostname": "web1", "hostvars": {"web1": own}}
    return resolved_webapps(known, Templar(loader=DataLoader(), variables=known).template)


def trusted(value: Any) -> Any:
    """As it comes from an inventory, where texts may be templates."""
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    return [trusted(item) for item in value] if isinstance(value, list) else trust_as_template(value)


def test_templates_of_the_applications_are_resolved() -> None:
    own = {"webapps": trusted([{"name": "shop", "env": {"COLOUR": "{{ colour }}"}}])}
    assert resolve(own) == ([{"name": "shop", "env": {"COLOUR": "red"}}], [])
    assert resolve({"webapps": []}) == ([], [])


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({}, ["'webapps', the list of applications, is not set for web1. Set it in group_vars/web.yml."]),
        ({"webaps": [{"name": "shop"}]}, ["is not set for web1", "Did you mean 'webaps'?"]),
        ({"webapp": [{"name": "shop"}]}, ["Did you mean 'webapp'?"]),
        (
            {"webapps": [{"name": "shop", "env": {"URL": "{{ vault_url }}", "KEY": "{{ vault_key }}"}}]},
            ["webapps 'shop'.env.URL: the variable 'vault_url' is not defined", "'shop'.env.KEY", "ansible-vault"],
        ),
        ({"webapps": "{{ ours + theirs }}"}, ["webapps: the variable 'ours' is not defined"]),
        ({"webapps": [{"name": "shop", "wsgi": "{{ oops"}]}, ["webapps 'shop'.wsgi", "Close every {{ with }}"]),
        ({"webapps": [{"name": "a", "env": {"B": "{{ 1 / 0 }}"}}]}, ["webapps 'a'.env.B: its value can't be resolved"]),
    ],
)
def test_a_variable_that_is_none_is_told_with_its_place(own: dict[str, Any], words: list[str]) -> None:
    _webapps, problems = resolve(trusted(own))
    text = "\n".join(problems)
    for word in words:
        assert word in text
    assert not re.search(r"Traceback|jinja|Ansible[A-Z]|Finalization|Error while resolving|[Uu]nexpected", text)


def test_a_value_that_no_password_opens_is_told(tmp_path: Path) -> None:
    secret = VaultLib([("default", VaultSecret(b"pass"))]).encrypt("s3cret").decode()
    value = "\n".join(f"        {line}" for line in secret.split("\n"))
    path = tmp_path / "vars.yml"
    path.write_text(f"webapps:\n  - name: shop\n    env:\n      KEY: !vault |\n{value}\n")
    _webapps, problems = resolve(DataLoader().load_from_file(str(path)))
    (problem,) = problems
    assert problem.startswith("webapps 'shop'.env.KEY: it is encrypted, and no password of ansible-vault opens it.")
    assert "--ask-vault-pass" in problem


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"app": "shop", "app_required": True}, ""),
        ({"app": ""}, ""),
        (
            {"app": "", "app_required": True},
            "no application is given. Set -e app=NAME. Available applications: blog",
        ),
        ({"app": "shp"}, "'shp' is not an application on this host"),
    ],
)
def test_a_run_for_one_application_names_one(arguments: dict[str, Any], words: str) -> None:
    told = app_problems(["blog", "shop"], arguments["app"], required=arguments.get("app_required", False))
    assert bool(told) == bool(words)
    assert words in "".join(told)


def test_a_misspelt_input_of_a_role_is_found() -> None:
    (problem,) = misspelt_inputs({"webapp_keep_relases": 3, "webapps": [], "my_own": 1})
    assert "'webapp_keep_relases' is not an input of the role webapp. Did you mean 'webapp_keep_releases'?" in problem


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"webapp_keep_releases": "many"}, "webapp_keep_releases: this is a string ('many')"),
        ({"python_packages": ["libpq-dev", "--purge"]}, "python_packages: '--purge' is not a Debian package"),
        ({"python_packages": ["libpq-dev\n"]}, "python_packages: 'libpq-dev\n' is not a Debian package"),
        ({"webapp_nginx_group": "www data"}, "webapp_nginx_group: 'www data' is not a group"),
        ({"webapp_uv": "uv"}, "webapp_uv: 'uv' is not an absolute path"),
        ({"python_uv_version": "latest"}, "python_uv_version: 'latest' is not a version"),
        ({"python_uv_index_url": "u:hunter2@pypi"}, "python_uv_index_url: this is not the address of a package index"),
        ({"webapp_server_requirements": {"gunicron": "x"}}, "'gunicron' is not an application server"),
        ({"webapp_server_requirements": {"gunicorn": "gunicorn 22"}}, "'gunicorn 22' is not a requirement"),
        ({"webapp_rollout": {"unreachable": "ignore"}}, "unreachable: 'ignore' is not one of: stop, skip"),
        ({"webapp_rollout": {"unreach": "skip"}}, "Did you mean 'unreachable'"),
        ({"webapp_rollout": {"first": 0}}, "first is '0'. Set a number of hosts such as 2, or a percentage"),
        ({"webapp_rollout": {"batch": "150%"}}, "batch is '150%'. Set a number of hosts"),
        ({"webapp_rollout": {"batch": "a quarter"}}, "batch is 'a quarter'"),
        ({"webapp_rollout": {"first": 1.5}}, "first is '1.5'"),
        ({"webapp_rollout": {"pause": -1}}, "pause is -1. Set seconds from 0 to 3600"),
        ({"webapp_rollout": {"bounds": {"p95": 0.5}}}, "bounds.p95 is 0.5. Set at least 1."),
        ({"webapp_rollout": {"watch": "a minute"}}, "watch: this is a string ('a minute')"),
        ({"nginx_acme_email": "a@example.org\r"}, "nginx_acme_email: the text has a carriage return (U+000D)"),
    ],
)
def test_an_input_of_a_role_that_would_fail_on_the_host_is_told(values: dict[str, Any], words: str) -> None:
    (problem,) = input_problems(values)
    assert words in problem
    assert "hunter2" not in problem


def test_the_defaults_of_all_inputs_are_right() -> None:
    defaults = {name: spec["default"] for name, spec in single_inputs().items() if spec.get("default") is not None}
    assert len(defaults) > 20
    assert input_problems(defaults) == []


def test_problems_are_counted_and_listed() -> None:
    one, two = look.failed(["a"]), look.failed(["a", "b"])
    assert one["msg"].startswith("1 problem found before anything was changed:\n- a\n")
    assert two["msg"].startswith("2 problems found")
    assert two["msg"].endswith(":\n- a\n- b\nNothing on the host has changed.")
