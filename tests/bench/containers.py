# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The cost of ``runtime: container``: the same application on two hosts, once with the host's Python, once in an image.

Each round has its own pair of hosts. The sides take turns at being first, and ratios are taken within a round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import serving

RUNTIMES = ("host", "container")
# The longest code change and the lowest rate in a container, as ratios to the host's.
CHANGE, RATE = 1.3, 0.9
# Each side is asked this often, in turns.
TURNS = 3


@dataclass
class Round:
    """The figures of one side in one round: seconds, responses per second, MiB, requests."""

    first: float
    change: float
    rate: float
    memory: float
    requests: int
    failed: int


Rounds = list[dict[str, Round]]


def measure(bench: Any, rounds: int, say: Callable[[str], None], change: Callable[..., Any]) -> Rounds:
    """``change`` measures a code change under load: of a bench, a host, a source and a command."""
    found = []
    for number in range(1, rounds + 1):
        order = RUNTIMES if number % 2 else RUNTIMES[::-1]
        found.append(measure_round(bench, number, order, say, change))
        for runtime, one in found[-1].items():
            say(
                f"  {runtime:<10} first {one.first:6.2f} s   change {one.change:6.2f} s   {one.rate:6.0f} a second   "
                f"{one.memory:.0f} MiB   {one.failed} of {one.requests} requests failed"
            )
    return found


def measure_round(
    bench: Any, number: int, order: tuple[str, ...], say: Callable[[str], None], change: Callable[..., Any]
) -> dict[str, Round]:
    first, changed = {}, {}
    names = [f"{runtime}-{number}" for runtime in order]
    with bench.fresh_hosts(*names, fresh=False) as found:
        hosts = dict(zip(order, found, strict=True))
        for runtime, host in hosts.items():
            source = bench.source(runtime)
            serving.extend(source)
            model = {**bench.model, "source": {"path": str(source)}, "runtime": runtime}
            inventory = bench.inventory(f"runtime-{runtime}", [host], [model])
            say(f"Round {number}, {runtime}, load {os.getloadavg()[0]:.1f}")
            first[runtime] = bench.playbook(inventory).seconds
            changed[runtime] = change(bench, host, source, lambda inventory=inventory: bench.playbook(inventory))
        rates = measure_rates(bench, hosts)
        memory = {runtime: memory_of(bench, host) for runtime, host in hosts.items()}
    return {
        runtime: Round(
            first=first[runtime],
            change=changed[runtime].seconds,
            rate=rates[runtime],
            memory=memory[runtime],
            requests=changed[runtime].requests,
            failed=sum(changed[runtime].failed.values()),
        )
        for runtime in RUNTIMES
    }


def measure_rates(bench: Any, hosts: dict[str, Any]) -> dict[str, float]:
    client = (serving.BENCH / "visitors.py").read_bytes()
    rates: dict[str, list[float]] = {runtime: [] for runtime in hosts}
    for turn in range(TURNS + 1):
        for runtime, host in hosts.items():
            ssh = serving.over_ssh(bench.ssh(host))
            figures = serving.ask(ssh, client, *serving.PLACES["ours"], serving.SECONDS if turn else 1)
            if turn:  # the first one warms up the server
                rates[runtime].append(serving.rate(figures))
    return {runtime: statistics.median(values) for runtime, values in rates.items()}


def memory_of(bench: Any, host: Any) -> float:
    """PSS of all processes of the application, in MiB, a moment after the load."""
    time.sleep(1)
    ssh = serving.over_ssh(bench.ssh(host))
    told = json.loads(ssh(["python3", "-"], (serving.BENCH / "memory.py").read_bytes()))
    return float(told["hello"]["all"])


def judge(rounds: Rounds) -> list[dict[str, Any]]:
    """The targets; the medians of the ratios count."""

    def ratio(value: Callable[[Round], float]) -> float:
        return statistics.median(value(one["container"]) / value(one["host"]) for one in rounds)

    lost = max(one["container"].failed for one in rounds)
    return [
        serving.at_most("code change in a container, of the host's", ratio(lambda one: one.change), CHANGE),
        {"name": "requests lost by it, at most", "figure": lost, "unit": "", "limit": 0, "met": not lost},
        serving.at_least("rate in a container, of the host's", ratio(lambda one: one.rate), RATE),
    ]


def told(rounds: Rounds) -> list[str]:
    """The medians of both sides; a first deployment has no target, because it makes the image."""
    found = []
    for runtime in RUNTIMES:
        sides = [asdict(one[runtime]) for one in rounds]
        medians = {key: statistics.median(side[key] for side in sides) for key in ("first", "change", "rate", "memory")}
        found.append(
            f"runtime {runtime:<10} first {medians['first']:6.2f} s   change {medians['change']:6.2f} s   "
            f"{medians['rate']:6.0f} a second   {medians['memory']:.0f} MiB"
        )
    return found


def failure(error: BaseException) -> str:
    said = getattr(error, "stderr", b"") or b""
    return f"The runtimes could not be compared: {error}\n{said.decode(errors='replace')}"


ERRORS = (RuntimeError, subprocess.CalledProcessError)
