# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The case fleet of the benchmark: 1, 4 and 8 hosts on this machine, and what 500 hosts cost the controller.

The hosts run tests/apps/orders, because it fails its health check if a file of the host wants that. For 500 hosts, the
answers of two real hosts are recorded, and a connection plugin gives them again: the first host of a run may do more
than the others, such as resolving the requirements for all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

BENCH = Path(__file__).resolve().parent
CHECKOUT = BENCH.parent.parent
SIZES = (1, 4, 8)
# The few hosts come before and after the many, because the speed of a machine changes.
STUBBED = (50, 500, 50)
FORKS = 20

Host = dict[str, str]
Say = Callable[[str], None]


class Run(Protocol):
    seconds: float
    times: dict[str, Any]


class Bench(Protocol):
    """The part of the benchmark that this case needs: see run.py."""

    folder: Path

    def fresh_hosts(self, *names: str, fresh: bool = ...) -> contextlib.AbstractContextManager[list[Host]]: ...
    def playbook(
        self,
        inventory: Path,
        extra: tuple[str, ...] = ...,
        name: str = ...,
        *,
        status: int = ...,
        more: dict[str, str] | None = ...,
    ) -> Run: ...
    def disconnect(self) -> None: ...
    def ssh(self, host: Host) -> list[str]: ...


@dataclass
class Cost:
    """The cost of a run of hosts that do not exist, for the controller."""

    hosts: int
    seconds: float
    processor: float  # seconds of all processes
    memory: float  # MiB of the largest process


@dataclass
class Figures:
    second: dict[int, list[float]] = field(default_factory=dict)
    change: dict[int, list[float]] = field(default_factory=dict)
    undo: list[float] = field(default_factory=list)
    undo_ended: list[float] = field(default_factory=list)
    traffic: dict[str, dict[str, Any]] = field(default_factory=dict)
    stubs: dict[str, list[Cost]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Fleet:
    """Hosts with the application, and a copy of its source."""

    def __init__(self, bench: Bench, say: Say) -> None:
        self.bench, self.say = bench, say
        self.source = bench.folder / "orders"
        shutil.rmtree(self.source, ignore_errors=True)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / "tests" / "apps" / "orders", self.source, ignore=ignored)
        self.builds = 1

    def inventory(self, name: str, webs: dict[str, dict[str, Any]], **groups: Any) -> Path:
        app = {
            "name": "orders",
            "source": {"path": str(self.source)},
            "wsgi": "orders:app",
            "workers": 1,
            "env": {"BUILD": "{{ build | default('1') | string }}"},
            "shared": ["data"],
            "health": {"path": "/healthz", "timeout": 60},
        }
        path = self.bench.folder / f"{name}.json"
        path.write_text(json.dumps({"web": {"hosts": webs, "vars": {"webapps": [app]}}, **groups}))
        return path

    def edit(self) -> None:
        """Change one line of the code."""
        self.builds += 1
        (self.source / "new.py").write_text(f"NUMBER = {self.builds}\n")

    def on(self, host: Host, command: str) -> str:
        words = [*self.bench.ssh(host), f"sudo sh -c '{command}'"]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def named(hosts: list[Host]) -> dict[str, dict[str, Any]]:
    return {f"bench-fleet-{number}": dict(host) for number, host in enumerate(hosts, start=1)}


def measure(bench: Bench, rounds: int, say: Say, balanced: bool) -> Figures:
    figures, fleet = Figures(), Fleet(bench, say)
    with bench.fresh_hosts(*(f"fleet-{number}" for number in range(1, max(SIZES) + 1)), fresh=False) as hosts:
        inventories = {count: fleet.inventory(f"fleet-{count}", named(hosts[:count])) for count in SIZES}
        bench.playbook(inventories[max(SIZES)])
        for _ in range(rounds):
            for count, inventory in inventories.items():
                measure_size(fleet, figures, count, inventory)
            serving, ended = measure_undo(fleet, hosts, inventories[max(SIZES)])
            figures.undo.append(serving)
            figures.undo_ended.append(ended)
            say(
                f"  {len(hosts)} hosts    undo    {serving:6.2f} s after the failure was known, and the stages ended "
                f"after {ended:.2f} s"
            )
        measure_stubs(fleet, figures, hosts[:2])
    if balanced:
        with bench.fresh_hosts("fleet-balancer", *(f"fleet-{number}" for number in range(1, 5)), fresh=False) as hosts:
            measure_traffic(fleet, figures, hosts)
    return figures


