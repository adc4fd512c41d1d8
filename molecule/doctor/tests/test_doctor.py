# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Whatever is broken on a host: the doctor names it, its cause and the remedy, and changes nothing.

Each case of cases.yml is one run against all hosts that can have it, and one test for each of them.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import testinfra
import yaml
from pyweb_playbooks import Run
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parents[2]
sys.path.append(str(CHECKOUT / "tests" / "unit"))
from certificate_factory import make  # noqa: E402  # see above

CASES = yaml.safe_load((TESTS / "cases.yml").read_text())
SECRET = "no-message-shows-this"
WELL = "rm -f $home/shared/mood/mood"

PRELUDE = r"""
name=ailing
home=/srv/webapps/$name
release=$(basename "$(readlink $home/current)")
source=$home/releases/$release/src
socket=/run/webapps/$name/$release.sock
if [ -d /run/systemd/system ]; then
    web() { systemctl "$1" "$name@$release"; }
    reborn() { systemctl --no-block restart "$name@$release"; }
    again() { systemctl reset-failed "$name@$release"; systemctl restart "$name@$release"; }
    front() { systemctl "$1" nginx; }
else
    web() { supervisorctl "$1" "$name-$release"; }
    reborn() { supervisorctl restart "$name-$release" >/dev/null 2>&1 & }
    again() { supervisorctl restart "$name-$release"; }
    front() {
        if [ $1 = start ]; then nginx; return; fi
        kill -QUIT $(cat /run/nginx.pid)
        for _ in $(seq 300); do pgrep -x nginx >/dev/null || break; sleep 0.1; done
    }
fi
logged() {
    for _ in $(seq 200); do
        if [ -d /run/systemd/system ]; then journalctl -u "$name@$release"; else cat /var/log/supervisor/$name-*; fi |
            grep -q "$1" && return
        sleep 0.3
    done
    return 1
}
until_it() {
    for _ in $(seq 200); do "$@" && return; sleep 0.3; done
    return 1
}
listens() { ss -Hltn "sport = :$1" | grep -q .; }
silent() { ! listens "$1"; }
says() { # STATUS: what a visitor of the site gets; nothing where the connection is closed
    [ "$(python3 - <<'END'
import http.client
connection = http.client.HTTPConnection("127.0.0.1", timeout=9)
try:
    connection.request("GET", "/", headers={"Host": "ailing.example.com"})
    print(connection.getresponse().status)
except (OSError, http.client.HTTPException):
    print("nothing")
END
    )" = "$1" ]
}
ended() { # the process, so that it had to be started again
    if [ -d /run/systemd/system ]; then
        systemctl show -p ActiveState -p NRestarts "$name@$release" | grep -q 'ActiveState=failed\|NRestarts=[1-9]'
    else
        supervisorctl status "$name-$release" | grep -q 'BACKOFF\|FATAL'
    fi
}
kept() { # by supervisor: whether the application runs again
    supervisorctl status "$name-$release" | grep -q RUNNING
}
worker() { # STATE: the worker is in it; or RESTARTS: it was started again that often
    if [ -d /run/systemd/system ]; then
        systemctl show -p ActiveState -p NRestarts "$name.worker@$release" | grep -qx "ActiveState=$1\|NRestarts=$1"
    elif [ "$1" = failed ]; then
        supervisorctl status "$name.worker-$release" | grep -q FATAL
    else
        [ "$(grep -c "spawned: '$name.worker-$release'" /var/log/supervisor/supervisord.log)" -gt "$((spawned + $1))" ]
    fi
}
worker_again() {
    if [ -d /run/systemd/system ]; then
        systemctl reset-failed "$name.worker@$release"
        systemctl restart "$name.worker@$release"
    else
        supervisorctl restart "$name.worker-$release"
        spawned=$(grep -c "spawned: '$name.worker-$release'" /var/log/supervisor/supervisord.log)
    fi >/dev/null 2>&1
}
job() {
    if [ -d /run/systemd/system ]; then systemctl start $name.nightly; else /etc/supervisor/scheduled/$name.nightly; fi
}
sealed=/etc/nginx/pyweb/certificates/sealed.pem
shows() { # FILE: nginx shows its certificate
    mark="openssl x509 -noout -fingerprint"
    [ "$(openssl s_client -connect 127.0.0.1:443 -servername sealed.example.com 2>/dev/null </dev/null | $mark)" = \
        "$($mark -in "$1")" ]
}
seal() { # FILE: have nginx show its certificate, and keep the right one
    [ -e /var/tmp/sealed.pem ] || cp -p $sealed /var/tmp/sealed.pem
    cp "$1" $sealed && nginx -s reload && until_it shows "$1"
}
unseal() {
    mv /var/tmp/sealed.pem $sealed && nginx -s reload && until_it shows $sealed
}
master() { pgrep -o -u $name -f bin/gunicorn; }
"""

# What the doctor must not touch: everything but logs and what processes write themselves.
LOOK = r"""
find /etc /srv/webapps /run/webapps /run/nginx.pid ! -path '/run/webapps/*/*' -printf '%p %m %u %g %l\n' 2>&1 | sort
find /etc /srv/webapps /run/nginx.pid ! -type d -printf '%p %T@\n' 2>&1 | sort
"""


