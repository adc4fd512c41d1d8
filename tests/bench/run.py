#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Measures the collection against a plain shell script that reaches the same state (plain.sh), on fresh hosts over SSH.

first    from the start of the command to the application's first response on a fresh host, requested through nginx
second   the same command again: nothing to do
change   one line of the application changed: from the start of the command to the first new answer, while a client asks
         about 200 times a second over fresh connections and counts every answer that is not 200 with a whole body
growth   what the second run takes more with 20 applications on a host than with one
look     status and verify of 30 applications on a host, as a ratio to a run without tasks
fleet    1, 4 and 8 hosts: the second run, a code change, an undo, requests lost behind a balancer, and what 500 hosts
         cost the controller
serving  how fast the finished site answers, against the plain site of a tutorial, gunicorn alone and a bare nginx
runtime  the application in a container, against the same on the host: deployments, rate and memory

Collection and script take turns, each on a host of its own; figures are medians over the rounds, ratios are taken
within a round. Prints which of the project's targets are met; ends with an error only where something failed, or with
--strict.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import yaml

BENCH = pathlib.Path(__file__).resolve().parent
CHECKOUT = BENCH.parent.parent
sys.path.insert(0, str(CHECKOUT / "scripts"))

import containers  # noqa: E402  # scripts beside us, not packages
import fleet  # noqa: E402
import serving  # noqa: E402
import test_hosts  # noqa: E402

CASES = ("first", "second", "change", "growth", "look", "fleet", "serving", "runtime")
SIDES = ("collection", "script")

# Seconds after which a command or a response counts as failed.
COMMAND_TIMEOUT = 900
ANSWER_TIMEOUT = 60

# The client of the case change: this many threads, each of which asks this often. Many threads, so that a stall delays
# the requests it hits and none of those that follow.
CLIENTS = 16
RATE = 200
# Seconds that the client continues after the command has ended, to detect a slow stop of the old processes.
AFTERWARDS = 1.0

# Signals that end the benchmark early; it removes its hosts first.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Seconds that the command of a change may continue after the new answer: the watch period of 2.5 s, and 1.5 s more.
RETURN = 4.0

GROWN = 20
LOOKED_AT = 30
LOOKS = ("status", "verify")
# Times a run without tasks. On an idle machine, one takes 0.4 s, and so a look at 30 applications at most 5 s.
LOOK_LIMIT = 12.0
PAGE = "/bench"
# The view that the copy of the example gets at PAGE. Its body is fixed, so that an incomplete response is detected.
FILLING = "-" * 4000
ROUTE = f'''

@app.get("{PAGE}")
def bench():
    return "version 1 {FILLING}\\n"
'''


class Failure(Exception):
    """Something went wrong, so there is no figure."""


class NotProvisioned(Failure):
    """The application on a fresh host did not answer. A slow package index can cause this, so it is retried."""


def say(message: str) -> None:
    print(message, flush=True)


def page(version: int) -> bytes:
    return f"version {version} {FILLING}\n".encode()


# Measurements


