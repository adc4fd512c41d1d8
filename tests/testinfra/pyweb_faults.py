# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Faults of whole hosts: without power, frozen, cut off. Each host is as before when its fault ends.

A host that is started again keeps its address, because balancers know it by that: `keeps_address` in the inventory.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pyweb_places import Place

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import test_hosts


@cache
def engine() -> test_hosts.Engine:
    found = test_hosts.find_engine(may_install=False)
    assert found, "there is no container engine"
    return found


def container(place: Place) -> str:
    return test_hosts.container_name(place.name)


def disconnect(place: Place) -> None:
    """End the SSH connection that is kept open: it would hang with the host."""
    reached = place.reached
    target = f"{reached['ansible_user']}@{reached['ansible_host']}"
    test_hosts.run(["ssh", *test_hosts.ssh_options(), "-O", "exit", target], timeout=10)


def stop(place: Place) -> None:
    engine().check(f"Stopping {place.name}", "stop", "--time", "0", container(place))


def start(place: Place) -> None:
    """Start a host that has been stopped, at its address."""
    name, address = container(place), place.address
    engine().check(f"Starting {place.name}", "start", name)
    disconnect(place)
    assert engine().address(name) == address, f"{place.name} has come back with another address"
    test_hosts.await_ssh(engine(), place.name, address)
    if engine().run("exec", name, "test", "-d", "/run/systemd/system").returncode == 0:
        assert not test_hosts.boots(engine(), name, 60)


@contextlib.contextmanager
def without_power(place: Place) -> Iterator[None]:
    stop(place)
    try:
        yield
    finally:
        start(place)


@contextlib.contextmanager
def frozen(place: Place) -> Iterator[None]:
    """The kernel still accepts connections, and nothing answers."""
    engine().check(f"Freezing {place.name}", "pause", container(place))
    try:
        yield
    finally:
        engine().check(f"Thawing {place.name}", "unpause", container(place))


@contextlib.contextmanager
def cut_off(place: Place) -> Iterator[None]:
    """The cable is out: the other end of the host's link is down."""
    number = engine().check("Looking at a link", "exec", container(place), "cat", "/sys/class/net/eth0/iflink").strip()
    links = json.loads(subprocess.run(["ip", "-json", "link"], check=True, capture_output=True, text=True).stdout)
    (link,) = (link["ifname"] for link in links if link["ifindex"] == int(number))

    def turn(state: str) -> None:
        subprocess.run([*test_hosts.as_root(), "ip", "link", "set", link, state], check=True)

    turn("down")
    try:
        yield
    finally:
        turn("up")
        disconnect(place)
        test_hosts.await_ssh(engine(), place.name, place.address)
