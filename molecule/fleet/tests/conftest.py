# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts of the fleet, what each of them serves, and visitors who are there all along.

Visitors come through the balancers. Each order has a number, and the hosts write down those that they have carried out.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pyweb_places
from pyweb_places import everywhere
from pyweb_playbooks import CHECKOUT, PROGRAM, Run, usual_environment

LOAD = CHECKOUT / "tests" / "load" / "orders.py"
SITE = "pyweb.stack.site"
HOME = "/srv/webapps/orders"
# Requests a second: of the sample, which shares two processors with another scenario, and of the full matrix.
RATE, FULL_RATE = 50, 200

# Runs on a host, as root. The request goes to the application's own socket: a host may refuse all but balancers.
LOOK = r"""
import http.client, json, os, pwd, socket
home = "/srv/webapps/orders"
class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(f"{home}/current.sock")
try:
    connection = Local("localhost")
    connection.request("GET", "/")
    build = connection.getresponse().headers["X-Build"]
except (OSError, http.client.HTTPException) as error:
    build = repr(error)
account, found = pwd.getpwnam("orders").pw_uid, {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if os.stat(f"/proc/{pid}").st_uid == account:
            words = open(f"/proc/{pid}/cmdline", "rb").read()
            parent = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1]
            if b"/releases/" in words:
                found[pid] = (parent, words.split(b"/releases/")[1].split(b"/")[0].decode())
    except OSError:
        continue
print(json.dumps({
    "build": build,
    "release": os.path.basename(os.readlink(f"{home}/current")),
    "masters": {pid: release for pid, (parent, release) in found.items() if parent not in found},
    "leased": os.path.exists(f"{home}/.lease.json"),
}))
"""


@dataclass(frozen=True)
class Look:
    """The release that a host serves, and its processes."""

    build: str
    release: str
    # The release of each server that runs, by its process.
    masters: Mapping[str, str]
    leased: bool

    @property
    def settled(self) -> bool:
        """Whether nothing runs beside the live release, and nothing is still to be decided."""
        return not self.leased and set(self.masters.values()) == {self.release}


class Place(pyweb_places.Place):
    """A web host."""

    def look(self) -> Look:
        return Look(**json.loads(self.run("python3 -", given=LOOK)))

    def orders(self) -> list[str]:
        """The numbers of the orders that it has written down."""
        return self.run(f"cat {HOME}/shared/data/orders 2>/dev/null || true").split()

    def told(self, moods: Mapping[str, str]) -> None:
        """Give each build a mood on this host: see tests/apps/orders."""
        new = "cat >moods.new && chmod 644 moods.new && mv moods.new moods.json"
        self.run(f"cd {HOME}/shared/data && {new}", given=json.dumps(moods))


def named(places: Sequence[Place], name: str) -> Place:
    return next(place for place in places if place.name == name)


@contextlib.contextmanager
def moody(place: Place, build: str, mood: str) -> Iterator[None]:
    """One build misbehaves on one host."""
    place.told({build: mood})
    try:
        yield
    finally:
        place.told({})


def builds(webs: Sequence[Place]) -> list[str]:
    return [look.build for look in everywhere(Place.look, webs)]


def assert_settled(webs: Sequence[Place], build: str) -> list[Look]:
    """Every host serves this build, and nothing else runs. An old release may still end."""
    until = time.monotonic() + 30
    while True:
        looks = everywhere(Place.look, webs)
        if all(look.settled and look.build == build for look in looks):
            return looks
        assert time.monotonic() < until, f"wanted build {build} alone: {looks}"
        time.sleep(0.5)


@dataclass
class Traffic:
    """Visitors from `with` to its end; then the results of their requests and orders."""

    addresses: Sequence[str]
    webs: Sequence[Place]
    file: Path
    rate: int = RATE
    report: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Traffic:
        self.before = Counter(one for orders in everywhere(Place.orders, self.webs) for one in orders)
        words = [*self.addresses, "--rate", str(self.rate), "--json", str(self.file)]
        self.process = subprocess.Popen(
            [sys.executable, str(LOAD), *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        time.sleep(1)  # until they ask
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
        self.report = json.loads(self.file.read_text())
        told = {key: self.report[key] for key in ("requests", "failed", "slowest", "p50", "p99")}
        print(f"visitors: {told} {self.report['failures'][:5]}")
        written = Counter(one for orders in everywhere(Place.orders, self.webs) for one in orders)
        self.written = written - self.before

    def failed_since(self, moment: float) -> list[dict[str, Any]]:
        """The requests that began after a moment, in seconds since 1970, and failed."""
        return [one for one in self.report["failures"] if one["began"] > moment]

    def assert_orders_are_kept(self) -> None:
        """Each order that was acknowledged has been carried out, and none twice."""
        lost = set(self.report["acknowledged"]) - set(self.written)
        doubled = [number for number, times in self.written.items() if times > 1]
        assert (sorted(lost), sorted(doubled)) == ([], [])

    def assert_nothing_was_lost(self) -> None:
        assert self.report["requests"] > 100, "there were hardly any requests"
        assert self.report["failed"] == 0, self.report["failures"][:5]
        self.assert_orders_are_kept()


@pytest.fixture(scope="session")
def webs(places: list[pyweb_places.Place]) -> list[Place]:
    """The web hosts, in the order of the batches."""
    return [Place(place.name, place.inventory) for place in places if "web" in place.name]


@pytest.fixture(scope="session")
def balancers(places: list[pyweb_places.Place]) -> list[pyweb_places.Place]:
    found = [place for place in places if "lb" in place.name]
    assert len(found) == 2, "without balancers, no test would show that a host can fail unnoticed"
    return found


@pytest.fixture
def traffic(
    request: pytest.FixtureRequest, webs: list[Place], balancers: list[pyweb_places.Place], tmp_path: Path
) -> Callable[[], Traffic]:
    """Visitors: `with traffic() as visitors: …; visitors.assert_nothing_was_lost()`."""

    rate = FULL_RATE if request.node.get_closest_marker("matrix") else RATE

    def begin() -> Traffic:
        addresses = [place.address for place in balancers]
        return Traffic(addresses, webs, tmp_path / f"{time.monotonic_ns()}.json", rate)

    return begin


@pytest.fixture(scope="session")
def deploy(run_playbook: Callable[..., Run]) -> Callable[..., Run]:
    """Deploys a build to all hosts: `deploy("3", webapp_rollout={"watch": 20})`."""

    def run(build: str, *arguments: str, **variables: Any) -> Run:
        return run_playbook(SITE, {"build": build, **variables}, *arguments, timeout=600)

    return run


@pytest.fixture(scope="session")
def numbers() -> Iterator[str]:
    """A number for each build that there has not been yet."""
    return map(str, range(int(time.time()), sys.maxsize))


def begin_playbook(
    inventory: str | Path, folder: Path, variables: Mapping[str, Any], *arguments: str
) -> subprocess.Popen:
    """Begins a run in a process group of its own, which a test can kill. Its output is in `folder`, as *.log."""
    given = folder / f"variables-{time.monotonic_ns()}.json"
    given.write_text(json.dumps(variables))
    with given.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            [str(PROGRAM), SITE, "--inventory", str(inventory), "--extra-vars", f"@{given}", *arguments],
            cwd=CHECKOUT,
            env=usual_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill_run(run: subprocess.Popen) -> None:
    """End a run at once, with all of its processes, as if its machine had lost its power."""
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(10)