def measure_size(fleet: Fleet, figures: Figures, count: int, inventory: Path) -> None:
    settle(fleet, inventory)
    for what, found in (("second", figures.second), ("change", figures.change)):
        if what == "change":
            fleet.edit()
        fleet.bench.disconnect()
        load = os.getloadavg()[0]
        run = fleet.bench.playbook(inventory)
        found.setdefault(count, []).append(run.seconds)
        fleet.say(f"  {count} hosts    {what:<7} {run.seconds:6.2f} s   load {load:.1f}")
        if what == "second" and any(task.get("result") == "changed" for task in run.times["tasks"]):
            raise RuntimeError(f"the second run of {count} hosts changed something")


def settle(fleet: Fleet, inventory: Path) -> None:
    """Hosts that went back, or were left out, take the release. A run after that finds nothing to do."""
    for _ in range(2):
        fleet.bench.playbook(inventory)


MOODY = "cd /srv/webapps/orders/shared/data && echo {mood} >moods.json && chmod 644 moods.json"


def measure_undo(fleet: Fleet, hosts: list[Host], inventory: Path) -> tuple[float, float]:
    """The last host of the last batch fails its health check: seconds from then until the old release serves on all.

    nginx connects to the socket to which a link leads, so the time of this link is that of the first request. The
    second figure is the end of the stages: by then, the new releases have answered their requests and ended.
    """
    *others, last = hosts
    mood = json.dumps({"bad": "gate"}).replace('"', '\\"')
    fleet.on(last, MOODY.format(mood=mood))
    run = fleet.bench.playbook(inventory, ("-e", "build=bad"), status=2)
    tasks = run.times["tasks"]
    known = max(task["end"] for task in tasks if re.match(r"(\S+ : )?switch \| Switch", task["name"]))
    over = max(task["end"] for task in tasks if re.match(r"(\S+ : )?finish \| ", task["name"]))
    back = [float(fleet.on(host, "stat -c %.9Y /srv/webapps/orders/current.sock")) - known for host in others]
    if min(back) < 0:
        raise RuntimeError(f"not all hosts have gone back: {back}")
    return max(back), float(over - known)


# Visitors, through a balancer


def measure_traffic(fleet: Fleet, figures: Figures, hosts: list[Host]) -> None:
    """A code change and an undo of four hosts behind a balancer, with 200 requests a second."""
    balancer, *webs = hosts
    group = {"balancer": {"hosts": {"bench-balancer": balancer}}}
    inventory = fleet.inventory("fleet-balanced", named(webs), **group)
    fleet.bench.playbook(inventory)
    with visitors(fleet, balancer, figures, "change"):
        fleet.edit()
        fleet.bench.playbook(inventory)
    with visitors(fleet, balancer, figures, "undo"):
        measure_undo(fleet, webs, inventory)


