# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The preflight: what it finds on a host, and what it refuses before anything is changed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.pyweb.stack.plugins.action import preflight as action
from ansible_collections.pyweb.stack.plugins.modules import preflight as module
from ansible_collections.pyweb.stack.plugins.modules import webapp_release

HOST: dict[str, Any] = {
    "distribution": {"id": "debian", "version": "12", "codename": "bookworm"},
    "init": "systemd",
    "root": True,
    "listeners": [],
}
APP: dict[str, Any] = {"name": "shop", "process_manager": None, "site": {"port": 80}, "jobs": []}


# What is found on a host


def test_the_distribution_is_read(tmp_path: Path) -> None:
    (tmp_path / "r").write_text('ID=debian\nVERSION_ID="12"\n# x\n\nVERSION_CODENAME=bookworm\nPRETTY="a=b"\n')
    assert module.distribution(str(tmp_path / "r")) == HOST["distribution"]
    (tmp_path / "r").write_text("NAME=x\n")
    assert module.distribution(str(tmp_path / "r")) == {"id": "", "version": "", "codename": ""}


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
    assert module.installed(wanted, str(tmp_path / "status")) == ["nginx", "python3-venv"]
    assert module.installed([], str(tmp_path / "status")) == []
    assert module.installed(wanted, str(tmp_path / "none")) == []


def test_figures_of_this_machine_are_plausible() -> None:
    assert 1 <= module.cpus() <= (os.cpu_count() or 1)
    assert module.memory_bytes() > 64 * 1024**2


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
    assert module.cpus(str(tmp_path)) == (cpus or module.cpus(nowhere))
    assert module.memory_bytes(str(tmp_path)) == (memory or module.memory_bytes(nowhere))


def test_uv_counts_when_it_can_run(tmp_path: Path) -> None:
    assert module.uv_version(str(tmp_path)) == ""
    (tmp_path / "lib/python3.11/site-packages/uv-0.13.2.dist-info").mkdir(parents=True)
    assert module.uv_version(str(tmp_path)) == ""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/uv").touch(mode=0o755)
    assert module.uv_version(str(tmp_path)) == "0.13.2"


# What stands in the way


def test_a_fine_host_has_no_problems() -> None:
    assert action.host_problems([APP], HOST, "auto") == []
    nginx = {"port": 80, "address": "*", "program": "nginx", "pid": 5}
    assert action.host_problems([APP], {**HOST, "listeners": [nginx]}, "auto") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distribution": {"id": "ubuntu", "version": "24.04"}}, ["ubuntu 24.04", "Debian 12 and 13"]),
        ({"distribution": {"id": "", "version": ""}}, ["an unknown system"]),
        ({"root": False}, ["become: true"]),
        (
            {"listeners": [{"port": 80, "address": "0.0.0.0", "program": "apache2", "pid": 7}]},
            ["'shop'.site.port", "port 80", "apache2", "process 7", "another port"],
        ),
        ({"listeners": [{"port": 80, "address": "*", "program": "", "pid": 0}]}, ["another program"]),
    ],
)
def test_what_stands_in_the_way_is_told(changes: dict[str, Any], words: list[str]) -> None:
    (problem,) = action.host_problems([APP], {**HOST, **changes}, "auto")
    for word in words:
        assert word in problem


def test_systemd_can_be_named_only_where_it_is() -> None:
    bare = {**HOST, "init": "none"}
    assert action.host_problems([APP], bare, "auto") == []
    (problem,) = action.host_problems([{**APP, "process_manager": "systemd"}], bare, "auto")
    assert "not PID 1" in problem
    assert "Use supervisor" in problem


def test_a_misspelt_input_of_a_role_is_found() -> None:
    (problem,) = action.misspelt_inputs({"webapp_keep_relases": 3, "webapps": [], "my_own": 1})
    assert "'webapp_keep_relases' is no input of the role webapp. Did you mean 'webapp_keep_releases'?" in problem
    (problem,) = action.misspelt_inputs({"webapp": []})
    assert "Did you mean 'webapps'?" in problem
    assert action.misspelt_inputs({"webapps": [], "webapp_keep_releases": 3}) == []


def test_problems_are_counted_and_listed() -> None:
    one, two = action.failed(["a"]), action.failed(["a", "b"])
    assert one["msg"].startswith("1 problem found before anything was changed:\n- a\n")
    assert two["msg"].startswith("2 problems found")
    assert two["problems"] == ["a", "b"]


# What the module of releases gives back


def test_no_secret_comes_back_from_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Ansible shows the parameters of a module in its result, as the module left them."""
    spec = {
        "name": "pyweb-no-such",
        "state": "present",
        "purge": False,
        "source": {"kind": "path", "digest": "d", "wanted": False, "requirements_digest": "r"},
        "python": {"interpreter": "python3"},
        "server_packages": [],
        **dict.fromkeys(
            ("wsgi", "protocol", "entry", "environment", "shared", "build_commands", "server_files", "limits"), ""
        ),
        "processes": [],
        "jobs": False,
        "process_manager": "systemd",
    }
    hidden = {"pyweb-no-such": {"env": {"PASSWORD": "hunter2"}, "python": {"index_url": "https://u:tok3n@h/"}}}
    arguments = {
        "apps": [spec],
        "secrets": json.dumps(hidden),
        "sources": json.dumps({"pyweb-no-such": "QUJDREVGRw=="}),
        "root": str(tmp_path),
        "_ansible_check_mode": True,
        "_ansible_diff": True,
        "_ansible_verbosity": 3,
    }
    monkeypatch.setattr(sys, "argv", ["webapp_release"])
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda *_, **__: None)
    with patch_module_args(arguments), pytest.raises(SystemExit):
        webapp_release.main()
    said = capsys.readouterr().out
    result = json.loads(said)
    assert result["apps"][0]["action"] == "build"
    assert result["invocation"]["module_args"]["apps"][0]["name"] == "pyweb-no-such"
    for secret in ("hunter2", "tok3n", "QUJDREVGRw=="):
        assert secret not in said
