# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Interpreters of this machine, and the result of the module that builds releases."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.pyweb.stack.plugins.module_utils.preflight import facts
from ansible_collections.pyweb.stack.plugins.modules import apply


@pytest.mark.parametrize(
    ("name", "version"), [("python3.11", "3.11"), ("python3", "3."), ("no-such-python", ""), ("true", "")]
)
def test_an_interpreter_tells_its_version(name: str, version: str) -> None:
    found = facts.interpreter(name)
    assert found["version"].startswith(version) if version else found["version"] == ""
    assert bool(found["path"]) is (name != "no-such-python")


# The result of the release module


@pytest.mark.attack("17", "A reader of facts looks for secrets of a live release")
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
    hidden: dict[str, Any] = {
        "pyweb-no-such": {"env": {"PASSWORD": "hunter2"}, "python": {"index_url": "https://u:tok3n@h/"}}
    }
    hidden["pyweb-no-such"]["data"] = "QUJDREVGRw=="
    inputs = {"apps": [spec], "root": str(tmp_path), "uv": "/uv", "nginx_group": "www-data", "owner": "alice@desk"}
    arguments = {
        "parts": [{"role": "webapp", "inputs": inputs, "key": "k"}],
        "secrets": json.dumps({"webapp": {"apps": hidden}}),
        "_ansible_check_mode": True,
        "_ansible_diff": True,
        "_ansible_verbosity": 3,
    }
    monkeypatch.setattr(sys, "argv", ["apply"])
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda *_, **__: None)
    with patch_module_args(arguments), pytest.raises(SystemExit):
        apply.main()
    said = capsys.readouterr().out
    result = json.loads(said)
    assert result["parts"]["webapp"]["apps"][0]["action"] == "build"
    (part,) = result["invocation"]["module_args"]["parts"]
    assert part["inputs"]["apps"][0]["name"] == "pyweb-no-such"
    for secret in ("hunter2", "tok3n", "QUJDREVGRw=="):
        assert secret not in said
