# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""How fast a site of the collection answers, against the plain site of a tutorial, gunicorn alone, and a bare nginx.

All of them run on one host, and are asked in turns by the same client (visitors.py), which takes its share of the
processors from each alike. memory.py measures the memory of the app servers.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
from collections.abc import Callable
from typing import Any

BENCH = pathlib.Path(__file__).resolve().parent
SECONDS = 5
PROCESSES = 2
CONNECTIONS = 8

APP = """

@app.get("/json")
def small():
    return {"answer": 42, "words": ["a", "small", "answer"]}
"""
FILE = "static/100k.bin"

# The address and the path that each case requests, in each round.
PLACES = {
    "ours": ("127.0.0.1:80", "/json"),
    "ours, not kept": ("127.0.0.1:8080", "/json"),
    "ours, uwsgi": ("127.0.0.1:8083", "/json"),
    "ours, uwsgi sync": ("127.0.0.1:8085", "/json"),
    "ours, sync": ("127.0.0.1:8084", "/json"),
    "ours, granian": ("127.0.0.1:8086", "/json"),
    "tutorial": ("127.0.0.1:8081", "/json"),
    "gunicorn alone": ("/srv/webapps/hello/current.sock", "/json"),
    "sync alone": ("/srv/webapps/by-sync/current.sock", "/json"),
    "ours, file": ("127.0.0.1:80", "/static/100k.bin"),
    "bare nginx, file": ("127.0.0.1:8082", "/static/100k.bin"),
}
# The service of each case whose memory is measured.
SERVICES = {
    "ours": "hello",
    "ours, uwsgi": "by-uwsgi",
    "ours, uwsgi sync": "uwsgi-sync",
    "ours, sync": "by-sync",
    "ours, granian": "by-granian",
    "tutorial": "bench-tutorial",
}
# The lowest rate and the highest p99 of each server, as ratios to the tutorial's site.
GOALS = (
    ("ours", 1.3, 1.2),
    ("ours, sync", 1.3, 1.0),
    ("ours, uwsgi", 1.9, 0.8),
    ("ours, uwsgi sync", 1.9, 0.8),
    ("ours, granian", 1.8, 1.0),
)
Figures = dict[str, dict[str, Any]]


def extend(source: pathlib.Path) -> None:
    """The requested responses: a small one of the application, and a file of 100 KB."""
    with (source / "hello.py").open("a", encoding="utf-8") as file:
        file.write(APP)
    (source / FILE).write_bytes(bytes(range(256)) * 400)


def models(model: dict[str, Any]) -> list[dict[str, Any]]:
    """The applications of the host: as people write it, without kept connections, under each server, as the tutorial.

    The tutorial's four processes that answer one request at a time each are tried under both servers.
    """
    site = model.get("site", {})
    return [
        model,
        {**model, "name": "not-kept", "site": {**site, "port": 8080, "keepalive": 0}},
        {**model, "name": "by-uwsgi", "site": {**site, "port": 8083}, "server": "uwsgi"},
        {**model, "name": "by-sync", "site": {**site, "port": 8084}, "workers": 4, "threads": 1},
        {**model, "name": "uwsgi-sync", "site": {**site, "port": 8085}, "server": "uwsgi", "workers": 4, "threads": 1},
        {**model, "name": "by-granian", "site": {**site, "port": 8086}, "server": "granian"},
    ]


