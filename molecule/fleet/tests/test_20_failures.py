# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A release that fails on one host is undone on all, at whatever stage it fails, and no visitor notices."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from conftest import Place, Traffic, assert_settled, builds, moody, named
from pyweb_playbooks import Run

# The host of the third batch: one host is a batch here.
THIRD = "fleet-web3"


@pytest.fixture
def serving(webs: list[Place], deploy: Callable[..., Run], numbers) -> str:
    """The build that all hosts serve before the test, and after it."""
    before = builds(webs)
    if len(set(before)) == 1 and before[0].isdigit():
        return before[0]
    build = next(numbers)
    assert deploy(build).status == 0
    return build


def refused(
    webs: list[Place], traffic: Callable[[], Traffic], deploy: Callable[..., Run], build: str, **variables: object
) -> tuple[Run, Traffic]:
    """A deployment that fails, with visitors: the servers of before are still there, and none was started again."""
    before = [place.look() for place in webs]
    with traffic() as visitors:
        run = deploy(build, **variables)
    assert run.status != 0, run.output
    after = assert_settled(webs, before[0].build)
    assert [(look.release, look.masters) for look in after] == [(look.release, look.masters) for look in before]
    for place in webs:
        assert place.name in run.output
    return run, visitors


def test_a_failing_gate_in_the_third_batch_is_undone_on_all_hosts(webs, traffic, deploy, numbers, serving):
    build = next(numbers)
    with moody(named(webs, THIRD), build, "gate"):
        run, visitors = refused(webs, traffic, deploy, build)
    assert "Came back: status 404" in run.output
    visitors.assert_nothing_was_lost()


@pytest.mark.matrix(whole=True)
def test_a_failing_build_on_one_host_switches_none(webs, traffic, deploy, numbers, serving):
    build, place = next(numbers), named(webs, THIRD)
    place.run(f"touch /etc/no-build-{build}")
    try:
        run, visitors = refused(webs, traffic, deploy, build)
    finally:
        place.run("rm /etc/no-build-*")
    assert "no-build-$BUILD" in run.output, "the message quotes the command as it was written"
    visitors.assert_nothing_was_lost()
    # The next run uses the builds.
    assert deploy(build).status == 0
    assert_settled(webs, build)


@pytest.mark.matrix(whole=True)
@pytest.mark.parametrize("name", ["fleet-web1", "fleet-web4"])
def test_a_host_that_breaks_after_the_switch_takes_all_back(webs, traffic, deploy, numbers, serving, name):
    build = next(numbers)
    with moody(named(webs, name), build, "dies"):
        run, visitors = refused(webs, traffic, deploy, build)
    assert run.status != 0
    # The server was killed while it had requests.
    assert visitors.report["failed"] <= 15, visitors.report["failures"]
    visitors.assert_orders_are_kept()


CANARY = {"watch": 20}


@pytest.mark.matrix(whole=True)
@pytest.mark.parametrize("mood", ["slow", "errors"])
def test_a_canary_that_is_worse_goes_back_by_itself(webs, traffic, deploy, numbers, serving, mood):
    build = next(numbers)
    with moody(webs[0], build, mood):
        _run, visitors = refused(webs, traffic, deploy, build, webapp_rollout=CANARY)
    visitors.assert_orders_are_kept()
    if mood == "slow":
        visitors.assert_nothing_was_lost()


@pytest.mark.matrix(whole=True)
@pytest.mark.parametrize("number", range(5))
def test_a_canary_that_is_equal_stays(webs, traffic, deploy, numbers, serving, number):
    build = next(numbers)
    with traffic() as visitors:
        run = deploy(build, webapp_rollout=CANARY)
    assert run.status == 0, run.output
    visitors.assert_nothing_was_lost()
    assert_settled(webs, build)


def test_a_rollback_reaches_the_same_build_on_all_hosts(webs, traffic, deploy, run_playbook, numbers, serving):
    """One of the hosts has missed a deployment in between."""
    first, second, third = (next(numbers) for _ in range(3))
    assert deploy(first).status == 0
    assert deploy(second, "--limit", f"web:!{THIRD}").status == 0
    assert deploy(third).status == 0
    with traffic() as visitors:
        # One back is the second build, which one of the hosts lacks.
        run = run_playbook("pyweb.stack.rollback", {"app": "orders", "build": third})
        assert run.status != 0
        assert builds(webs) == [third] * 4, "a host has switched"
        text = " ".join(run.output.split())
        assert f"{THIRD} lacks" in text
        revision = re.search(r"use -e app=orders -e revision=(\w+)", text)[1]
        run = run_playbook("pyweb.stack.rollback", {"app": "orders", "build": third, "revision": revision})
        assert run.status == 0, run.output
    visitors.assert_nothing_was_lost()
    assert_settled(webs, first)
