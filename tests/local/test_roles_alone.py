# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Mistakes in the inputs of a role that is used alone: the message by itself, before the host is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyweb_playbooks import ansible_playbook

NOWHERE = {"ansible_host": "192.0.2.1", "ansible_port": 9, "ansible_ssh_common_args": "-o ConnectTimeout=1"}

SERVICE = {
    "name": "a",
    "directory": "/srv/a",
    "program": ["/usr/bin/a"],
    "settings": {"logfile": "-"},
}


@pytest.mark.parametrize(
    ("role", "inputs", "words"),
    [
        ("systemd", {"systemd_services": [{"name": "a b", "command": ["/bin/x"]}]}, "'a b'"),
        ("supervisor", {"supervisor_programs": [{"name": "a b", "command": ["/bin/x"]}]}, "'a b'"),
        (
            "gunicorn",
            {"gunicorn_services": [{**SERVICE, "wsgi_app": "a:b", "bind": "unix:/run/a.sock"}]},
            "Did you mean 'errorlog'?",
        ),
        ("uwsgi", {"uwsgi_services": [{**SERVICE, "module": "a:b", "socket": "/run/a.sock"}]}, "logfile"),
        ("granian", {"granian_services": [{**SERVICE, "target": "a:b", "bind": "unix:/run/a.sock"}]}, "logfile"),
    ],
)
def test_a_mistake_is_told_without_the_words_of_ansible(
    tmp_path: Path, role: str, inputs: dict[str, Any], words: str
) -> None:
    play = [{"hosts": "all", "become": True, "gather_facts": False, "roles": [f"pyweb.stack.{role}"]}]
    (tmp_path / "play.json").write_text(json.dumps(play))
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"h": {**NOWHERE, **inputs}}}}))
    run = ansible_playbook(str(tmp_path / "play.json"), tmp_path / "hosts.json")
    told = run.failure("h")
    assert words in told, run.output
    assert "Finalization" not in run.output
    assert run.counts("h")["unreachable"] == 0
