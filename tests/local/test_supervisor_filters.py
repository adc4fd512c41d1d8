# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Programs that the filters define, run by the shell as supervisor runs them."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.pyweb.stack.plugins.filter.supervisor_definitions import supervisor_definitions
from supervisor_files import NASTY, read_programs, rendered


def test_environment_and_arguments_arrive_exactly(render: Any, tmp_path: Path) -> None:
    show = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['A']]))"
    for value in NASTY:
        item = {"name": "w", "command": ["/usr/bin/env", "python3", "-c", show, *NASTY], "environment": {"A": value}}
        program = read_programs(tmp_path, rendered(render, tmp_path, item))["w"]
        printed = subprocess.run(shlex.split(program.command), capture_output=True, text=True, check=True).stdout
        assert json.loads(printed) == [NASTY, value]


def test_account_gets_its_own_home(render: Any, tmp_path: Path) -> None:
    item = {"name": "w", "command": ["/bin/sh", "-c", 'echo "$HOME" "$USER"'], "user": "daemon"}
    program = read_programs(tmp_path, rendered(render, tmp_path, item))["w"]
    printed = subprocess.run(
        shlex.split(program.command), capture_output=True, text=True, check=True, env={"HOME": "/root", "PATH": "/bin"}
    ).stdout
    assert printed == "/usr/sbin daemon\n"
    assert program.uid == 1


JOB: dict[str, Any] = {
    "name": "shop.nightly",
    "command": ["/bin/echo", *NASTY],
    "user": "root",
    "schedule": "0 4 * * 1",
}


def test_scheduled_program_becomes_a_script_that_passes_every_word(render: Any, tmp_path: Path) -> None:
    show = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['A'], os.environ['HOME'], os.getcwd()]))"
    log = tmp_path / "a log"
    item = {
        **JOB,
        "command": ["/usr/bin/env", "python3", "-c", show, *NASTY],
        "environment": {"A": "it's 100%"},
        "directory": str(tmp_path),
        "stdout_logfile": str(log),
    }
    (definition,) = render("supervisor", supervisor_definitions([item]))
    assert definition["schedule"] == "0 4 * * 1"
    script = tmp_path / "script"
    script.write_text(definition["content"])
    subprocess.run(["/bin/sh", str(script)], check=True, env={"PATH": "/usr/bin:/bin"})
    assert json.loads(log.read_text()) == [NASTY, "it's 100%", "/root", str(tmp_path)]
