# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Mistakes that the controller finds: one clear message each, before any connection to a host.

All cases of a playbook are hosts of one run. Their address leads nowhere, so a connection would make a host unreachable
instead of failed.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

import pytest
from pyweb_mistakes import NGINX_PLAYBOOK, ON_CONTROLLER, assert_told, case_name, variables
from pyweb_playbooks import Run, ansible_playbook

NOWHERE = {"ansible_host": "192.0.2.1", "ansible_port": 9, "ansible_ssh_common_args": "-o ConnectTimeout=1"}
# The playbook and the group of hosts that it is for, with the role nginx alone and with everything.
PLAYBOOKS = {True: (NGINX_PLAYBOOK, "bad_input"), False: ("pyweb.stack.site", "web")}


def host_of(case: dict[str, Any]) -> str:
    return f"case-{ON_CONTROLLER.index(case)}"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Run]:
    """One run of each playbook, by whether it is that of the role nginx. Parallel test processes share the runs."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    record = folder / "bad-input.json"
    with (folder / "bad-input.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            done = {nginx: run(nginx, tmp_path_factory) for nginx in PLAYBOOKS}
            record.write_text(json.dumps([[nginx, one.status, one.output] for nginx, one in done.items()]))
    return {nginx: Run(status, output) for nginx, status, output in json.loads(record.read_text())}


def run(nginx: bool, tmp_path_factory: pytest.TempPathFactory) -> Run:
    playbook, group = PLAYBOOKS[nginx]
    hosts = {
        host_of(case): {**NOWHERE, **variables(case, tmp_path_factory.mktemp("source"))}
        for case in ON_CONTROLLER
        if ("nginx" in case) == nginx
    }
    inventory = tmp_path_factory.mktemp("inventory") / "hosts.json"
    inventory.write_text(json.dumps({group: {"hosts": hosts}}))
    return ansible_playbook(playbook, inventory, "--forks", "8")


@pytest.mark.parametrize("case", ON_CONTROLLER, ids=case_name)
def test_a_mistake_is_told_before_a_host_is_asked(case: dict[str, Any], runs: dict[bool, Run]) -> None:
    run, host = runs["nginx" in case], host_of(case)
    assert_told(case, run, host)
    counts = run.counts(host)
    assert (counts["unreachable"], counts["changed"]) == (0, 0)


def test_a_case_that_asked_its_host_would_be_noticed(tmp_path_factory: pytest.TempPathFactory) -> None:
    inventory = tmp_path_factory.mktemp("inventory") / "hosts.json"
    good = variables({"hello": {}}, tmp_path_factory.mktemp("source"))
    inventory.write_text(json.dumps({"web": {"hosts": {"good": {**NOWHERE, **good}}}}))
    assert ansible_playbook("pyweb.stack.site", inventory).counts("good")["unreachable"] == 1


def test_settings_without_effect_are_announced(tmp_path_factory: pytest.TempPathFactory) -> None:
    inventory = tmp_path_factory.mktemp("inventory") / "hosts.json"
    both = variables({"hello": {"uwsgi": {"cheaper": 2}}}, tmp_path_factory.mktemp("source"))
    inventory.write_text(json.dumps({"web": {"hosts": {"good": {**NOWHERE, **both}}}}))
    said = " ".join(ansible_playbook("pyweb.stack.site", inventory).output.split())
    assert "[WARNING]: webapps 'hello'.uwsgi: cheaper: no effect, because gunicorn serves the application" in said
