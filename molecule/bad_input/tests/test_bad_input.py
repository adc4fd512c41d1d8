# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Whatever a host finds wrong with an inventory: one clear message, and nobody who is served notices.

A case in which a release starts is tried on both hosts, because their process managers differ. Any other is tried
on one of them, while the other host has another case of the same run. tests/local/test_bad_input.py has the cases that
the controller finds; a sample of them is tried here, too.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import testinfra
import yaml
from pyweb_data import each
from pyweb_mistakes import INVENTORY, NGINX_PLAYBOOK, ON_CONTROLLER, assert_told, case_name, variables
from pyweb_playbooks import Run
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

HOSTS = ("bad-input-systemd", "bad-input-noinit")
SAMPLE = ("an unknown key of an application", "nginx alone, an unknown key of a site")
CASES = [
    *({**case, "fails": "preflight"} for case in ON_CONTROLLER if case["case"] in SAMPLE),
    *yaml.safe_load((Path(__file__).parent / "cases.yml").read_text()),
]


def planned(cases: list[dict[str, Any]]) -> list[dict[str, dict[str, Any]]]:
    """The runs: which case each host has in it."""
    runs: list[dict[str, dict[str, Any]]] = []
    waiting: dict[tuple[str, bool], dict[str, dict[str, Any]]] = {}
    for case in cases:
        kind = (case["fails"], "nginx" in case)
        if case["fails"] == "activate":
            runs.append(dict.fromkeys(HOSTS, case))
        elif kind in waiting:
            waiting.pop(kind)[HOSTS[1]] = case
        else:
            runs.append({HOSTS[0]: case})
            waiting[kind] = runs[-1]
    return runs


RUNS = planned(CASES)


def parameter(case: dict[str, Any]) -> Any:
    """Every fourth run is the sample."""
    number = next(number for number, cases in enumerate(RUNS) if case in cases.values())
    return pytest.param(case, id=case_name(case), marks=[pytest.mark.matrix] if number % 4 else [])


# What is there: files by their times and content, links, processes, accounts. What a process itself writes (logs,
# sockets) is left out.
LOOK = r"""
import glob, hashlib, json, os, pwd, re
def entry(path):
    found = os.lstat(path)
    what = [oct(found.st_mode), found.st_uid, found.st_gid]
    if os.path.islink(path):
        return [*what, os.readlink(path)]
    if os.path.isfile(path):
        # Files of nginx name their own folder.
        content = re.sub(rb"pyweb/trees/[^/]+/", b"live/", open(path, "rb").read())
        return [*what, found.st_mtime_ns, hashlib.sha256(content).hexdigest()]
    return what
files = {}
for top in ("/etc/nginx", "/etc/systemd/system", "/etc/supervisor"):
    for base, folders, names in os.walk(top):
        for path in [base, *(os.path.join(base, name) for name in names + folders)]:
            files[path] = entry(path)
apps = {}
for home in sorted(glob.glob("/srv/webapps/*")):
    links = [name for name in ("current", "current.sock") if os.path.islink(f"{home}/{name}")]
    apps[os.path.basename(home)] = {
        "links": {name: os.readlink(f"{home}/{name}") for name in links},
        "releases": {
            os.path.basename(os.path.dirname(path)): json.load(open(path))["state"]
            for path in glob.glob(f"{home}/releases/*/release.json")
        },
        "folders": len(glob.glob(f"{home}/releases/*")),
    }
masters = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
        status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status").read().splitlines())
    except OSError:
        continue
    line = b" ".join(words).decode(errors="replace").strip()
    # Not workers: nginx's come and go with a reload.
    if (b"/srv/webapps/" in b" ".join(words) or "nginx: master" in line) and "su -c" not in line:
        masters[pid] = line[:200]
accounts = {owner.pw_name: owner.pw_dir for owner in pwd.getpwall()}
print(json.dumps({"files": files, "apps": apps, "processes": masters, "accounts": accounts}))
"""


@dataclass
class Outcome:
    """A run, and what the hosts were like before and after it."""

    run: Run
    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="session")
