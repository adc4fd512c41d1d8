# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Workers and masters are killed; the application is back in no time, and says how long it took."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from conftest import PATHS, served_by
from pyweb_places import wait_until

pytestmark = pytest.mark.alone

# Seconds, as visitors are promised.
WORKER_BACK, MASTER_BACK = 1.0, 2.0
# What ends within a second of its start is a failed start to supervisor, which then waits longer.
STARTED = 1.5

# On the host: a look from outside takes as long as what it looks at.
REPLACED = """
kill -9 {victim}; begun=$(date +%s%N)
until [ $(pgrep -P {master} | grep -vxc {victim}) -ge {count} ]; do sleep 0.01; done
echo $((($(date +%s%N) - begun) / 1000000))
"""


def processes(host, app: str) -> dict[int, int]:
    """The processes of an application's server, with their parents."""
    lines = host.check_output(f"ps -u {app} -o pid=,ppid=,stat=,args=").splitlines()
    found = [line.split(maxsplit=3) for line in lines]
    return {
        int(pid): int(parent)
        for pid, parent, state, command in found
        if ("bin/gunicorn" in command or "bin/uwsgi" in command) and not state.startswith("Z")
    }


def master_of(found: dict[int, int]) -> int:
    # Not the only one with children: a worker that has just come may be starting a program.
    (master,) = [pid for pid, parent in found.items() if parent not in found]
    return master


@pytest.mark.parametrize("app", PATHS)
def test_a_killed_worker_is_replaced_and_nobody_notices(host, visit, facts, app):
    before = processes(host, app)
    master = master_of(before)
    victim = next(pid for pid, parent in before.items() if parent == master)
    count = list(before.values()).count(master)
    replaced = REPLACED.format(victim=victim, master=master, count=count)
    wrong = []
    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(host.check_output, "timeout 10 sh -c %s", replaced)
        while not replacing.done():
            try:
                answer = visit(app)
                if answer.status_code != 200:
                    wrong.append(f"status {answer.status_code}")
            except requests.RequestException as error:
                wrong.append(str(error))
    took = int(replacing.result()) / 1000
    print(f"{facts.name}, {app} ({', '.join(served_by(facts, app))}): a killed worker was replaced after {took:.2f} s")
    # One response may be lost: the one that the victim was sending when it was killed. Requests here follow each other.
    assert len(wrong) <= 1, wrong
    assert took < WORKER_BACK
    assert master_of(processes(host, app)) == master


def test_what_killed_workers_were_asked_is_answered_by_others(host, visit):
    """Where that is safe: see the unit tests of nginx for a POST."""
    found = processes(host, "board")
    workers = [str(pid) for pid, parent in found.items() if parent == master_of(found)]
    with ThreadPoolExecutor(1) as pool:
        # Longer than the way to the host and back takes, however busy it is; it is asked twice.
        answer = pool.submit(visit, "board", "/slow?seconds=6", timeout=40)
        time.sleep(1)
        host.check_output(f"kill -9 {' '.join(workers)}")
        assert not answer.done()
        assert (answer.result().status_code, answer.result().text) == (200, "slow\n")


@pytest.mark.parametrize(
    "signal", ["KILL", *(pytest.param(name, marks=pytest.mark.matrix) for name in ("TERM", "INT", "QUIT"))]
)
@pytest.mark.parametrize("app", PATHS)
def test_a_killed_master_is_back_and_leaves_no_worker(host, visit, facts, app, signal):
    """Most signals end a master with status 0, as if it had been told to stop by its process manager."""
    # At these two, which no process manager sends, a worker of gunicorn may wait for its own lock while it hands out a
    # request. Its master kills it after the timeout of 15 seconds.
    stuck = 15 if signal in ("INT", "QUIT") else 0
    if served_by(facts, app)[1] == "systemd":
        # Else the kills of these tests together reach the start limit.
        host.check_output(f"systemctl reset-failed '{app}@*.service'")
    time.sleep(STARTED)
    before = processes(host, app)
    host.check_output(f"kill -{signal} {master_of(before)}")
    began = time.monotonic()
    lost, gap = 0, 0.0
    while time.monotonic() - began < 10 + 2 * stuck:
        try:
            answer = visit(app)
            if answer.status_code == 200 and answer.json()["pid"] not in before:
                break
            failed = answer.status_code != 200
        except requests.RequestException:
            failed = True
        if failed:
            lost, gap = lost + 1, time.monotonic() - began
        time.sleep(0.02)
    else:
        pytest.fail("the application did not come back under a new master")
    print(
        f"{facts.name}, {app} ({', '.join(served_by(facts, app))}): {lost} requests met the gap after a master got "
        f"SIG{signal}, until {gap:.2f} s after it; a new master answered after {time.monotonic() - began:.2f} s"
    )
    # Workers whose master was killed answer what they have begun, so there may be no gap at all.
    assert gap < MASTER_BACK + stuck
    if served_by(facts, app)[1] == "systemd":
        # systemd keeps the socket, where requests wait. At most one was accepted by a worker that ended then.
        assert lost <= (1 if not stuck else 5)
    # Else workers of the master that was killed live on.
    wait_until(lambda: not set(before) & set(processes(host, app)), 20)


CONNECT = 'socket.socket(socket.AF_UNIX).connect("/srv/webapps/board/current.sock")'


def test_a_stop_by_the_manager_stays_a_stop(host, visit, facts):
    app = "board"
    release = host.check_output(f"basename $(readlink /srv/webapps/{app}/current)")
    systemd = served_by(facts, app)[1] == "systemd"
    control, instance = ("systemctl", f"{app}@{release}") if systemd else ("supervisorctl", f"{app}-{release}")
    fronts = ["nginx", "supervisor"]
    host.check_output(f"{control} stop {instance}")
    try:
        if systemd:
            # Of supervisor the other applications are the programs.
            host.check_output(f"systemctl stop {' '.join(fronts)}")
        for _ in range(6):
            # A connection does not start it.
            assert host.run(f"python3 -c 'import socket; {CONNECT}'").rc != 0
            time.sleep(1)
        assert host.run(f"pgrep -u {app}").rc == 1
        if systemd:
            for unit in (instance, *fronts):
                assert host.run(f"systemctl is-active {unit}").stdout.strip() == "inactive"
    finally:
        if systemd:
            host.check_output(f"systemctl start {' '.join(fronts)}")
        host.check_output(f"{control} start {instance}")
    for one in PATHS:
        wait_until(lambda one=one: visit(one).status_code == 200, 20)


@pytest.mark.parametrize("signal", ["TERM", pytest.param("QUIT", marks=pytest.mark.matrix)])
def test_a_killed_nginx_is_back(host, visit, signal):
    host.check_output("systemctl reset-failed nginx")
    before = host.check_output("cat /run/nginx.pid")
    host.check_output(f"kill -{signal} {before}")
    began = time.monotonic()
    wait_until(lambda: host.run("cat /run/nginx.pid").stdout.strip() not in ("", before), 20)
    wait_until(lambda: visit("board").status_code == 200, 20)
    took = time.monotonic() - began
    print(f"nginx answered {took:.2f} s after its master got SIG{signal}")
    assert took < MASTER_BACK
