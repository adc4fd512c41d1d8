# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Real runs of Ansible on four hosts whose Python answers for the modules: the order of the steps, and lost hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from host_facts import GOOD
from test_hostile_host import SITE

OLD, NEW = "20261101T000000Z-11111111", "20261122T000000Z-22222222"
# The Python of a host. It notes each stage of webapp_activate, and fails in one of them.
ANSWERS = """#!{python}
import ast, json, os, re, sys, time
text = sys.stdin.read()
module = re.search(r"^module_fqn='.*[.](\\w+)'", text, re.M)[1]
given = json.loads(ast.literal_eval(re.search(r"^params=('.*')", text, re.M)[1]))["ANSIBLE_MODULE_ARGS"]
answer = {{"changed": True}}
if module == "preflight":
    answer = {{"changed": False, "ansible_facts": {{"pyweb": {{**json.load(open({facts!r})), "time": time.time()}}}}}}
elif module == "apply":
    results = {{part["role"]: {{"changed": True}} for part in given["parts"]}}
    build = {{"state": "present", "current": {old!r}, "candidate": {new!r}, "action": "build", "activate": True}}
    apps = [part["inputs"]["apps"] for part in given["parts"] if part["role"] == "webapp"]
    if apps:
        stamp = {{"key": "x", "seen": {{}}, "releases": {{}}}}
        results["webapp"] |= {{"apps": [{{**build, "name": app["name"]}} for app in apps[0]], "stamp": stamp}}
    answer["parts"] = results
elif module == "webapp_activate":
    open({log!r}, "a").write("%.3f {host} %s\\n" % (time.time(), given["stage"]))
    names = [app["name"] for app in given["apps"]]
    run, stage, lease, live = given["lease"]["run"], given["stage"], "{host}.lease", "{host}.live"
    os.chdir(os.path.dirname({log!r}))
    holder = open(lease).read() if os.path.exists(lease) else ""
    if holder in given.get("ended_runs", ()):
        os.remove(lease)
        holder = ""
    is_busy = bool(holder) and holder != run
    if stage == "switch" and not is_busy:
        open(lease, "w").write(run)
        time.sleep({seconds})
    elif stage == "commit":
        open(live, "w").write(run)
    if stage in ("commit", "revert") and holder == run:
        os.remove(lease)
    if given["stage"] == {fails!r} or is_busy:
        problems = ["webapps '%s': it is unhealthy, or busy" % name for name in names]
        answer |= {{"apps": [], "failures": {{"names": names, "problems": problems}}}}
    else:
        is_provisional = given["stage"] in ("switch", "confirm", "renew")
        one = {{"release": {new!r}, "replaced": {old!r}, "provisional": is_provisional}}
        answer["apps"] = [{{**one, "name": name}} for name in names]
print(json.dumps(answer))
"""
# An ssh that runs everything here, until the host is lost.
SSH = """#!/bin/sh
for command; do :; done
case "$command" in *python3*) grep -q "{host} {lost}" {log} 2>/dev/null && exit 255;; esac
exec sh -c "$command"
"""


class Web:
    """Four hosts in a folder, and runs on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "shop").mkdir()
        (folder / "shop/shop.py").write_text("app = None\n")
        (folder / "facts").write_text(json.dumps(GOOD))
        self.log = folder / "log"
        self.hosts: dict[str, dict[str, Any]] = {}
        for name in ("web1", "web2", "web3", "web4"):
            self.add(name)

    def program(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)
        return str(self.folder / name)

    def add(self, name: str, fails: str = "", lost: str = "", seconds: float = 0) -> None:
        """A host that fails in a stage, or is lost after one. Its switch takes some ``seconds``."""
        (self.folder / name).mkdir(exist_ok=True)
        given = {"python": sys.executable, "facts": str(self.folder / "facts"), "log": str(self.log), "host": name}
        python = self.program(
            f"{name}/python3", ANSWERS.format(**given, old=OLD, new=NEW, fails=fails, seconds=seconds)
        )
        self.hosts[name] = {"ansible_connection": "local", "ansible_python_interpreter": python}
        if lost:
            ssh = self.program(f"{name}/ssh", SSH.format(host=name, lost=lost, log=self.log))
            self.hosts[name] |= {"ansible_connection": "ssh", "ansible_ssh_executable": ssh}

    def run(self, *arguments: str, **options: Any) -> str:
        """The output of a run."""
        with self.begin(*arguments, **options) as process:
            try:
                return " ".join(process.communicate(timeout=180)[0].split())
            finally:
                process.kill()

    def begin(self, *arguments: str, backwards: bool = False, **rollout: Any) -> subprocess.Popen[str]:
        """A run, in a process group of its own. ``backwards`` is one with the hosts in opposite order."""
        shop = {"name": "shop", "source": {"path": str(self.folder / "shop")}, "wsgi": "shop:app"}
        given = {"webapps": [shop], "ansible_become": False, "webapp_rollout": rollout}
        hosts = dict(reversed(self.hosts.items())) if backwards else self.hosts
        inventory = self.folder / f"hosts{backwards}.yml"
        inventory.write_text(json.dumps({"web": {"hosts": hosts, "vars": given}}))
        (self.folder / "play.yml").write_text(SITE)
        return subprocess.Popen(
            ["ansible-playbook", "-i", str(inventory), str(self.folder / "play.yml"), *arguments],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def steps(self) -> list[tuple[float, str, str]]:
        """The stages of webapp_activate: when, on which host, and which."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(float(at), host, stage) for at, host, stage in map(str.split, lines)]

    def stages(self, host: str) -> list[str]:
        return [stage for _at, name, stage in self.steps if name == host]


