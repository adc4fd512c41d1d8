# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Hosts that die under load, in every way: the balancers send no more requests there, and it comes back by itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
import pyweb_faults
from conftest import HOME, Place, assert_settled, builds, named
from pyweb_places import wait_until

# Seconds after which no request may meet a host that has died.
NOTICED = 2.0


@contextlib.contextmanager
def hanging(place: Place) -> Iterator[None]:
    """The application accepts requests and answers none."""
    place.told({place.look().build: "hangs"})
    try:
        yield
    finally:
        place.told({})


@contextlib.contextmanager
def full_disk(place: Place) -> Iterator[None]:
    """The application can no longer write. Only a small file system, which it alone sees, is full."""
    data, full = f"{HOME}/shared/data", "/run/full"
    inside = "nsenter --mount --target $(pgrep -o -u orders -f bin/gunicorn)"
    place.run(f"mkdir -p {full}")
    place.run(f"{inside} mount -t tmpfs -o size=64k,mode=0777 tmpfs {full}")
    place.run(f"{inside} sh -c 'cat /dev/zero >{full}/filler'", check=False)
    # Full at the moment at which the application sees it, so it holds no order.
    place.run(f"{inside} mount --bind {full} {data}")
    try:
        yield
    finally:
        place.run(f"{inside} umount {data} {full}")


@contextlib.contextmanager
def out_of_memory(place: Place) -> Iterator[None]:
    """The workers take memory until the kernel kills them, and so do those that replace them."""
    killed = f"journalctl --since=@{time.time():.0f} | grep -c 'Perhaps out of memory' || true"
    place.told({place.look().build: "hoards"})
    try:
        yield
    finally:
        place.told({})
        assert int(place.run(killed)) >= 1, "the kernel has killed no worker"


FAULTS: dict[str, tuple[str, Callable[[Place], contextlib.AbstractContextManager[None]]]] = {
    "frozen": ("fleet-web2", pyweb_faults.frozen),
    "without power": ("fleet-web1", pyweb_faults.without_power),
    "cut off": ("fleet-web3", pyweb_faults.cut_off),
    "hanging": ("fleet-web4", hanging),
    "full disk": ("fleet-web2", full_disk),
    "out of memory": ("fleet-web4", out_of_memory),
}


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=[] if name == "frozen" else [pytest.mark.matrix(whole=True)]) for name in FAULTS]
)
def test_a_host_that_dies_is_left_alone_and_comes_back(webs, traffic, tell, fault):
    name, break_it = FAULTS[fault]
    place = named(webs, name)
    with traffic() as visitors:
        time.sleep(2)
        with contextlib.ExitStack() as stack:
            died = time.time()
            stack.enter_context(break_it(place))
            broken = time.time()
            time.sleep(6)
        time.sleep(6)
    tell(
        f"{name} {fault}: {visitors.report['failed']} of {visitors.report['requests']} requests failed; the last began "
        f"{max((one['began'] for one in visitors.report['failures']), default=died) - died:.1f} s after the fault"
    )
    assert visitors.failed_since(broken + NOTICED) == []
    visitors.assert_orders_are_kept()
    wait_until(lambda: place.look().build == builds(webs)[0], 60)
    assert_settled(webs, builds(webs)[0])


def reboots(place: Place) -> None:
    pyweb_faults.stop(place)
    pyweb_faults.start(place)


@pytest.mark.matrix(whole=True)
@pytest.mark.parametrize("number", range(4))
def test_a_host_is_drained_and_rebooted_and_nobody_notices(webs, traffic, run_playbook, number):
    place = webs[number]
    with traffic() as visitors:
        run = run_playbook("pyweb.stack.drain", {"drain": "on"}, "--limit", place.name)
        assert run.status == 0, run.output
        reboots(place)
        wait_until(lambda: place.look().build.isdigit(), 60)
        run = run_playbook("pyweb.stack.drain", {"drain": "off"}, "--limit", place.name)
        assert run.status == 0, run.output
        time.sleep(3)
    visitors.assert_nothing_was_lost()