@contextlib.contextmanager
def visitors(fleet: Fleet, balancer: Host, figures: Figures, what: str) -> Iterator[None]:
    file = fleet.bench.folder / f"visitors-{what}.json"
    command = [sys.executable, str(CHECKOUT / "tests" / "load" / "orders.py"), balancer["ansible_host"]]
    process = subprocess.Popen([*command, "--json", str(file)], stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield
        time.sleep(1)
    finally:
        process.terminate()
        process.wait(60)
    report = json.loads(file.read_text())
    figures.traffic[what] = {key: report[key] for key in ("requests", "failed", "slowest", "p50", "p99")}
    fleet.say(f"  4 hosts and a balancer, {what}: {figures.traffic[what]}")


# Hosts that there are not


def measure_stubs(fleet: Fleet, figures: Figures, hosts: list[Host]) -> None:
    first, other = (host["ansible_host"] for host in hosts)
    recorded = fleet.inventory("fleet-recorded", named(hosts))
    settle(fleet, recorded)
    for what in ("second", "change"):
        if what == "change":
            fleet.edit()
        folder = fleet.bench.folder / f"answers-{what}"
        ssh = {"ANSIBLE_SSH_EXECUTABLE": str(BENCH / "recording_ssh.py"), "BENCH_FIRST": first, "BENCH_OTHER": other}
        fleet.bench.disconnect()
        fleet.bench.playbook(recorded, more={**ssh, "BENCH_ANSWERS": str(folder)})
        figures.stubs[what] = [measure_stub(fleet, what, folder, first, other, count) for count in STUBBED]


def measure_stub(fleet: Fleet, what: str, folder: Path, first: str, other: str, count: int) -> Cost:
    webs = {
        f"stub-{number}": {"ansible_connection": "bench_stub", "bench_like": first if number == 1 else other}
        for number in range(1, count + 1)
    }
    inventory = fleet.inventory(f"fleet-stub-{count}", webs)
    state = fleet.bench.folder / f"state-{what}-{count}"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    more = {
        "ANSIBLE_CONNECTION_PLUGINS": str(BENCH / "connection"),
        "BENCH_ANSWERS": str(folder),
        "BENCH_STATE": str(state),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # A process of its own has the largest memory of this run alone.
    program = (
        "import json, resource, subprocess, sys; status = subprocess.call(sys.argv[2:], stdout=subprocess.DEVNULL);"
    )
    program += "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
    program += "open(sys.argv[1], 'w').write(str(used.ru_maxrss)); sys.exit(status)"
    peak = fleet.bench.folder / "peak"
    run = fleet.bench.playbook(
        inventory,
        ("--forks", str(FORKS)),
        more={**more, "BENCH_WRAPPED": json.dumps([sys.executable, "-c", program, str(peak)])},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cost = Cost(count, run.seconds, processor, int(peak.read_text()) / 1024)
    fleet.say(
        f"  {count} stubs  {what:<7} {cost.seconds:7.2f} s   processor {1000 * cost.processor / count:.0f} ms a host   "
        f"memory {cost.memory:.0f} MiB"
    )
    return cost


# The report


def told(figures: Figures) -> list[str]:
    found = []
    for what, samples in (("second run", figures.second), ("code change", figures.change)):
        medians = ", ".join(f"{count} hosts {statistics.median(times):.2f} s" for count, times in samples.items())
        found.append(f"Fleet, {what}: {medians}")
    ended = statistics.median(figures.undo_ended)
    found.append(f"Fleet, undo: {ended:.2f} s after the failure was known until the new releases have ended")
    for what, costs in figures.stubs.items():
        each = ", ".join(f"{1000 * cost.processor / cost.hosts:.0f} ms of {cost.hosts}" for cost in costs)
        found.append(f"Fleet, {what}, processor time of the controller for each host: {each}")
    return found


# Name, figure, unit, limit
Target = tuple[str, float, str, float]


def targets(figures: Figures) -> list[Target]:
    second = {count: statistics.median(times) for count, times in figures.second.items()}
    change = {count: statistics.median(times) for count, times in figures.change.items()}
    many = max(SIZES)
    found: list[Target] = [
        ("second run, each further host", (second[many] - second[1]) / (many - 1), "s", 0.25),
        (f"code change of {many} hosts, of 1 host's", change[many] / change[1], "x", 2.5),
        (f"undo of {many} hosts, until the old release serves", statistics.median(figures.undo), "s", 3.0),
    ]
    for what, told in figures.traffic.items():
        found.append((f"requests lost by {what}, of 200 a second", told["failed"], "", 0))
    for what, (few, all_, again) in figures.stubs.items():
        each = statistics.mean(one.processor / one.hosts for one in (few, again))
        ratio = all_.processor / all_.hosts / each
        found.append((f"{what}: processor time a host, {all_.hosts} of {few.hosts}", ratio, "x", 1.2))
        growth = (all_.memory - few.memory) / (all_.hosts - few.hosts)
        found.append((f"{what}: memory a host", growth, "MiB", 1.0))
    return found