def hosts(scenario_inventory) -> dict[str, Host]:
    """All hosts of the scenario: one run concerns them all at once."""
    found = testinfra.get_hosts(["ansible://bad_input"], ansible_inventory=scenario_inventory, sudo=True)
    return {host.backend.host: host for host in found}


@pytest.fixture(scope="session")
def addresses(scenario_inventory, hosts) -> dict[str, str]:
    runner = AnsibleRunner.get_runner(scenario_inventory)
    return {name: runner.get_variables(name)["ansible_host"] for name in hosts}


@pytest.fixture(scope="session")
def look(hosts, addresses) -> Callable[[], dict[str, Any]]:
    """Looks at every host, from inside and as a visitor of the two good applications."""
    session = requests.Session()
    session.trust_env = False

    def release(address: str, domain: str) -> str:
        answer = session.get(f"http://{address}/facts", headers={"Host": domain}, timeout=10)
        assert answer.status_code == 200, f"{domain or address} answers {answer.status_code}"
        return answer.json()["release"]

    def look_at(name: str) -> dict[str, Any]:
        address = addresses[name]
        served = {"hello": release(address, "hello.example.com"), "neighbour": release(address, address)}
        return {**json.loads(hosts[name].check_output("python3 -c %s", LOOK)), "served": served}

    def look_at_all() -> dict[str, Any]:
        with ThreadPoolExecutor() as pool:
            return dict(zip(hosts, pool.map(look_at, hosts), strict=True))

    return look_at_all


@pytest.fixture(scope="session")
def obstacles(hosts):
    """On every host, a program that has port 8081, and an account that was there before."""
    serve = "setsid python3 -m http.server 8081 --directory /srv >/dev/null 2>&1 </dev/null & echo $!"
    pids = {}
    for name, host in hosts.items():
        host.check_output("id legacy || useradd --system --home-dir /var/lib/legacy legacy")
        pids[name] = host.check_output("sh -c %s", serve)
    yield
    for name, host in hosts.items():
        host.check_output("kill %s; userdel legacy", pids[name])


@pytest.fixture(scope="session")
def outcome_of(obstacles, look, run_playbook, tmp_path_factory) -> Callable[[dict[str, Any]], Outcome]:
    """The outcome of a case; the hosts that have cases of the same run have it at once."""
    outcomes: dict[int, Outcome] = {}
    # As it was provisioned, also where these tests have run before.
    assert run_playbook("pyweb.stack.site").status == 0
    last = look()

    def outcome(case: dict[str, Any]) -> Outcome:
        nonlocal last
        number = next(number for number, cases in enumerate(RUNS) if case in cases.values())
        if number not in outcomes:
            cases = RUNS[number]
            given = {name: variables(one, tmp_path_factory.mktemp("source")) for name, one in cases.items()}
            playbook = NGINX_PLAYBOOK if "nginx" in case else "pyweb.stack.site"
            run = run_playbook(playbook, each(given), "--limit", ",".join(cases))
            before, last = last, look()
            outcomes[number] = Outcome(run, before, last)
        return outcomes[number]

    return outcome


@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_a_mistake_is_told_and_nobody_notices(case, outcome_of):
    outcome = outcome_of(case)
    assert outcome.run.status == 2
    tried = [name for cases in RUNS for name, one in cases.items() if one is case]
    told = [name for name in tried if outcome.run.counts(name)["failed"]]
    assert told == tried
    # Release commands run on one host, and the hosts after the one that fails do not switch.
    once = case.get("once") or case["fails"] == "activate"
    for name in told[:1] if once else told:
        assert_told(case, outcome.run, name)
    for name in told[1:] if once else []:
        assert f"failed on {told[0]}, so this host does not switch" in outcome.run.failure(name)
    for name in tried:
        after = outcome.after[name]
        if once and name != told[0]:
            after = without_definitions(outcome.before[name], after)
        assert_unnoticed(case, outcome.before[name], after)