@dataclass
class Run:
    """One run of a command, and the tasks that the callback recorded."""

    seconds: float
    began: float
    times: dict[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> dict[str, int]:
        return dict(Counter(task.get("result", "ok") for task in self.times.get("tasks", [])))

    def spans(self) -> list[tuple[str, float]]:
        """The duration of each task: (name, seconds), in order."""
        if not self.times:
            return []
        found = [("start of ansible-playbook", self.times["play"] - self.began)]
        tasks = self.times["tasks"]
        # A task lasts until the next one begins, so that Ansible's time between tasks is included.
        ends = [task["begin"] for task in tasks[1:]] + [self.times["end"]]
        found += [
            (f"{task['name']} ({task.get('result', 'ok')})", end - task["begin"])
            for task, end in zip(tasks, ends, strict=True)
        ]
        return [*found, ("end of ansible-playbook", self.began + self.seconds - self.times["end"])]


@dataclass
class Sample:
    """The measurement of one side in one round."""

    load: float
    seconds: float
    command: float
    tasks: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    slowest: float = 0.0
    spans: list[tuple[str, float]] = field(default_factory=list)


class Client:
    """Request PAGE from one host at a steady rate over fresh connections, until it is stopped."""

    def __init__(self, address: str, rate: float, clients: int) -> None:
        self.address = address
        self.interval = clients / rate
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.seen: dict[bytes, float] = {}
        self.arrivals = threading.Condition(self.lock)
        self.failed: Counter[str] = Counter()
        self.requests = 0
        self.slowest = 0.0
        offsets = [number * self.interval / clients for number in range(clients)]
        self.threads = [threading.Thread(target=self.work, args=(offset,), daemon=True) for offset in offsets]

    def __enter__(self) -> Self:
        self.origin = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=15)

    def work(self, offset: float) -> None:
        due = self.origin + offset
        while not self.stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + self.interval, time.monotonic() - self.interval)
            began = time.monotonic()
            body, problem = self.ask()
            ended = time.monotonic()
            with self.lock:
                self.requests += 1
                self.slowest = max(self.slowest, ended - began)
                if problem:
                    self.failed[problem] += 1
                elif body not in self.seen:
                    self.seen[body] = time.time()
                    self.arrivals.notify_all()

    def ask(self) -> tuple[bytes, str]:
        """One request: the body, and the error, if there was one."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request("GET", PAGE, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return b"", type(error).__name__
        finally:
            connection.close()
        if answer.status != 200:
            return body, f"status {answer.status}"
        return body, "" if body in (page(1), page(2)) else "another body"

    def await_(self, version: int, timeout: float) -> float:
        """The moment (seconds since 1970) at which that version was seen first."""
        with self.lock:
            if not self.arrivals.wait_for(lambda: page(version) in self.seen, timeout):
                raise Failure(
                    f"Version {version} of the application never answered; failures: {dict(self.failed) or 'none'}."
                )
            return self.seen[page(version)]


# The two sides


class Bench:
    """Hosts, folders and commands of one run of the benchmark; leaving it removes them all."""

    def __init__(self, suite: str, keep_logs: bool) -> None:
        self.suite = suite
        self.keep_logs = keep_logs
        self.scenario = f"bench-{os.getpid()}"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pyweb-bench-"))
        self.hosts = self.folder / "hosts.json"
        self.model = yaml.safe_load((CHECKOUT / "inventory" / "group_vars" / "web.yml").read_text())["webapps"][0]
        defaults = yaml.safe_load((CHECKOUT / "roles" / "python" / "defaults" / "main.yml").read_text())
        self.uv_version = str(defaults["python_uv_version"])
        self.path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        self.commands = 0
        self.repeated = 0

    @contextlib.contextmanager
    def fresh_hosts(self, *names: str, fresh: bool = True) -> Iterator[list[dict[str, str]]]:
        """Yield the connection variables of new hosts, and remove the hosts afterwards."""
        wanted = {f"bench-{name}": test_hosts.Kind(self.suite, fresh=fresh) for name in names}
        try:
            test_hosts.create(self.scenario, self.hosts, wanted)
            reached = json.loads(self.hosts.read_text())["all"]["hosts"]
            yield [reached[name] for name in wanted]
        finally:
            self.remove_hosts()

    def remove_hosts(self) -> None:
        with uninterrupted():
            test_hosts.destroy(self.scenario, self.hosts)

    def close(self) -> None:
        with uninterrupted():
            self.remove_hosts()
            if not self.keep_logs:
                shutil.rmtree(self.folder, ignore_errors=True)

    def source(self, name: str) -> pathlib.Path:
        """A copy of the example that answers at PAGE."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(CHECKOUT / "examples" / "hello", folder, ignore=shutil.ignore_patterns("__pycache__"))
        with (folder / "hello.py").open("a", encoding="utf-8") as file:
            file.write(ROUTE)
        return folder

    def change(self, source: pathlib.Path) -> None:
        file = source / "hello.py"
        text = file.read_text(encoding="utf-8")
        if text.count("version 1 ") != 1:
            raise Failure(f"{file} has not exactly one line to change.")
        file.write_text(text.replace("version 1 ", "version 2 "), encoding="utf-8")

    def inventory(self, name: str, hosts: list[dict[str, str]], webapps: list[dict[str, Any]]) -> pathlib.Path:
        path = self.folder / f"{name}.json"
        named = {f"bench-{name}-{number}": host for number, host in enumerate(hosts, start=1)}
        content = {"web": {"hosts": named, "vars": {"webapps": webapps}}}
        path.write_text(json.dumps(content, indent=2))
        return path

    def playbook(
        self,
        inventory: pathlib.Path,
        extra: tuple[str, ...] = (),
        name: str = "site",
        *,
        status: int = 0,
        more: dict[str, str] | None = None,
    ) -> Run:
        """Run a playbook that ends with this status, with more variables of the environment."""
        times = self.folder / "times.json"
        times.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "LC_ALL": "C.UTF-8",
            "PATH": self.path,
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
            "ANSIBLE_CALLBACK_PLUGINS": str(BENCH / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "bench_times",
            "BENCH_TIMES": str(times),
            **(more or {}),
        }
        wrapped = json.loads(environment.get("BENCH_WRAPPED", "[]"))
        words = [*wrapped, "ansible-playbook", f"{name}.yml", "-i", str(inventory), *extra]
        run = self.command(words, environment, status)
        run.times = json.loads(times.read_text())
        return run

    def ssh(self, host: dict[str, str]) -> list[str]:
        ssh = ["ssh", *test_hosts.ssh_options(), "-o", "ControlMaster=auto", "-o", "ControlPersist=60s"]
        return [*ssh, "-i", host["ansible_ssh_private_key_file"], f"{host['ansible_user']}@{host['ansible_host']}"]

    def script(self, host: dict[str, str], source: pathlib.Path) -> Run:
        command = [str(BENCH / "plain.sh"), str(source), self.uv_version, *self.ssh(host)]
        return self.command(command, dict(os.environ))

    def command(self, argv: list[str], environment: dict[str, str], wanted: int = 0) -> Run:
        """Run a command in the checkout; print its output only if it ends with another status."""
        self.commands += 1
        log = self.folder / f"{self.commands:03}-{pathlib.Path(argv[0]).name}.log"
        with log.open("wb") as output:
            began, clock = time.time(), time.monotonic()
            process = subprocess.Popen(
                argv, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            try:
                status = process.wait(COMMAND_TIMEOUT)
            except BaseException as error:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise Failure(f"{argv[0]} took more than {COMMAND_TIMEOUT} s.\n{tail(log)}") from error
                raise
            seconds = time.monotonic() - clock
        if status != wanted:
            raise Failure(f"{argv[0]} ended with status {status}.\n{tail(log)}")
        return Run(seconds, began)

    def disconnect(self) -> None:
        """Close the connections, so that the next command connects again, as it would after a pause."""
        test_hosts.close_connections(self.hosts)


def tail(log: pathlib.Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:])


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore the ending signals during the clean-up."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# The cases


