# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A command by hand: whose it is, and how what it writes is kept from others."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.action import webapp_run


class Action(webapp_run.ActionModule):
    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments

    def validate_argument_spec(self, argument_spec: dict[str, Any]) -> tuple[None, dict[str, Any]]:
        return None, {key: self.arguments.get(key, option.get("default")) for key, option in argument_spec.items()}

    def _execute_module(self, **told: Any) -> dict[str, Any]:
        return told


@pytest.mark.attack("4", "Another account reads the data that a command of the operator writes")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_command_has_its_umask_whatever_the_connection_has(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webapp_run, "as_written", lambda: "")
    monkeypatch.setattr(webapp_run.HostAction, "run", lambda *_arguments: {})
    release = tmp_path / "shop/current"
    (release / "bin").mkdir(parents=True)
    (release / "env").touch()
    (release / "bin/run").write_text('#!/bin/sh\nexec "$@"\n')
    (release / "bin/run").chmod(0o755)
    arguments = {"app": "shop", "command": f"touch '{tmp_path}/a b'", "names": ["shop"], "root": str(tmp_path)}
    argv = Action(arguments).run()["module_args"]["argv"]
    assert argv[:3] == ["setpriv", "--reuid=shop", "--regid=shop"]
    start = next(place for place, word in enumerate(argv) if not word.startswith("-") and place > 0)
    before = os.umask(umask)
    try:
        subprocess.run(argv[start:], check=True)
    finally:
        os.umask(before)
    assert (tmp_path / "a b").stat().st_mode & 0o777 == 0o640
