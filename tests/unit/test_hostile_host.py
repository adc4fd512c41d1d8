# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A managed host that lies: whatever its Python answers, the controller reads and runs nothing for it."""

from __future__ import annotations

import base64
import gzip
import importlib
import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import (
    COMMON,
    FACTS,
    answer_of,
    checked_facts,
    input_names,
    shadow_problem,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import LookAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import releases

CHECKOUT = Path(__file__).resolve().parents[2]
MARKER = "the-secret-of-the-controller"

GOOD: dict[str, Any] = {
    "distribution": {"id": "debian", "version": "12", "codename": "bookworm"},
    "init": "systemd",
    "cpus": 2,
    "memory_bytes": 2**31,
    "packages": [],
    "uv": "",
    "supervisor": False,
    "timers": False,
    "root": True,
    "listeners": [],
    "stamps": {},
    "maintenance": {},
    "clashes": {},
    "interpreters": {"python3": {"path": "/usr/bin/python3", "version": "3.11"}},
    "pythons": ["python3.11"],
    "disks": [],
    "time": 0.0,
    "certificate_problems": [],
}

# Records all that it is sent, and answers any module with the hostile facts.
LIAR = """#!{python}
import json, sys, time
said = sys.stdin.read() if not sys.argv[1:] else open(sys.argv[-1], errors="replace").read()
open({log!r}, "a").write(said)
answer = json.load(open({answer!r}))
facts = answer.get("ansible_facts", {{}})
if isinstance(facts.get("pyweb"), dict):
    facts["pyweb"]["time"] = time.time()
print(json.dumps(answer))
"""


def hostile_facts(folder: Path) -> dict[str, Any]:
    app = {"name": "shop", "source": {"path": str(folder / "secrets")}, "wsgi": "shop:app"}
    return {"webapps": [app], "nginx_ca_key": str(folder / "secrets/key")}


def play(folder: Path, answer: dict[str, Any], playbook: str, extra: str = "") -> tuple[str, bytes]:
    """What a run prints against the liar, and what was sent to it."""
    (folder / "secrets").mkdir()
    (folder / "secrets/key").write_text(MARKER)
    (folder / "good").mkdir()
    (folder / "good/shop.py").write_text("app = None\n")
    (folder / "answer").write_text(json.dumps(answer))
    liar = folder / "python3"
    log = folder / "log"
    liar.write_text(LIAR.format(python=sys.executable, log=str(log), answer=str(folder / "answer")))
    liar.chmod(0o755)
    good = {"name": "shop", "source": {"path": str(folder / "good")}, "wsgi": "shop:app"}
    host = {"ansible_connection": "local", "ansible_python_interpreter": str(liar), "webapps": [good]}
    (folder / "hosts.yml").write_text(json.dumps({"web": {"hosts": {"liar": host}}}))
    (folder / "play.yml").write_text(playbook)
    done = subprocess.run(
        ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml"), "-e", "ansible_become=false"],
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_INJECT_FACT_VARS": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    sent = log.read_text(errors="replace") if log.exists() else ""
    texts = [sent]
    for word in re.findall(r"[A-Za-z0-9+/=]{60,}", sent):
        texts.append(opened(word))
    return done.stdout + done.stderr, "\n".join(texts).encode()


def opened(word: str) -> str:
    """What a packed source holds; nothing for any other text."""
    try:
        return gzip.decompress(base64.b64decode(word + "=" * (-len(word) % 4))).decode(errors="replace")
    except (ValueError, OSError, EOFError, zlib.error):
        return ""


SITE = f"- ansible.builtin.import_playbook: {CHECKOUT}/playbooks/site.yml\n"
STOCK = """
- hosts: web
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
"""
GATHERED = """
- hosts: web
  gather_facts: true
  tasks: []
"""


def test_facts_of_the_first_module_name_no_source(tmp_path: Path) -> None:
    answer = {"changed": False, "ansible_facts": {"pyweb": GOOD, "webapps": hostile_facts(tmp_path)["webapps"]}}
    _printed, sent = play(tmp_path, answer, SITE)
    # Every answer passes an action of ours, which drops these facts. The source of the inventory is sent.
    assert b"app = None" in sent
    assert MARKER.encode() not in sent


@pytest.mark.parametrize("before", [STOCK, GATHERED], ids=["stock module", "gathered"])
def test_facts_of_other_modules_are_refused(tmp_path: Path, before: str) -> None:
    answer = {"changed": False, "ansible_facts": {"pyweb": GOOD, **hostile_facts(tmp_path)}}
    printed, sent = play(tmp_path, answer, before + SITE)
    assert "liar reports facts that have the names of inputs: nginx_ca_key, webapps" in " ".join(printed.split())
    assert MARKER.encode() not in sent


@pytest.mark.parametrize("beside", ["inventory", "playbook"])
@pytest.mark.parametrize("file", ["group_vars/web.yml", "host_vars/liar.yml", "group_vars/all/paths.yml"])
def test_facts_replace_no_variable_of_the_inventory(tmp_path: Path, file: str, beside: str) -> None:
    """Such as one that an application's source.path names."""
    place = tmp_path if beside == "inventory" else tmp_path / "plays"
    (place / file).parent.mkdir(parents=True)
    (place / file).write_text("shop_folder: /srv/shop\n")
    site = f"{CHECKOUT}/playbooks/site.yml" if beside == "inventory" else "site.yml"
    if beside == "playbook":
        (place / "site.yml").write_text((CHECKOUT / "playbooks/site.yml").read_text())
        (place / "tasks").symlink_to(CHECKOUT / "playbooks/tasks")
    answer = {"changed": False, "ansible_facts": {"pyweb": GOOD, "shop_folder": "/root"}}
    before = STOCK + f"\n- ansible.builtin.import_playbook: {place / site}\n"
    printed, _sent = play(tmp_path, answer, before)
    assert "liar reports facts that have the names of inputs: shop_folder" in " ".join(printed.split())


def test_facts_of_the_wrong_kind_name_the_host(tmp_path: Path) -> None:
    printed, _sent = play(tmp_path, {"ansible_facts": {"pyweb": ["{{ lookup('pipe', 'id') }}"]}}, SITE)
    assert "liar answered with facts of the wrong kind: pyweb is list" in " ".join(printed.split())
    assert "uid=" not in printed


@pytest.mark.parametrize("name", FACTS)
def test_every_fact_has_its_type(name: str) -> None:
    assert checked_facts({**GOOD, "sources": {"shop": {"path": "/etc"}}}, "web1") == GOOD
    with pytest.raises(AnsibleActionFail, match=rf"web1 .* pyweb\.{name} is NoneType"):
        checked_facts({**GOOD, name: None}, "web1")


def test_an_answer_holds_nothing_that_ansible_acts_upon() -> None:
    acted_upon = (
        "ansible_facts add_host add_group ansible_stats ansible_job_id results skipped unreachable failed_when_result "
        "_ansible_notify _ansible_facts_cacheable"
    )
    hostile = {name: {"x": 1} for name in acted_upon.split()}
    answer = answer_of({"changed": True, "apps": [], "warnings": ["w"] * 1000, **hostile}, ("apps",))
    assert answer == {"changed": True, "apps": [], "warnings": ["w"] * 200}


@pytest.mark.parametrize("name", sorted(input_names()))
def test_no_input_is_taken_from_facts(name: str) -> None:
    assert name in shadow_problem({"ansible_facts": {name: 1}, "inventory_hostname": "web1"})


def test_usual_facts_are_no_inputs() -> None:
    facts = {"distribution": "Debian", "python_version": "3.11", "pyweb": GOOD, "local": {}, "env": {}, "packages": {}}
    assert shadow_problem({"ansible_facts": facts, "inventory_hostname": "web1"}) == ""


def test_settled_sources_hold_a_commit_and_nothing_else() -> None:
    app = {"name": "shop", "source": {"git": "https://git.example.com/shop.git"}, "wsgi": "shop:app"}
    lies = {"commit": "--upload-pack=x", "path": "/root/.ssh", "key": "/root/.ssh/id", "git": "ext::sh -c id"}
    source = releases([app], {**GOOD, "sources": {"shop": lies}})[0]["source"]
    assert source["git"] == "https://git.example.com/shop.git"
    assert not ({"commit"} & set(source) and source["commit"])
    assert not source.get("path")
    assert not source.get("key")


@pytest.mark.parametrize("path", sorted((CHECKOUT / "plugins/action").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_module_documents_is_passed_on(path: Path) -> None:
    action = importlib.import_module(f"ansible_collections.pyweb.stack.plugins.action.{path.stem}").ActionModule
    module = importlib.import_module(f"ansible_collections.pyweb.stack.plugins.modules.{path.stem}")
    # The look checks the facts of the host itself, and passes no others on.
    checked = {"ansible_facts"} if issubclass(action, LookAction) else set()
    assert set(yaml.safe_load(module.RETURN) or {}) <= action.returns | COMMON | checked
