# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Programs of the operator's own on supervisor beside the applications, two of them in a group."""

from __future__ import annotations

import pytest
from conftest import PAIR
from pyweb_places import Place, everywhere, wait_until

PROGRAMS = "molecule/variants/programs.yml"
GROUPED = {"pages:left": 8101, "pages:right": 8102, "apart": 8103}
# Written by hand: nobody's but the operator's.
OWN = r"[group:own]\nprograms=hand\n[program:hand]\ncommand=/usr/bin/sleep 100000\nstartsecs=0\n"

pytestmark = pytest.mark.usefixtures("own")


@pytest.fixture(scope="module")
def own(pair):
    file = "/etc/supervisor/conf.d/own.conf"
    everywhere(lambda place: place.run(f"printf '{OWN}' >{file} && supervisorctl update own"), pair)
    yield
    everywhere(lambda place: place.run(f"rm {file} && supervisorctl update own"), pair)


@pytest.fixture
def run(run_playbook):
    """Runs a playbook for the hosts that have groups."""
    return lambda playbook, given: run_playbook(playbook, given, "--limit", ",".join(PAIR))


def counted(run, what: str) -> list[int]:
    return [run.counts(name)[what] for name in PAIR]


def pids(place: Place) -> dict[str, str]:
    """The process of every program that supervisor has running."""
    words = [line.split() for line in place.run("supervisorctl status", check=False).splitlines()]
    return {word[0]: word[3].rstrip(",") for word in words if word[1] == "RUNNING"}


def assert_answers(pair: list[Place], programs: dict[str, int]) -> None:
    for place in pair:
        running = pids(place)
        for program, port in programs.items():
            assert program in running
            # supervisor lets it count as running after a second; it may take longer until it listens.
            ask = f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{port}/').status)"
            asked = f'/usr/bin/python3 -c "{ask}"'
            wait_until(lambda place=place, asked=asked: place.run(asked, check=False).strip() == "200", 20)


def moved(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The programs that are not the same process as before, or not there any more."""
    return {program for program in before.keys() | after.keys() if before.get(program) != after.get(program)}


@pytest.fixture
def changes(pair):
    """Which programs have changed since the last question, or since the test began; alike on all hosts."""
    last = everywhere(pids, pair)

    def ask() -> set[str]:
        nonlocal last
        before, last = last, everywhere(pids, pair)
        first, second = (moved(*both) for both in zip(before, last, strict=True))
        assert first == second
        return first

    return ask


def test_programs_of_a_group_run_and_answer(pair):
    assert_answers(pair, GROUPED)


def test_supervisorctl_restarts_the_group_as_one(pair, changes):
    for place in pair:
        assert {"own:hand", *GROUPED} <= pids(place).keys()
    everywhere(lambda place: place.run("supervisorctl restart 'pages:*'"), pair)
    assert changes() == {"pages:left", "pages:right"}
    assert_answers(pair, GROUPED)


def test_run_of_the_site_leaves_groups_of_other_programs_alone(run, changes):
    site = run("pyweb.stack.site", {})
    assert site.status == 0
    assert counted(site, "changed") == [0, 0]
    assert changes() == set()


def test_change_of_a_member_restarts_its_group_and_nothing_else(pair, run, changes):
    changed, again = (run(PROGRAMS, {"left_folder": "/usr/lib"}) for _ in range(2))
    assert changed.status == 0
    assert changes() == {"pages:left", "pages:right"}
    assert_answers(pair, GROUPED)
    assert again.status == 0
    assert counted(again, "changed") == [0, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pages_programs": ["left", "nowhere"]}, "'nowhere' is not in supervisor_programs"),
        ({"pages_programs": []}, "Name one program or more"),
        ({"supervisor_groups": [{"name": "a:b", "programs": ["left"]}]}, "not the name of a group"),
    ],
)
def test_bad_group_changes_nothing(run, changes, given, message):
    refused = run(PROGRAMS, given)
    assert counted(refused, "failed") == [1, 1]
    for name in PAIR:
        assert message in refused.failure(name)
    assert counted(refused, "changed") == [0, 0]
    assert changes() == set()


def test_group_that_is_taken_away_leaves_its_programs_running(pair, run, changes):
    gone, again = (run(PROGRAMS, {"left_folder": "/usr/lib", "pages_state": "absent"}) for _ in range(2))
    assert gone.status == 0
    assert changes() == {"pages:left", "pages:right", "left", "right"}
    for place in pair:
        after = pids(place).keys()
        assert {"left", "right"} <= after
        assert not {"pages:left", "pages:right"} & after
    assert_answers(pair, {"left": 8101, "right": 8102, "apart": 8103})
    assert again.status == 0
    assert counted(again, "changed") == [0, 0]


def test_group_that_comes_back_takes_its_programs_and_nothing_else(pair, run, changes):
    back = run(PROGRAMS, {})
    assert back.status == 0
    assert changes() == {"pages:left", "pages:right", "left", "right"}
    assert_answers(pair, GROUPED)
