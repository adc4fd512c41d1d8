# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Mistakes in the inputs of a role that is used alone: the message by itself, before the host is asked."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pyweb_mistakes import INTERNALS
from pyweb_playbooks import Run, ansible_playbook

NOWHERE = {"ansible_host": "192.0.2.1", "ansible_port": 9, "ansible_ssh_common_args": "-o ConnectTimeout=1"}

SERVICE = {"name": "a", "directory": "/srv/a", "program": "/usr/bin/a"}
WRONG = {**SERVICE, "settings": {"logfile": "-"}}
GUNICORN = {"wsgi_app": "a:b", "bind": "unix:/run/a.sock"}
UWSGI = {"module": "a:b", "socket": "/run/a.sock"}
GRANIAN = {"target": "a:b", "bind": "unix:/run/a.sock"}
SITE = {"name": "shop", "locations": [{"path": "/", "upstream": "http://127.0.0.1:5000"}]}

# The role, its inputs, and what the message says.
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("systemd", {"systemd_services": [{"name": "a b", "command": ["/bin/x"]}]}, "'a b'"),
    ("systemd", {"systemd_services": [{"name": "a", "command": "/bin/x | tee"}]}, "'|' needs a shell"),
    ("systemd", {"systemd_services": [{"name": "a", "command": "/bin/x", "writable_paths": "/srv"}]}, "[/srv]"),
    ("supervisor", {"supervisor_programs": [{"name": "a b", "command": ["/bin/x"]}]}, "'a b'"),
    ("supervisor", {"supervisor_programs": [{"name": "a", "command": "x"}]}, "'x' is not an absolute path"),
    ("supervisor", {"supervisor_packages": "supervisor-doc"}, "[supervisor-doc]"),
    ("supervisor", {"supervisor_group": []}, "Did you mean 'supervisor_groups'?"),
    ("gunicorn", {"gunicorn_services": [{**WRONG, **GUNICORN}]}, "Did you mean 'errorlog'?"),
    ("gunicorn", {"gunicorn_services": [{**SERVICE, **GUNICORN, "program": "/bin/x 'y"}]}, "quote is not closed"),
    ("uwsgi", {"uwsgi_services": [{**WRONG, **UWSGI}]}, "logfile"),
    ("uwsgi", {"uwsgi_services": [{**SERVICE, **UWSGI, "settings": {"wsgi-fle": "x"}}]}, "'wsgi-file'"),
    ("granian", {"granian_services": [{**WRONG, **GRANIAN}]}, "logfile"),
    ("granian", {"granian_services": [{**SERVICE, **GRANIAN, "bind": "x"}]}, "'x' is not an address"),
    ("python", {"python_packages": "libpq-dev"}, "[libpq-dev]"),
    ("nginx", {"nginx_sites": [SITE], "nginx_packages": "nginx-extras"}, "[nginx-extras]"),
    ("nginx", {"nginx_sites": [SITE], "nginx_ca_certificate": "ca.pem", "nginx_ca_key": "x"}, "'ca.pem' is not a file"),
    ("nginx", {"nginx_sites": [{**SITE, "domains": ["a b"]}]}, "'a b'"),
    (
        "nginx",
        {
            "nginx_sites": [
                {**SITE, "domains": ["a.example.com"], "tls": {"mode": "provided", "certificate": "no", "key": "no"}}
            ]
        },
        "'no' is not a file",
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run for all cases: each is a host, whose address leads nowhere."""
    folder = tmp_path_factory.mktemp("roles")
    role = {"ansible.builtin.include_role": {"name": "pyweb.stack.{{ role }}"}}
    play = [{"hosts": "all", "become": True, "gather_facts": False, "tasks": [role]}]
    hosts = {
        f"case-{number}": {**NOWHERE, "role": name, **inputs} for number, (name, inputs, _words) in enumerate(CASES)
    }
    (folder / "play.json").write_text(json.dumps(play))
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    return ansible_playbook(str(folder / "play.json"), folder / "hosts.json", "--forks", "8")


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{role}-{words}" for role, _inputs, words in CASES])
def test_a_mistake_is_told_without_the_words_of_ansible(run: Run, number: int) -> None:
    host, (role, _inputs, words) = f"case-{number}", CASES[number]
    told = run.failure(host)
    assert re.match(rf"\d problems? in the inputs of the role {role}:\n- ", told), run.output
    assert told.endswith("This role has changed nothing.")
    assert words in told
    assert not INTERNALS.search(told)
    assert run.counts(host)["unreachable"] == 0