def measure_side(bench: Bench, side: str, number: int, cases: set[str]) -> dict[str, Sample]:
    """One round of one side on one fresh host: first, then second and change if they are selected."""
    samples = {}
    name = f"{side}-{number}"
    source = bench.source(name)
    with bench.fresh_hosts(name) as (host,):
        inventory = bench.inventory(name, [host], [{**bench.model, "source": {"path": str(source)}}])

        def command() -> Run:
            return bench.playbook(inventory) if side == "collection" else bench.script(host, source)

        load = os.getloadavg()[0]
        with Client(host["ansible_host"], rate=20, clients=2) as client:
            try:
                run = command()
            except Failure as failure:
                raise NotProvisioned(str(failure)) from failure
            moment = client.await_(1, ANSWER_TIMEOUT)
        samples["first"] = sample(load, moment - run.began, run)
        if "second" in cases:
            bench.disconnect()
            load = os.getloadavg()[0]
            run = command()
            unchanged(run)
            samples["second"] = sample(load, run.seconds, run)
        if "change" in cases:
            samples["change"] = measure_change(bench, host, source, command)
    return samples


def measure_patiently(bench: Bench, side: str, number: int, cases: set[str]) -> dict[str, Sample]:
    """Measure a side, and retry once on another host if the first one could not be provisioned."""
    try:
        return measure_side(bench, side, number, cases)
    except NotProvisioned as failure:
        say(f"  {side:<10} failed, and is tried once more:\n{failure}")
        bench.repeated += 1
        return measure_side(bench, side, number, cases)


