# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Output of a playbook through the callback for programs: the messages, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PLAY = [
    {"ansible.builtin.assert": {"that": True}},
    {"ansible.builtin.command": "true"},
    {"ansible.builtin.debug": {"msg": "{{ [{'name': 'shop', 'days': none}] | to_nice_json }}"}},
]


def run(folder: Path, tasks: list[dict[str, Any]], groups: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run the tasks, after a play for the ``groups`` if there are any."""
    plays = [
        {"hosts": hosts, "connection": "local", "gather_facts": False, "tasks": tasks}
        for hosts in (groups, "localhost")
        if hosts
    ]
    (folder / "play.yml").write_text(json.dumps(plays))
    program = Path(sys.executable).with_name("ansible-playbook")
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "pyweb.stack.bare", "ANSIBLE_NOCOLOR": "1", **more}
    command = [program, "-i", "localhost,", folder / "play.yml"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_what_is_printed_is_one_document(tmp_path: Path) -> None:
    answer = run(tmp_path, PLAY)
    assert answer.returncode == 0
    assert json.loads(answer.stdout) == [{"name": "shop", "days": None}]


def test_what_an_assertion_and_a_list_have_to_say_is_printed(tmp_path: Path) -> None:
    verified = {"ansible.builtin.assert": {"that": True, "success_msg": "all is well"}}
    assert run(tmp_path, [verified, {"ansible.builtin.debug": {"msg": ["one", "two"]}}]).stdout == (
        "all is well\none\ntwo\n"
    )


def test_what_fails_goes_to_the_standard_error(tmp_path: Path) -> None:
    answer = run(tmp_path, [*PLAY, {"ansible.builtin.fail": {"msg": "no such thing"}}])
    assert answer.returncode == 2
    assert json.loads(answer.stdout) == [{"name": "shop", "days": None}]
    assert answer.stderr == "localhost: no such thing\n"


def test_a_play_for_a_group_that_the_inventory_lacks_prints_nothing(tmp_path: Path) -> None:
    answer = run(tmp_path, PLAY, groups="{{ groups['balancer'] | default([]) }}")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout) == [{"name": "shop", "days": None}]
    assert "no host of the inventory" in run(tmp_path, PLAY, groups="web").stderr


def test_tables_are_lines_in_the_output_of_ansible_itself(tmp_path: Path) -> None:
    """With no ansible.cfg of this project, as for an installed collection."""
    (tmp_path / "empty.cfg").write_text("[defaults]\n")
    table = {"ansible.builtin.debug": {"msg": "{{ 'HOST  APP\n web1  shop' | pyweb.stack.readable }}"}}
    usual = {"ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_CONFIG": str(tmp_path / "empty.cfg")}
    assert '        "HOST  APP",\n        " web1  shop"\n' in run(tmp_path, [table], **usual).stdout
    shown = run(tmp_path, [table], **usual, ANSIBLE_CALLBACK_RESULT_FORMAT="yaml").stdout
    assert "        HOST  APP\n         web1  shop\n" in shown
    assert run(tmp_path, [table]).stdout == "HOST  APP\n web1  shop\n"