def measure(ssh: Callable[[list[str], bytes], bytes], rounds: int, say: Callable[[str], None]) -> list[Figures]:
    """``ssh`` runs a command as root on the host, with an input, and gives its output."""
    ssh(["sh", "-s", "hello"], (BENCH / "rivals.sh").read_bytes())
    client = (BENCH / "visitors.py").read_bytes()
    for address, path in PLACES.values():  # warm up every server
        ask(ssh, client, address, path, 1)
    found: list[Figures] = []
    for number in range(1, rounds + 1):
        names = list(PLACES) if number % 2 else list(reversed(PLACES))
        figures = {name: ask(ssh, client, *PLACES[name], SECONDS) for name in names}
        memory = json.loads(ssh(["python3", "-"], (BENCH / "memory.py").read_bytes()))
        for name, service in SERVICES.items():
            figures[name]["memory"] = memory[service]
        found.append({name: figures[name] for name in PLACES})
        say(f"Round {number}")
        for name, one in found[-1].items():
            latency = f"p50 {one['p50']:6.2f} ms   p99 {one['p99']:6.2f} ms"
            say(f"  {name:<18} {rate(one):8.0f} a second   {latency}{told_clocks(one)}{told_memory(one)}")
    return found


def ask(
    ssh: Callable[[list[str], bytes], bytes], client: bytes, address: str, path: str, seconds: int
) -> dict[str, Any]:
    words = ["python3", "-", address, path, str(seconds), str(PROCESSES), str(CONNECTIONS)]
    figures: dict[str, Any] = json.loads(ssh(words, client))
    if figures["failed"] or not figures["requests"]:
        raise RuntimeError(f"{address}{path}: {figures['failed']} of {figures['requests']} requests failed.")
    return figures


def told_clocks(figures: dict[str, Any]) -> str:
    """Where the processors' time went, in microseconds for each answer, and what was left of it."""
    clocks = figures["clocks"]
    spent = ", ".join(f"{name} {clocks[name]:3d}" for name in ("nginx", "application", "client"))
    return f"   us each: {spent}   idle {100 * clocks['idle']:.0f} %, stolen {100 * clocks['stolen']:.0f} %"


def told_memory(figures: dict[str, Any]) -> str:
    """The workers of an app server after the load, the memory of one, and that of all its processes."""
    if not (memory := figures.get("memory")):
        return ""
    return f"   {memory['workers']} workers of {memory['worker']:.0f} MiB, {memory['all']:.0f} MiB in all"


def rate(figures: dict[str, Any]) -> float:
    return float(figures["requests"] / figures["seconds"])


def judge(rounds: list[Figures]) -> list[dict[str, Any]]:
    """The targets; ratios are taken within a round, and their median counts."""

    def ratio(ours: str, theirs: str, value: Callable[[dict[str, Any]], float] = rate) -> float:
        return statistics.median(value(one[ours]) / value(one[theirs]) for one in rounds)

    found = []
    for ours, least, most in GOALS:
        told = ours.removeprefix("ours")
        found += [
            at_least(f"rate, of the tutorial's site{told}", ratio(ours, "tutorial"), least),
            at_most(f"p99, of the tutorial's site{told}", ratio(ours, "tutorial", lambda one: one["p99"]), most),
        ]
    for ours, alone in (("ours", "gunicorn alone"), ("ours, sync", "sync alone")):
        found.append(at_least(f"rate, of gunicorn alone{ours.removeprefix('ours')}", ratio(ours, alone), 0.9))
    return [*found, at_least("file of 100 KB, of a bare nginx", ratio("ours, file", "bare nginx, file"), 0.95)]


def at_least(name: str, figure: float, limit: float) -> dict[str, Any]:
    return {
        "name": name,
        "figure": round(figure, 3),
        "unit": "x",
        "limit": limit,
        "least": True,
        "met": figure >= limit,
    }


def at_most(name: str, figure: float, limit: float) -> dict[str, Any]:
    return {"name": name, "figure": round(figure, 3), "unit": "x", "limit": limit, "met": figure <= limit}


def over_ssh(command: list[str]) -> Callable[[list[str], bytes], bytes]:
    """Runs words as root on the host that ``command`` (ssh and its options) reaches."""

    def run(words: list[str], given: bytes) -> bytes:
        return subprocess.run([*command, "sudo", *words], input=given, capture_output=True, check=True).stdout

    return run
