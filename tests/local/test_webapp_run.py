# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A command by hand: whose it is, and how what it writes is kept from others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.action import webapp_run
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import run_by_hand
from ansible_collections.pyweb.stack.plugins.modules.webapp_run import argv_of
from hostile_account import needs_root

from local import test_building as builds
from local.test_building import APP, ID, NAME, Bench

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv


class Action(webapp_run.ActionModule):
    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments

    def validate_argument_spec(self, argument_spec: dict[str, Any]) -> tuple[None, dict[str, Any]]:
        return None, {key: self.arguments.get(key, option.get("default")) for key, option in argument_spec.items()}

    def _execute_module(self, **told: Any) -> dict[str, Any]:
        return told


@pytest.mark.parametrize("written", ["", "touch 'a b' $HOME"])
def test_the_module_gets_the_command_as_it_was_written(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp_run, "as_written", lambda _name: written)
    monkeypatch.setattr(webapp_run.HostAction, "run", lambda *_arguments: {})
    told = Action({"app": "shop", "command": "flask db upgrade", "names": ["shop"]}).run()
    assert told["module_name"] == "pyweb.stack.webapp_run"
    assert told["module_args"]["command"] == (written or "flask db upgrade")


@needs_root
@pytest.mark.attack("4", "Another account reads the data that a command of the operator writes")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_command_has_its_umask_whatever_the_connection_has(bench: Bench, umask: int) -> None:
    bench.build({"app.py": APP}, shared=["data"])
    os.symlink(f"releases/{ID}", bench.layout.current)
    before = os.umask(umask)
    try:
        answer = run_by_hand(bench.layout, argv_of(bench.layout, "touch 'data/a b'; pwd; id -un; exit 3"), "unit", 1000)
    finally:
        os.umask(before)
    assert answer.returncode == 3
    assert answer.stdout.split() == [f"{bench.layout.release(ID)}/src", NAME]
    assert Path(bench.layout.shared, "data/a b").stat().st_mode & 0o777 == 0o640