def measure_change(bench: Bench, host: dict[str, str], source: pathlib.Path, command: Callable[[], Run]) -> Sample:
    bench.disconnect()
    load = os.getloadavg()[0]
    with Client(host["ansible_host"], RATE, CLIENTS) as client:
        client.await_(1, ANSWER_TIMEOUT)
        time.sleep(0.5)
        bench.change(source)
        run = command()
        moment = client.await_(2, ANSWER_TIMEOUT)
        time.sleep(AFTERWARDS)
    found = sample(load, moment - run.began, run)
    return dataclasses.replace(found, requests=client.requests, failed=dict(client.failed), slowest=client.slowest)


def small_applications(bench: Bench, source: pathlib.Path, count: int) -> list[dict[str, Any]]:
    """Applications with one worker each, because the load of idle processes is not measured."""
    return [
        {
            **bench.model,
            "name": f"hello-{number:02}",
            "source": {"path": str(source)},
            "workers": 1,
            "site": {**bench.model.get("site", {}), "domains": [f"hello-{number:02}.example.com"]},
        }
        for number in range(1, count + 1)
    ]


def measure_looks(bench: Bench, rounds: int) -> dict[str, list[Sample]]:
    """Status and verify of a host with many applications, in turns. By the name of the playbook."""
    found: dict[str, list[Sample]] = {name: [] for name in LOOKS}
    webapps = small_applications(bench, bench.source("look"), LOOKED_AT)
    with bench.fresh_hosts("look") as hosts:
        inventory = bench.inventory("look", hosts, webapps)
        bench.playbook(inventory)
        for _ in range(rounds):
            for name in LOOKS:
                bench.disconnect()
                load = os.getloadavg()[0]
                run = bench.playbook(inventory, name=name)
                found[name].append(sample(load, run.seconds, run))
                say(told_sample(f"{LOOKED_AT} applications", name, found[name][-1]))
    return found


def measure_growth(bench: Bench, rounds: int) -> dict[str, list[Sample]]:
    """Second runs on a host with one application and on a host with many, in turns."""
    webapps = small_applications(bench, bench.source("growth"), GROWN)
    counts = ("1", str(GROWN))
    with bench.fresh_hosts(*(f"growth-{count}" for count in counts)) as hosts:
        inventories = {
            count: bench.inventory(f"growth-{count}", [host], webapps[: int(count)])
            for count, host in zip(counts, hosts, strict=True)
        }
        return measure_second_runs(bench, inventories, rounds, "app")


