# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Programs that the filters define, run by the shell as supervisor runs them."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.supervisor_definitions import supervisor_definitions
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_cron import plan_schedule
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import instantiate
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_paths import Paths, program_file
from supervisor_files import NASTY, read_programs, rendered


def test_environment_and_arguments_arrive_exactly(render: Any, tmp_path: Path) -> None:
    show = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['A']]))"
    for value in NASTY:
        item = {"name": "w", "command": ["/usr/bin/env", "python3", "-c", show, *NASTY], "environment": {"A": value}}
        program = read_programs(tmp_path, rendered(render, tmp_path, item))["w"]
        command, variables = shlex.split(program.command), {"PATH": "/usr/bin:/bin", **program.environment}
        printed = subprocess.run(command, capture_output=True, text=True, check=True, env=variables).stdout
        assert json.loads(printed) == [NASTY, value]


@pytest.mark.attack("21", "An account reads a secret of a program from its command line, or from its file")
@pytest.mark.parametrize("secret", ["hunter2", "hun'ter\"2; #%"])
def test_no_secret_of_a_program_is_public(render: Any, tmp_path: Path, secret: str) -> None:
    for user in ("root", "daemon"):
        item = {"name": "w", "command": ["/bin/w"], "environment": {"A": secret, "B": "b"}, "user": user}
        content = rendered(render, tmp_path, {**item, "settings": {"environment": "C='c'"}})
        program = read_programs(tmp_path, content)["w"]
        assert "hun" not in program.command
        assert program.environment.keys() == {"PYWEB_A", "PYWEB_B", "C"}
        assert program_file("/etc/w.conf", content).mode == 0o600
    (definition,) = render("supervisor", supervisor_definitions([{**item, "schedule": "0 4 * * 1"}]))
    assert "hun" not in [line for line in definition["content"].split("\n") if line.startswith("exec ")][-1]
    files = plan_schedule({"kind": "program", **definition}, Paths(f"{tmp_path}/supervisord.conf", str(tmp_path)))
    assert [file.mode for file in files] == [0o700, 0o644]
    assert program_file("/etc/w.conf", rendered(render, tmp_path, {"name": "w", "command": ["/bin/w"]})).mode == 0o644


@pytest.mark.attack(
    "21", "A variable of a program, such as LD_PRELOAD, names a file of the application, and root loads it"
)
def test_variables_have_no_effect_before_the_account_changes(render: Any, tmp_path: Path) -> None:
    item = {"name": "w", "command": ["/bin/w"], "environment": {"LD_PRELOAD": "/srv/x.so"}, "user": "daemon"}
    program = read_programs(tmp_path, rendered(render, tmp_path, {**item, "group": "www-data"}))["w"]
    assert program.environment == {"PYWEB_LD_PRELOAD": "/srv/x.so"}
    words = shlex.split(program.command)
    assert "LD_PRELOAD" not in " ".join(words[: words.index("/usr/bin/setpriv")])
    (definition,) = render("supervisor", supervisor_definitions([{**item, "schedule": "0 4 * * 1"}]))
    before, _setpriv, after = definition["content"].partition("exec /usr/bin/setpriv")
    assert "export LD_PRELOAD" not in before
    assert "export LD_PRELOAD" in after


def test_variables_of_the_account_can_be_set(render: Any, tmp_path: Path) -> None:
    own = {"HOME": "/srv", "USER": "me", "LOGNAME": "me"}
    item = {"name": "w", "command": ["/bin/sh", "-c", 'echo "$HOME" "$USER"'], "user": "daemon", "environment": own}
    program = read_programs(tmp_path, rendered(render, tmp_path, item))["w"]
    variables = {"PATH": "/usr/bin:/bin", **program.environment}
    printed = subprocess.run(shlex.split(program.command), capture_output=True, text=True, check=True, env=variables)
    assert printed.stdout == "/srv me\n"


def test_a_template_has_its_instance_in_variables(render: Any, tmp_path: Path) -> None:
    item = {"name": "shop@", "command": ["/usr/bin/env"], "environment": {"A": "%i 100% %%i it's"}}
    content = instantiate(rendered(render, tmp_path, item), "20261121T010735Z-ab12cd34")
    program = read_programs(tmp_path, content)["shop-20261121T010735Z-ab12cd34"]
    printed = subprocess.run(
        shlex.split(program.command), capture_output=True, text=True, check=True, env=dict(program.environment)
    )
    assert "A=20261121T010735Z-ab12cd34 100% %20261121T010735Z-ab12cd34 it's\n" in printed.stdout


def test_account_gets_its_own_home(render: Any, tmp_path: Path) -> None:
    item = {"name": "w", "command": ["/bin/sh", "-c", 'echo "$HOME" "$USER"'], "user": "daemon"}
    program = read_programs(tmp_path, rendered(render, tmp_path, item))["w"]
    printed = subprocess.run(
        shlex.split(program.command), capture_output=True, text=True, check=True, env={"HOME": "/root", "PATH": "/bin"}
    ).stdout
    assert printed == "/usr/sbin daemon\n"
    # Root starts setpriv, which drops all privileges.
    assert program.uid == 0
    assert "--reuid=daemon" in shlex.split(program.command)


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