def merged(base: Any, change: Any) -> Any:
    """A mapping with the changes made, at every depth; anything else gives way to the change."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return copy.deepcopy(change)
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


def variables(case: dict[str, Any]) -> dict[str, Any]:
    lookup = "{{ lookup('ansible.builtin.env', 'MOLECULE_PROJECT_DIRECTORY') }}"
    text = (TESTS.parent / "inventory" / "group_vars" / "web.yml").read_text().replace(lookup, str(CHECKOUT))
    ailing, *_others = yaml.safe_load(text)["webapps"]
    return {"webapps": [merged(ailing, change) for change in case["apps"]]} if "apps" in case else {}


def app_of(case: dict[str, Any]) -> str:
    """The application that a case is about."""
    return case.get("app", case.get("apps", [{}])[0].get("name", "ailing"))


@pytest.fixture(scope="session")
def hosts(scenario_inventory) -> dict[str, Host]:
    found = testinfra.get_hosts(["ansible://doctor"], ansible_inventory=scenario_inventory, sudo=True)
    return {host.backend.host: host for host in found}


@pytest.fixture(scope="session")
def addresses(scenario_inventory, hosts) -> dict[str, str]:
    runner = AnsibleRunner.get_runner(scenario_inventory)
    return {name: runner.get_variables(name)["ansible_host"] for name in hosts}


def concerned(case: dict[str, Any], hosts: dict[str, Host]) -> dict[str, Host]:
    kind = {"systemd": lambda name: "noinit" not in name, "none": lambda name: "noinit" in name}
    return {name: host for name, host in hosts.items() if "init" not in case or kind[case["init"]](name)}


def everywhere(script: str, hosts: dict[str, Host]) -> dict[str, str]:
    def run(host: Host) -> str:
        answer = host.run("sh -c %s", PRELUDE + script)
        assert answer.rc == 0, f"{host.backend.host}: {script}: {answer.stdout}{answer.stderr}"
        return answer.stdout

    with ThreadPoolExecutor() as pool:
        return dict(zip(hosts, pool.map(run, hosts.values()), strict=True))


def await_health(address: str) -> None:
    """Until the next case can begin."""
    session = requests.Session()
    session.trust_env = False
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = session.get(f"http://{address}/healthz", headers={"Host": "ailing.example.com"}, timeout=9)
            if answer.text == "ok\n":
                return
        except requests.RequestException:
            pass
        assert time.monotonic() < deadline, f"{address} was not mended"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def certificates(hosts) -> None:
    """On each host, in /var/tmp, certificates for the site `sealed` that will not do, or not for long."""
    names = ["sealed.example.com", "www.sealed.example.com"]
    made = {
        "expired": make(names, expired=True),
        "ending": make(names, days=9.5),
        "other": make(["other.example.com"]),
        "newer": make(names),
    }
    for name, one in made.items():
        text = one.certificate + one.key
        for host in hosts.values():
            host.check_output("sh -c %s", f"umask 077; cat >/var/tmp/{name}.pem <<'END'\n{text}END")


@pytest.fixture(scope="session")
def outcome_of(certificates, hosts, addresses, run_playbook) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The outcome of a case, which is run once for all hosts: the run, and what was there before and after it."""
    outcomes: dict[str, dict[str, Any]] = {}
    # What a case could not mend would be found in all that follow, after a long wait each.
    unmended: list[str] = []

    def outcome(case: dict[str, Any]) -> dict[str, Any]:
        assert not unmended, f"the hosts are still broken from the case: {unmended[0]}"
        if case["case"] not in outcomes:
            ill = concerned(case, hosts)
            try:
                everywhere(case.get("break", ":") + "\n", ill)
                before = everywhere(LOOK, ill)
                told = variables(case) | {"app": app_of(case)}
                run = run_playbook("pyweb.stack.doctor", told, "--limit", ",".join(ill))
                after = everywhere(LOOK, ill)
            finally:
                unmended.append(case["case"])
                everywhere(case.get("mend", WELL) + "\n", ill)
                for one in ill:
                    await_health(addresses[one])
                unmended.clear()
            outcomes[case["case"]] = {"run": run, "before": before, "after": after}
        return outcomes[case["case"]]

    return outcome


@pytest.fixture(scope="session")
def healthy(run_playbook) -> Run:
    return run_playbook("pyweb.stack.doctor")


def test_hosts_that_are_fine_are_said_to_work(host, healthy):
    name = host.backend.host
    message = healthy.message(name)
    assert healthy.status == 0
    assert healthy.counts(name)["changed"] == 0
    for app in ("ailing", "sealed", "neighbour"):
        assert f"{app} on {name} works.\n  Checked: name, port," in message
    assert "broken" not in message
    assert "watch" not in message


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"].replace(",", "").replace(" ", "-"))
def test_what_is_broken_is_named(case, host, hosts, outcome_of):
    name = host.backend.host
    if name not in concerned(case, hosts):
        return
    outcome = outcome_of(case)
    message = outcome["run"].message(name)
    assert outcome["run"].status == 0
    if case.get("works"):
        assert f"{app_of(case)} on {name} works, but:" in message
        finding = message.partition(f"watch: {case['link']}\n")[2]
    else:
        how = "answers its visitors, but a part of it DOES NOT WORK" if case.get("partly") else "DOES NOT WORK"
        assert f"on {name} {how}. The first broken link: {case['link']}\n" in message
        finding = message.partition("\n")[2]
    finding = finding.partition("  also broken:")[0].partition("  watch:")[0]
    for words in case["says"]:
        assert words in finding
    for part in ("seen: ", "cause: ", "fix: "):
        assert finding.count(f"    {part}") == 1
    assert SECRET not in outcome["run"].output
    assert outcome["after"][name] == outcome["before"][name], "the doctor changed something"
