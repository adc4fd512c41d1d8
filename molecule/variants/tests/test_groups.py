# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Programs of the operator's own on supervisor beside the applications, two of them in a group."""

from __future__ import annotations

import pytest
from pyweb_places import wait_until

PROGRAMS = "molecule/variants/programs.yml"
GROUPED = {"pages:left": 8101, "pages:right": 8102, "apart": 8103}
# Written by hand: nobody's but the operator's.
OWN = r"[group:own]\nprograms=hand\n[program:hand]\ncommand=/usr/bin/sleep 100000\nstartsecs=0\n"

pytestmark = pytest.mark.usefixtures("own")


@pytest.fixture(scope="module")
def own(host):
    if host.backend.host not in ("variants-supervisor", "variants-noinit"):
        pytest.skip("this host has applications only, or no supervisor")
    host.check_output(f"printf '{OWN}' > /etc/supervisor/conf.d/own.conf")
    host.check_output("supervisorctl update own")
    yield
    host.check_output("rm /etc/supervisor/conf.d/own.conf")
    host.check_output("supervisorctl update own")


@pytest.fixture(scope="module")
def run(own, host, run_playbook):
    """Runs a playbook for this host."""
    return lambda playbook, given: run_playbook(playbook, given, "--limit", host.backend.host)


def pids(host) -> dict[str, str]:
    """The process of every program that supervisor has running."""
    lines = host.run("supervisorctl status").stdout.splitlines()
    words = [line.split() for line in lines]
    return {word[0]: word[3].rstrip(",") for word in words if word[1] == "RUNNING"}


def assert_answers(host, programs: dict[str, int]) -> None:
    running = pids(host)
    for program, port in programs.items():
        assert program in running
        # supervisor lets it count as running after a second; it may take longer until it listens.
        ask = f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{port}/').status)"
        wait_until(lambda ask=ask: host.run(f'/usr/bin/python3 -c "{ask}"').stdout.strip() == "200", 20)


def moved(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The programs that are not the same process as before, or not there any more."""
    return {program for program in before.keys() | after.keys() if before.get(program) != after.get(program)}


def test_programs_of_a_group_run_and_answer(host):
    assert_answers(host, GROUPED)


def test_supervisorctl_restarts_the_group_as_one(host):
    before = pids(host)
    assert {"own:hand", *GROUPED} <= before.keys()
    host.check_output("supervisorctl restart 'pages:*'")
    assert moved(before, pids(host)) == {"pages:left", "pages:right"}
    assert_answers(host, GROUPED)


def test_run_of_the_site_leaves_groups_of_other_programs_alone(host, run):
    before = pids(host)
    site = run("pyweb.stack.site", {})
    assert site.status == 0
    assert site.counts(host.backend.host)["changed"] == 0
    assert moved(before, pids(host)) == set()


def test_change_of_a_member_restarts_its_group_and_nothing_else(host, run):
    before = pids(host)
    changed, again = (run(PROGRAMS, {"left_folder": "/usr/lib"}) for _ in range(2))
    assert changed.status == 0
    assert moved(before, pids(host)) == {"pages:left", "pages:right"}
    assert_answers(host, GROUPED)
    assert again.status == 0
    assert again.counts(host.backend.host)["changed"] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pages_programs": ["left", "nowhere"]}, "'nowhere' is not in supervisor_programs"),
        ({"pages_programs": []}, "Name one program or more"),
        ({"supervisor_groups": [{"name": "a:b", "programs": ["left"]}]}, "not the name of a group"),
    ],
)
def test_bad_group_changes_nothing(host, run, given, message):
    before = pids(host)
    refused = run(PROGRAMS, given)
    assert refused.status != 0
    assert message in refused.output
    assert refused.counts(host.backend.host)["changed"] == 0
    assert moved(before, pids(host)) == set()


def test_group_that_is_taken_away_leaves_its_programs_running(host, run):
    before = pids(host)
    gone, again = (run(PROGRAMS, {"left_folder": "/usr/lib", "pages_state": "absent"}) for _ in range(2))
    assert gone.status == 0
    after = pids(host)
    assert moved(before, after) == {"pages:left", "pages:right", "left", "right"}
    assert {"left", "right"} <= after.keys()
    assert not {"pages:left", "pages:right"} & after.keys()
    assert_answers(host, {"left": 8101, "right": 8102, "apart": 8103})
    assert again.status == 0
    assert again.counts(host.backend.host)["changed"] == 0


def test_group_that_comes_back_takes_its_programs_and_nothing_else(host, run):
    before = pids(host)
    back = run(PROGRAMS, {})
    assert back.status == 0
    assert moved(before, pids(host)) == {"pages:left", "pages:right", "left", "right"}
    assert_answers(host, GROUPED)