def without_definitions(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Without the new definitions of processes: a host that does not switch keeps its build, which needs them."""
    new = {
        path for path in after["files"] if path not in before["files"] and re.search(r"\.\w+@\.(conf|service)$", path)
    }
    return {**after, "files": {path: entry for path, entry in after["files"].items() if path not in new}}


def assert_unnoticed(case: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    """What served before serves on: the same releases, by the same processes, behind the same configuration."""
    assert after["served"] == before["served"]
    assert after["processes"] == before["processes"]
    for app in ("hello", "neighbour"):
        assert after["apps"][app]["links"] == before["apps"][app]["links"]
    if case["fails"] == "preflight":
        assert after == before
    elif not has_newcomer(before) and not has_newcomer(after):
        assert after["files"] == before["files"]
    else:
        # The site and the programs of an application that never was come with one run, and go with the next.
        assert kept_files(after) == kept_files(before)


def has_newcomer(look: dict[str, Any]) -> bool:
    return any("newcomer" in path for path in live_files(look))


def live_files(look: dict[str, Any]) -> dict[str, list[Any]]:
    """The files, and those of nginx's live configuration by their places in it, without times."""
    tree = f"/etc/nginx/pyweb/{look['files']['/etc/nginx/pyweb/current'][-1]}"
    found = {}
    for path, entry in look["files"].items():
        if path.startswith(tree):
            found[f"live{path.removeprefix(tree)}"] = [*entry[:3], *entry[4:]] if len(entry) == 5 else entry
        elif not path.startswith("/etc/nginx/pyweb/"):
            found[path] = entry
    return found


def kept_files(look: dict[str, Any]) -> dict[str, list[Any]]:
    """The files that have nothing to do with the newcomer."""
    return {path: entry for path, entry in live_files(look).items() if "newcomer" not in path}


@pytest.fixture(scope="module")
def mended(outcome_of, run_playbook, look):
    """After all the mistakes: a good change of hello, and the newcomer given up. Then the same run again."""
    apps = copy.deepcopy(INVENTORY["webapps"])
    apps[0]["env"]["GREETING"] = "mended"
    apps.append({"name": "newcomer", "state": "absent", "purge": True})
    before = look()
    runs = [run_playbook("pyweb.stack.site", {"webapps": apps}) for _ in range(2)]
    return Outcome(runs[0], before, look()), runs[1]


def test_a_good_run_mends_it_all(host, mended):
    outcome, again = mended
    name = host.backend.host
    assert (outcome.run.status, again.status) == (0, 0)
    assert outcome.after[name]["served"]["hello"] != outcome.before[name]["served"]["hello"]
    assert outcome.after[name]["served"]["neighbour"] == outcome.before[name]["served"]["neighbour"]
    assert again.counts(name)["changed"] == 0


def test_no_mistake_leaves_an_orphan(host, mended):
    now = mended[0].after[host.backend.host]
    assert set(now["apps"]) == {"hello", "neighbour"}
    # nginx keeps the tree before the live one as a way back.
    live = now["files"]["/etc/nginx/pyweb/current"][-1]
    kept = [path for path in now["files"] if "/pyweb/trees/" not in path or os.path.basename(live) in path]
    assert not [path for path in kept if re.search("newcomer|shop|legacy", path)]
    assert not {"newcomer", "shop", "shop-admin"} & set(now["accounts"])
    assert now["accounts"]["legacy"] == "/var/lib/legacy"
    for app, live in now["served"].items():
        assert_few(now["apps"][app], good=2 if app == "hello" else 1)
        assert now["apps"][app]["links"]["current"] == f"releases/{live}"
        masters = [line for line in now["processes"].values() if f"/srv/webapps/{app}/" in line]
        assert masters
        assert all(live in line for line in masters)
        assert sorted(host.file(f"/run/webapps/{app}.sockets").listdir()) == [f"{live}.sock", f"{live}.uwsgi.sock"]


def test_failures_do_not_pile_up(host, mended):
    """Also before a good run tidies up."""
    before = mended[0].before[host.backend.host]
    assert_few(before["apps"]["hello"], good=2)
    assert_few(before["apps"]["neighbour"], good=1)


def assert_few(app: dict[str, Any], good: int) -> None:
    """The live release and the one before it; of the failures, and of those that never started, the last."""
    states = list(app["releases"].values())
    assert len(states) == app["folders"]
    assert 1 <= states.count("good") <= good
    assert states.count("bad") <= 1
    assert states.count("built") <= 1
    assert "building" not in states