def measure_fleet(bench: Bench, rounds: int) -> fleet.Figures:
    try:
        return fleet.measure(bench, rounds, say, balanced=(CHECKOUT / "roles" / "balancer").is_dir())
    except (RuntimeError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or b""
        raise Failure(f"The fleet could not be measured: {error}\n{said.decode()}") from error


def measure_second_runs(
    bench: Bench, inventories: dict[str, pathlib.Path], rounds: int, what: str
) -> dict[str, list[Sample]]:
    """Provision each inventory once, then time runs of each that change nothing, in turns. By the number of things."""
    found: dict[str, list[Sample]] = {count: [] for count in inventories}
    for inventory in inventories.values():
        bench.playbook(inventory)
    for _ in range(rounds):
        for count, inventory in inventories.items():
            bench.disconnect()
            load = os.getloadavg()[0]
            run = bench.playbook(inventory)
            unchanged(run)
            found[count].append(sample(load, run.seconds, run))
            say(told_sample(f"{count} {what}{'s' if count != '1' else ''}", "second", found[count][-1]))
    return found


def measure_serving(bench: Bench, rounds: int) -> list[serving.Figures]:
    """Measure the finished site against the alternatives, on one host."""
    source = bench.source("serving")
    serving.extend(source)
    with bench.fresh_hosts("serving") as (host,):
        webapps = serving.models({**bench.model, "source": {"path": str(source)}})
        bench.playbook(bench.inventory("serving", [host], webapps))
        try:
            return serving.measure(serving.over_ssh(bench.ssh(host)), rounds, say)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", b"") or b""
            raise Failure(f"The finished site could not be measured: {error}\n{said.decode()}") from error


def measure_runtimes(bench: Bench, rounds: int) -> containers.Rounds:
    try:
        return containers.measure(bench, rounds, say, measure_change)
    except containers.ERRORS as error:
        raise Failure(containers.failure(error)) from error


def unchanged(run: Run) -> None:
    """Fail if a second run changed something, because it would not measure an unchanged host."""
    changed = [task["name"] for task in run.times.get("tasks", []) if task.get("result") == "changed"]
    if changed:
        raise Failure(f"The second run changed something: {', '.join(changed)}.")


def sample(load: float, seconds: float, run: Run) -> Sample:
    return Sample(load=load, seconds=seconds, command=run.seconds, tasks=run.tasks, spans=run.spans())


# The report


def medians(rounds: list[dict[str, dict[str, Sample]]], case: str) -> dict[str, float]:
    """Median seconds of both sides, and the median of the ratios that were taken within each round."""
    found = {side: statistics.median(round_[side][case].seconds for round_ in rounds) for side in SIDES}
    ratios = [round_["collection"][case].seconds / round_["script"][case].seconds for round_ in rounds]
    return {**found, "ratio": statistics.median(ratios)}


def told_tasks(tasks: dict[str, int]) -> str:
    names = [name for name in ("ok", "changed", "skipped", "failed") if tasks.get(name)]
    return ", ".join(f"{tasks[name]} {name}" for name in names)


def told_sample(side: str, case: str, found: Sample) -> str:
    text = f"  {side:<10} {case:<7} {found.seconds:6.2f} s   load {found.load:.1f}"
    if abs(found.command - found.seconds) > 0.005:
        text += f"   command {found.command:.2f} s"
    if found.tasks:
        text += f"   {told_tasks(found.tasks)}"
    if found.requests:
        failures = ", ".join(f"{count} x {what}" for what, count in found.failed.items())
        text += (
            f"   {sum(found.failed.values())} of {found.requests} requests failed{f' ({failures})' if failures else ''}"
        )
        text += f", slowest {found.slowest:.2f} s"
    return text


def judged(name: str, figure: float, unit: str, limit: float) -> dict[str, Any]:
    return {"name": name, "figure": round(figure, 3), "unit": unit, "limit": limit, "met": figure <= limit}


@dataclass
class Results:
    """The samples of all cases: by round and side, and by the number of applications or hosts."""

    rounds: list[dict[str, dict[str, Sample]]] = field(default_factory=list)
    growth: dict[str, list[Sample]] = field(default_factory=dict)
    looks: dict[str, list[Sample]] = field(default_factory=dict)
    fleet: fleet.Figures | None = None
    served: list[serving.Figures] = field(default_factory=list)
    runtimes: containers.Rounds = field(default_factory=list)


def judge(results: Results, cases: set[str], pace: float) -> list[dict[str, Any]]:
    """The project's targets, and whether they are met. ``pace`` is the seconds of a run that does nothing."""
    found, rounds = [], results.rounds
    if rounds and "first" in cases:
        found.append(judged("first run, of the script's", medians(rounds, "first")["ratio"], "x", 1.2))
    if rounds and "second" in cases:
        seconds = medians(rounds, "second")["collection"]
        found.append(judged("second run, of a run without tasks", seconds / pace, "x", 2.5))
    if rounds and "change" in cases:
        seconds = medians(rounds, "change")["collection"]
        found.append(judged("code change, of a run without tasks", seconds / pace, "x", 4.0))
        changes = [round_["collection"]["change"] for round_ in rounds]
        after = statistics.median(one.command - one.seconds for one in changes)
        found.append(judged("its command ends after the new answer", after, "s", RETURN))
        found.append(judged("requests lost by it, at most", max(sum(one.failed.values()) for one in changes), "", 0))
    if results.growth:
        few, many = second_runs(results.growth)
        found.append(judged(f"growth, 1 to {GROWN} applications", many - few, "s", 0.3))
    for name, samples in results.looks.items():
        seconds = statistics.median(one.seconds for one in samples)
        found.append(judged(f"{name} of {LOOKED_AT} applications, of an empty run", seconds / pace, "x", LOOK_LIMIT))
    if results.fleet:
        found += [judged(*target) for target in fleet.targets(results.fleet)]
    if results.served:
        found += serving.judge(results.served)
    if results.runtimes:
        found += containers.judge(results.runtimes)
    return found


def second_runs(samples: dict[str, list[Sample]]) -> tuple[float, float]:
    """The median seconds for one thing, and for the larger number of things."""
    by_number = sorted(samples, key=int)
    few, many = (statistics.median(found.seconds for found in samples[key]) for key in by_number)
    return few, many


def report(results: Results, targets: list[dict[str, Any]], cases: set[str], profile: bool) -> None:
    rounds = results.rounds
    wanted = [case for case in ("first", "second", "change") if case in cases]
    if rounds and wanted:
        say(f"\nMedians of {len(rounds)}   collection    script     ratio    tasks")
        for case in wanted:
            found = medians(rounds, case)
            tasks = told_tasks(rounds[-1]["collection"][case].tasks)
            say(f"{case:<13} {found['collection']:9.2f} s {found['script']:7.2f} s {found['ratio']:8.2f}x   {tasks}")
    if results.growth:
        few, many = second_runs(results.growth)
        say(f"\nSecond run with 1 of the applications {few:.2f} s, with {GROWN} {many:.2f} s: {many - few:+.2f} s")
    if results.fleet:
        say("\n" + "\n".join(fleet.told(results.fleet)))
    if results.runtimes:
        say("\n" + "\n".join(containers.told(results.runtimes)))
    if profile:
        for case in wanted:
            tell_spans(case, [round_["collection"][case] for round_ in rounds])
        for key, found_samples in results.growth.items():
            tell_spans(f"second run with {key} application{'s' if key != '1' else ''}", found_samples)
    if targets:
        say("\nTargets")
    for target in targets:
        unit = target["unit"]
        met = "met" if target["met"] else "NOT MET"
        bound = "least" if target.get("least") else "most"
        figures = f"{target['figure']:g} {unit} (at {bound} {target['limit']:g} {unit})".replace(" )", ")")
        say(f"  {target['name']:<38} {figures}: {met}")


def tell_spans(case: str, samples: list[Sample]) -> None:
    """Print the median duration of every task, for runs that had the same tasks."""
    usual = Counter(tuple(name for name, _ in found.spans) for found in samples).most_common(1)[0][0]
    alike = [found for found in samples if tuple(name for name, _ in found.spans) == usual]
    say(f"\nWhere the time goes: {case}")
    for index, name in enumerate(usual):
        say(f"  {statistics.median(found.spans[index][1] for found in alike):6.2f} s  {name}")


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def empty_play(path: str) -> float:
    """Seconds of ansible-playbook with nothing to do, the quickest of three: no playbook can be quicker here."""
    play = json.dumps([{"hosts": "localhost", "gather_facts": False}])
    found = []
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(play)
        file.flush()
        for _ in range(3):
            began = time.monotonic()
            words = ["ansible-playbook", "-i", "localhost,", file.name]
            subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, check=True)
            found.append(time.monotonic() - began)
    return min(found)


def positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 99")
    return int(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=test_hosts.SUITES, default="bookworm", help="what the hosts run (bookworm)")
    parser.add_argument("--rounds", type=positive, default=3, help="how often everything is measured (3)")
    parser.add_argument("--only", choices=CASES, action="append", help="measure this case only; can be given again")
    parser.add_argument("--profile", action="store_true", help="print the duration of every task")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every figure to this file")
    parser.add_argument("--strict", action="store_true", help="end with status 2 where a target is missed")
    parser.add_argument("--keep-logs", action="store_true", help="keep the output of all commands, and say where")
    return parser.parse_args()


def interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def measure(bench: Bench, count: int, cases: set[str]) -> Results:
    results = Results()
    if cases & {"first", "second", "change"}:
        for number in range(1, count + 1):
            say(f"Round {number}")
            found = {}
            # The sides take turns at being first, so that a slower or faster machine affects both.
            for side in SIDES if number % 2 else reversed(SIDES):
                found[side] = measure_patiently(bench, side, number, cases)
                for case, one in found[side].items():
                    if case in cases:
                        say(told_sample(side, case, one))
            results.rounds.append(found)
    if "growth" in cases:
        say("Growth")
        results.growth = measure_growth(bench, count)
    if "look" in cases:
        say("Look")
        results.looks = measure_looks(bench, count)
    if "fleet" in cases:
        say("Fleet")
        results.fleet = measure_fleet(bench, count)
    if "serving" in cases:
        say("Serving")
        results.served = measure_serving(bench, count)
    if "runtime" in cases:
        say("Runtime")
        results.runtimes = measure_runtimes(bench, count)
    return results