@pytest.fixture
def web(tmp_path: Path) -> Web:
    return Web(tmp_path)


def test_hosts_switch_one_batch_after_the_other_with_fewer_forks_than_hosts(web: Web) -> None:
    printed = web.run("-f", "2", batch="2", pause=1)
    switches = [(at, host) for at, host, stage in web.steps if stage == "switch"]
    assert [host for _at, host in switches][:1] == ["web1"]
    assert switches[1][0] - switches[0][0] > 1, "the pause"
    assert [sorted(host for _at, host, stage in web.steps if stage == one) for one in ("confirm", "commit")] == [
        ["web1", "web2", "web3", "web4"]
    ] * 2
    assert f"shop 4 hosts {OLD} → {NEW}" in printed
    assert "failed=0" in printed


def test_a_host_that_is_lost_after_its_switch_turns_the_others_back_at_once(web: Web) -> None:
    web.add("web2", lost="switch")
    printed = web.run()
    assert web.stages("web2") == ["switch"]
    assert [web.stages(host)[-1] for host in ("web1", "web3", "web4")] == ["revert"] * 3
    assert all("commit" not in web.stages(host) for host in web.hosts)
    assert "web2 : ok=" in printed
    assert "unreachable=1" in printed
    assert "shop web2 unknown unreachable" in printed
    assert "if it serves the new release, it goes back at" in printed
    assert "web2 was lost, so this host went back to the release" in printed


def test_a_host_that_fails_in_the_second_batch_turns_the_first_one_back(web: Web) -> None:
    web.add("web2", fails="switch")
    printed = web.run()
    assert {host: web.stages(host) for host in web.hosts} == {
        "web1": ["switch", "revert"],
        "web2": ["switch"],
        "web3": [],
        "web4": [],
    }
    failed, back = (at for at, _host, stage in web.steps[-2:])
    assert back - failed < 3
    assert "shop web3" in printed
    assert "not switched" in printed


def test_a_run_that_is_killed_between_its_commits_is_healed_by_the_next_one(web: Web) -> None:
    with web.begin("-f", "1") as killed:
        lease, live = (web.folder / f"web1.{kind}" for kind in ("lease", "live"))
        assert wait_for(lambda: live.exists() and not lease.exists(), 120)
        os.killpg(killed.pid, signal.SIGKILL)
    time.sleep(1)
    # The host that was asked next may commit as well.
    held = [path.read_text() for path in web.folder.glob("web[34].lease")]
    assert held == [live.read_text()] * 2
    printed = web.run()
    assert list(web.folder.glob("*.lease")) == []
    (revision,) = {(web.folder / f"{host}.live").read_text() for host in web.hosts}
    assert revision not in held
    assert "failed=0" in printed


def test_serial_makes_each_batch_of_ansible_a_rollout(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.add("web4", fails="switch")
    site = (Path(__file__).parents[2] / "playbooks/site.yml").read_text()
    monkeypatch.setattr(
        sys.modules[__name__], "SITE", site.replace("  become: true\n", "  become: true\n  serial: 2\n")
    )
    printed = web.run()
    assert [web.stages(host) for host in web.hosts] == [
        *[["switch", "confirm", "commit"]] * 2,
        ["switch", "revert"],
        ["switch"],
    ]
    assert "each batch is a transaction of its own" in printed


def test_two_controllers_in_opposite_order_never_leave_two_revisions_without_a_failure(web: Web) -> None:
    for name in list(web.hosts):
        web.add(name, seconds=1.5)
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(web.run, backwards=backwards) for backwards in (False, True)]
        printed = [run.result() for run in runs]
    assert list(web.folder.glob("*.lease")) == []
    live = [path.read_text() for path in web.folder.glob("*.live")]
    assert (len(live), len(set(live))) in ((0, 0), (4, 1)), "a revision of one run is on all hosts or on none"
    assert any("it is unhealthy, or busy" in text for text in printed)
    assert sum("failed=0" in text and "failed=1" not in text for text in printed) == len(set(live))
