# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Lists of groups and hosts that one host has together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyweb_playbooks import ansible_playbook

NOWHERE = {"ansible_host": "192.0.2.1", "ansible_port": 9, "ansible_ssh_common_args": "-o ConnectTimeout=1"}
JOINED = "{{ query('pyweb.stack.joined', 'webapps') }}"


def app(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "wsgi": "shop:app", "source": {"path": "."}, **more}


def inventory(folder: Path, **variables: Any) -> Path:
    """Two hosts: both in the group blog, and web1 in the group shop too."""
    groups = {
        "shop": {"hosts": {"web1": {}}, "vars": {"webapps_shop": [app("shop", wsgy=1)]}},
        "blog": {
            "hosts": {"web1": {}, "web2": {"webapps_web2": [app("own", wsgx=1)]}},
            "vars": {"webapps_blog": "{{ blogs }}", "blogs": [app("blog", wsgz=1)]},
        },
    }
    path = folder / "hosts.json"
    path.write_text(json.dumps({"web": {"children": groups, "vars": {**NOWHERE, "webapps": JOINED, **variables}}}))
    return path


def test_a_host_gets_the_lists_of_its_groups_and_its_own(tmp_path: Path) -> None:
    run = ansible_playbook("pyweb.stack.site", inventory(tmp_path))
    told = {host: run.failure(host) for host in ("web1", "web2")}
    assert told["web1"].startswith("2 problems found")
    assert told["web1"].index("webapps 'blog': unknown key 'wsgz'") < told["web1"].index("webapps 'shop'")
    assert told["web2"].startswith("2 problems found")
    assert "webapps 'blog'" in told["web2"]
    assert "webapps 'own'" in told["web2"]


def test_a_variable_that_is_no_list_is_named(tmp_path: Path) -> None:
    run = ansible_playbook("pyweb.stack.site", inventory(tmp_path, webapps_folder="/srv"))
    assert "webapps_folder is no list" in run.failure("web1")


@pytest.mark.attack("16", "A host reports a fact whose name makes it a part of a joined list")
def test_a_fact_of_a_host_adds_nothing(tmp_path: Path) -> None:
    evil = {"webapps_evil": [app("evil", wsge=1)], "cacheable": True}
    tasks = [
        {"ansible.builtin.set_fact": evil},
        {"ansible.builtin.debug": {"msg": "{{ webapps_evil[0].name }} is set"}},
    ]
    plays = [
        {"hosts": "web", "gather_facts": False, "tasks": tasks},
        {"ansible.builtin.import_playbook": "pyweb.stack.site"},
    ]
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    run = ansible_playbook(
        str(tmp_path / "play.yml"), inventory(tmp_path), environment={"ANSIBLE_INJECT_FACT_VARS": "true"}
    )
    assert "evil is set" in run.output
    assert "webapps 'blog'" in run.failure("web1")
    assert "'evil'" not in run.failure("web1")