def main() -> int:
    arguments = parse()
    cases = set(arguments.only or CASES)
    for number in ENDINGS:
        signal.signal(number, interrupted)
    started = machine()
    load = ", ".join(map(str, started["load"]))
    say(f"{arguments.suite}, {started['processors']} processors, {started['memory_gib']} GiB, load average {load}")
    bench = Bench(arguments.suite, arguments.keep_logs)
    try:
        if not shutil.which("ansible-playbook", path=bench.path):
            raise Failure("There is no ansible-playbook beside this Python. Run it as: make bench")
        pace = [empty_play(bench.path)]
        say(f"ansible-playbook with nothing to do takes {pace[0]:.2f} s here")
        # Build the images before the first host is created, so that no figure includes it.
        test_hosts.prepare([(arguments.suite, "systemd", True)])
        results = measure(bench, arguments.rounds, cases)
        ended = machine()
        pace.append(empty_play(bench.path))
        started["empty_play"] = round(statistics.mean(pace), 2)
        say(f"ansible-playbook with nothing to do takes {pace[-1]:.2f} s at the end")
        targets = judge(results, cases, started["empty_play"])
        report(results, targets, cases, arguments.profile)
        if arguments.json:
            document = {
                "suite": arguments.suite,
                "machine": {**started, "load_after": ended["load"]},
                "rounds": [{side: as_json(found) for side, found in round_.items()} for round_ in results.rounds],
                "repeated": bench.repeated,
                "growth": as_lists(results.growth),
                "look": as_lists(results.looks),
                "fleet": results.fleet.as_json() if results.fleet else {},
                "serving": results.served,
                "runtime": [
                    {name: dataclasses.asdict(one) for name, one in found.items()} for found in results.runtimes
                ],
                "targets": targets,
            }
            arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    except (Failure, test_hosts.Failure) as failure:
        say(f"\n{failure}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted.")
        return 130
    finally:
        bench.close()
        if arguments.keep_logs:
            say(f"Logs are in {bench.folder}")
    say(f"Load average at the end: {', '.join(map(str, ended['load']))}")
    return 2 if arguments.strict and not all(target["met"] for target in targets) else 0


def as_json(samples: dict[str, Sample]) -> dict[str, Any]:
    return {case: dataclasses.asdict(found) for case, found in samples.items()}


def as_lists(samples: dict[str, list[Sample]]) -> dict[str, list[dict[str, Any]]]:
    return {key: [dataclasses.asdict(one) for one in found] for key, found in samples.items()}


if __name__ == "__main__":
    sys.exit(main())
