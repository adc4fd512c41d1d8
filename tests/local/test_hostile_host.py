# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A managed host that sends false facts, in real runs of Ansible: the controller reads and runs nothing for it."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import checked_builds
from host_facts import GOOD

CHECKOUT = Path(__file__).resolve().parents[2]
MARKER = "the-secret-of-the-controller"


# Records all input, and answers every module with the hostile facts.
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


def play(
    folder: Path, answer: dict[str, Any], playbook: str, extra: Sequence[str] = (), source: Any = None
) -> tuple[str, bytes]:
    """The output of a run against the hostile host, and the data that was sent to it."""
    (folder / "secrets").mkdir()
    (folder / "secrets/key").write_text(MARKER)
    (folder / "good").mkdir()
    (folder / "good/shop.py").write_text("app = None\n")
    (folder / "answer").write_text(json.dumps(answer))
    liar = folder / "python3"
    log = folder / "log"
    liar.write_text(LIAR.format(python=sys.executable, log=str(log), answer=str(folder / "answer")))
    liar.chmod(0o755)
    good = {"name": "shop", "source": source or {"path": str(folder / "good")}, "wsgi": "shop:app"}
    host = {"ansible_connection": "local", "ansible_python_interpreter": str(liar), "webapps": [good]}
    (folder / "hosts.yml").write_text(json.dumps({"web": {"hosts": {"liar": host}}}))
    (folder / "play.yml").write_text(playbook)
    done = subprocess.run(
        [
            "ansible-playbook",
            "-i",
            str(folder / "hosts.yml"),
            str(folder / "play.yml"),
            "-e",
            "ansible_become=false",
            *extra,
        ],
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
    """The content of a packed source; empty for any other text."""
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


@pytest.mark.attack("1", "A managed host names the operator's folder as a source")
def test_facts_of_the_first_module_name_no_source(tmp_path: Path) -> None:
    answer = {"changed": False, "ansible_facts": {"pyweb": GOOD, "webapps": hostile_facts(tmp_path)["webapps"]}}
    _printed, sent = play(tmp_path, answer, SITE)
    # Every answer passes an action of ours, which drops these facts. The source of the inventory is sent.
    assert b"app = None" in sent
    assert MARKER.encode() not in sent


@pytest.mark.attack("1", "A managed host returns inputs as facts of a stock module")
@pytest.mark.parametrize("before", [STOCK, GATHERED], ids=["stock module", "gathered"])
def test_facts_of_other_modules_are_refused(tmp_path: Path, before: str) -> None:
    answer = {"changed": False, "ansible_facts": {"pyweb": GOOD, **hostile_facts(tmp_path)}}
    printed, sent = play(tmp_path, answer, before + SITE)
    assert "liar reports facts that have the names of inputs: nginx_ca_key, webapps" in " ".join(printed.split())
    assert MARKER.encode() not in sent


@pytest.mark.attack("2", "A managed host answers a command of rolling.yml with facts that name tasks of the controller")
@pytest.mark.parametrize("name", ["tasks", "roles"])
def test_facts_choose_no_tasks_of_rolling(tmp_path: Path, name: str) -> None:
    files = tmp_path / "fetched/tasks"
    files.mkdir(parents=True)
    (files / "main.yml").write_text("- ansible.builtin.debug: {msg: 'chosen by the host'}\n")
    facts = {"tasks": str(files / "main.yml"), "roles": str(files.parent)}
    answer = {"changed": False, "rc": 0, "ping": "pong", "ansible_facts": {name: facts[name]}}
    rolling = f"- ansible.builtin.import_playbook: {CHECKOUT}/playbooks/rolling.yml\n"
    printed, _sent = play(tmp_path, answer, rolling, ["-e", "command=true", "-e", "healthy=1"])
    assert "Run the command" in printed
    assert "Wait for the connection" in printed
    assert "chosen by the host" not in printed


# A variable in each place of an inventory. The source.path of an application may contain one.
VARIABLES = {"group_vars/web.yml": "a_folder", "host_vars/liar.yml": "b_folder", "group_vars/all/paths.yml": "c_folder"}


@pytest.mark.attack("1", "A managed host returns facts with the names of the inventory's own variables")
@pytest.mark.parametrize("beside", ["inventory", "playbook"])
def test_facts_replace_no_variable_of_the_inventory(tmp_path: Path, beside: str) -> None:
    place = tmp_path if beside == "inventory" else tmp_path / "plays"
    for file, name in VARIABLES.items():
        (place / file).parent.mkdir(parents=True)
        (place / file).write_text(f"{name}: /srv/shop\n")
    site = f"{CHECKOUT}/playbooks/site.yml" if beside == "inventory" else "site.yml"
    if beside == "playbook":
        (place / "site.yml").write_text((CHECKOUT / "playbooks/site.yml").read_text())
        (place / "tasks").symlink_to(CHECKOUT / "playbooks/tasks")
    answer = {"changed": False, "ansible_facts": {"pyweb": GOOD, **dict.fromkeys(VARIABLES.values(), "/root")}}
    before = STOCK + f"\n- ansible.builtin.import_playbook: {place / site}\n"
    printed, _sent = play(tmp_path, answer, before)
    assert "liar reports facts that have the names of inputs: a_folder, b_folder, c_folder" in " ".join(printed.split())


@pytest.mark.attack("1", "A fact sets a variable that a template of the inventory names and nothing defines")
@pytest.mark.parametrize(
    "template", ["{{{{ shop_path | default('{}') }}}}", "{{{{ lookup('vars', 'shop_path', default='{}') }}}}"]
)
def test_facts_fill_no_variable_of_a_template(tmp_path: Path, template: str) -> None:
    answer = {"changed": False, "ansible_facts": {"pyweb": GOOD, "shop_path": str(tmp_path / "secrets")}}
    source = {"path": template.format(tmp_path / "good")}
    printed, sent = play(tmp_path, answer, STOCK + SITE, source=source)
    assert "liar reports facts that have the names of inputs: shop_path" in " ".join(printed.split())
    assert MARKER.encode() not in sent


BUILD = {"name": "shop", "candidate": "20261129T000000Z-ab12cd34", "action": "build", "activate": True, "current": ""}


@pytest.mark.attack("1", "The answer of one host about its builds ends the run of all others")
@pytest.mark.parametrize(
    "lie", [[{"name": "shop"}], ["shop"], 5, [BUILD, BUILD], [{**BUILD, "name": "blog"}], [{**BUILD, "candidate": 5}]]
)
def test_a_build_of_the_wrong_kind_names_its_host(lie: Any) -> None:
    with pytest.raises(AnsibleActionFail, match="liar answered with a build of the wrong kind"):
        checked_builds(lie, ["shop", "other"], "liar")


def test_builds_of_the_right_kind_are_taken() -> None:
    builds = [BUILD, {**BUILD, "name": "other", "candidate": None}]
    assert checked_builds(builds, ["shop", "other"], "web1") == builds


@pytest.mark.attack("19", "Names of files and messages of servers bring escape sequences to the operator's terminal")
@pytest.mark.parametrize("callback", ["default", "pyweb.stack.bare"])
def test_names_in_a_source_do_not_reach_the_terminal_raw(
    tmp_path: Path, callback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", callback)
    monkeypatch.setenv("ANSIBLE_NOCOLOR", "true")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../x\x1b]0;pwned\x07\x1b[2J"))
    answer = {"changed": False, "ansible_facts": {"pyweb": GOOD}}
    printed, _sent = play(tmp_path, answer, SITE, source={"archive": str(tmp_path / "a.tar.gz")})
    assert "hostile member" in printed
    assert "pwned" in printed
    assert "\x1b" not in printed


@pytest.mark.attack("1", "A managed host returns facts of a wrong type")
def test_facts_of_the_wrong_kind_name_the_host(tmp_path: Path) -> None:
    printed, _sent = play(tmp_path, {"ansible_facts": {"pyweb": ["{{ lookup('pipe', 'id') }}"]}}, SITE)
    assert "liar answered with facts of the wrong kind: pyweb is list" in " ".join(printed.split())
    assert "uid=" not in printed


LOGS = f"- ansible.builtin.import_playbook: {CHECKOUT}/playbooks/logs.yml\n"


@pytest.mark.attack("19", "A log of an application holds terminal control characters")
@pytest.mark.parametrize("callback", ["default", "pyweb.stack.bare"])
def test_no_log_of_a_host_reaches_the_terminal_raw(
    tmp_path: Path, callback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", callback)
    monkeypatch.setenv("ANSIBLE_NOCOLOR", "true")
    logs = ["one\x1b[2J\x1b]0;x\x07", "\x9b31m\u202egnp\u2028two"]
    printed, _sent = play(tmp_path, {"changed": False, "logs": logs, "msg": "\x1b[2J"}, LOGS, ["-e", "app=shop"])
    assert "one" in printed
    assert not re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", printed)


@pytest.mark.attack("19", "An error of a host holds terminal control characters")
def test_an_error_of_a_host_does_not_reach_the_terminal_raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "pyweb.stack.bare")
    printed, _sent = play(tmp_path, {"failed": True, "msg": "bad\x1b[2J"}, LOGS, ["-e", "app=shop"])
    assert "bad\\x1b[2J" in printed
    assert "\x1b" not in printed
