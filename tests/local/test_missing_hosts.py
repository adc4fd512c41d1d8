# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Real runs of Ansible against a host that answers and one that can't be reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from host_facts import GOOD
from test_hostile_host import CHECKOUT, SITE

# The Python of a host: it notes each module, and answers all of them with good facts.
ANSWERS = """#!{python}
import json, sys, time
sys.stdin.read()
open({log!r}, "a").write("+")
answer = json.load(open({answer!r}))
answer["ansible_facts"]["pyweb"]["time"] = time.time()
print(json.dumps(answer))
"""
HERE = "127.0.0.1"
SKIP = {"webapp_rollout": {"unreachable": "skip"}}


def run(folder: Path, *names: str, site: str = SITE, **variables: Any) -> tuple[str, int]:
    """The output of a run, and the number of modules that the hosts have run. Only web3 can't be reached."""
    (folder / "shop").mkdir()
    (folder / "shop/shop.py").write_text("app = None\n")
    answer = {"changed": False, "ansible_facts": {"pyweb": GOOD}}
    (folder / "answer").write_text(json.dumps(answer))
    log = folder / "log"
    host = folder / "python3"
    host.write_text(ANSWERS.format(python=sys.executable, log=str(log), answer=str(folder / "answer")))
    host.chmod(0o755)
    shop = {"name": "shop", "source": {"path": str(folder / "shop")}, "wsgi": "shop:app"}
    good = {"ansible_connection": "local", "ansible_python_interpreter": str(host)}
    # Nothing listens on this port.
    gone = {"ansible_host": HERE, "ansible_port": 1, "ansible_ssh_common_args": "-o ConnectTimeout=5"}
    hosts = {name: gone if name == "web3" else good for name in names}
    given = {"webapps": [shop], "ansible_become": False, **variables}
    (folder / "hosts.yml").write_text(json.dumps({"web": {"hosts": hosts, "vars": given}}))
    (folder / "play.yml").write_text(site)
    done = subprocess.run(
        ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return " ".join((done.stdout + done.stderr).split()), len(log.read_text()) if log.exists() else 0


@pytest.mark.parametrize("skip", [False, True])
def test_a_host_that_cannot_be_reached_stops_the_run_unless_it_is_skipped(tmp_path: Path, skip: bool) -> None:
    printed, modules = run(tmp_path, "web1", "web3", **(SKIP if skip else {}))
    assert "web3 : ok=0 changed=0 unreachable=1" in printed
    if skip:
        assert "web3 can't be reached. This run continues without them" in printed
        assert modules > 1
    else:
        assert "Hosts of this run are missing: web3 (could not be reached). Nothing was built on any host." in printed
        assert "webapp_rollout: {unreachable: skip}" in printed
        assert modules == 1, "the look alone"


def test_a_role_that_takes_part_once_for_all_hosts_has_no_condition(tmp_path: Path) -> None:
    text = (CHECKOUT / "playbooks/site.yml").read_text()
    role = "ansible.builtin.import_role: {name: pyweb.stack.granian, tasks_from: plan}\n      run_once: true\n"
    assert text.count(role) == 1
    site = text.replace(role, role + "      when: inventory_hostname != 'web1'\n")
    printed, modules = run(tmp_path, "web1", "web2", site=site)
    assert "has 'run_once' and the condition [\"inventory_hostname != 'web1'\"]" in printed
    assert "The first host would decide for all. Remove 'run_once' from the import of this role." in printed
    assert modules == 0
