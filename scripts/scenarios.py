#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Runs Molecule's scenarios on fresh test hosts, two at a time, and says what each step took.

scenarios.py [NAME…]                    the whole sequence of all scenarios, or of those named
scenarios.py --action converge NAME     one of Molecule's other commands: create, converge, verify, destroy, …
scenarios.py --shards [NAME…]           list the shards of the full matrix, run nothing

PYWEB_MATRIX adds tests of the full matrix to the sample that always runs: all, a shard such as 3/24, or `turn`, which
chooses the shard by the number of commits (by the commit's hash where the history is not there).

Molecule itself forgives what would make a run worthless (settings it did not find, a playbook that is not there, a
verify without tests), so those fail here.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from xml.etree import ElementTree

import yaml

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT / "tests" / "testinfra"))

from pyweb_selection import SHARDS  # noqa: E402  # see above

RESULTS = CHECKOUT / ".cache" / "test-results"
SUMMARY = RESULTS / "scenarios.txt"  # for scripts/test.py
EPHEMERAL = CHECKOUT / ".cache" / "molecule"
SETTINGS = CHECKOUT / ".config" / "molecule" / "config.yml"
TEST_HOSTS = CHECKOUT / "scripts" / "test_hosts.py"

# Two hide each other's waiting: for packages, for processes that start and stop. More would only share two processors.
JOBS = min(2, os.cpu_count() or 1)
# Some tests of these measure how long visitors wait: nothing else may take their processors. They run by themselves,
# after everything else.
ALONE = ("background", "releases", "servers")
# Those that take long begin first, so that no processor is idle at the end.
LONG = ("doctor", "tls", "variants")
# They belong to the full matrix as a whole.
MATRIX = ("adopt", "applications", "controllers", "howto", "platforms", "pythons")

ESCAPES = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;;[^\x1b]*\x1b\\")
SHARD = re.compile(r"\d+/\d+ ")
STEP = re.compile(r"(?:➜|>) (?P<step>[a-z_]+)[:\]] (?P<what>Executing|Executed)\b(?P<result>.*)")

# Said of every run, in words that sound like its end: there is no scenario of the name "default", nor need one be.
NOISE = re.compile(r"molecule/default/molecule.yml' glob failed|Molecule scenarios should migrate to")


def say(message: str) -> None:
    print(message, flush=True)


def scenarios() -> list[str]:
    return sorted(path.parent.name for path in (CHECKOUT / "molecule").glob("*/molecule.yml"))


def molecule(name: str, stage: str, *, keep: bool) -> list[str]:
    """The command of a stage."""
    action = "verify" if stage == "alone" else stage
    leave = ["--destroy", "never"] if keep and action == "test" else []
    return ["molecule", "--base-config", str(SETTINGS), action, "--scenario-name", name, *leave]


def environment(name: str, stage: str, *, divided: bool) -> dict[str, str]:
    part = {"PYWEB_ALONE": "only" if stage == "alone" else "without"} if divided else {}
    colour = {} if sys.stdout.isatty() else {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    return {
        **os.environ,
        **colour,
        **part,
        # Molecule's own choice is shared by all checkouts whose folder has the same name.
        "MOLECULE_EPHEMERAL_DIRECTORY": str(EPHEMERAL / name),
        "MOLECULE_COMMAND_BORDERS": "0",
        "MOLECULE_REPORT": "0",
        "PYTEST_ADDOPTS": f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={junit_file(name, stage)}".strip(),
        "PYTHONUNBUFFERED": "1",
    }


def junit_file(name: str, stage: str) -> pathlib.Path:
    return RESULTS / f"molecule-{name}{'-alone' if stage == 'alone' else ''}.xml"


def problems(action: str, status: int, output: str, junit: pathlib.Path) -> list[str]:
    """The problems of a run, also those that Molecule accepts."""
    found = []
    if status:
        found.append(f"molecule {action} ended with status {status}")
    elif missing := {match["step"] for match in STEP.finditer(output) if "issing" in match["result"]}:
        found.append(f"nothing was done for {', '.join(sorted(missing))}: the playbook is missing")
    if action in ("test", "verify", "alone") and not status:
        tests = 0
        if junit.exists():
            report = ElementTree.parse(junit)  # noqa: S314  # our own pytest has just written it
            tests = sum(int(suite.get("tests", 0)) for suite in report.iter("testsuite"))
        if not tests:
            found.append("verify ran no test: it has to hold tests/test_*.py")
    return found


class Runner:
    """Runs one scenario so that it leaves no hosts behind, not even when it is interrupted.

    A scenario with tests that run alone has two stages: everything but those tests, beside other scenarios, then those.
    """

    def __init__(self, name: str, action: str, *, keep: bool, prefix: str = "") -> None:
        self.name = name
        self.action = action
        self.keep = keep
        self.prefix = prefix
        self.child: subprocess.Popen[str] | None = None
        self.stopped = False
        self.wrong: list[str] = []
        self.seconds = 0.0
        self.steps: dict[str, float] = {}
        self.stages = ["test", "alone"] if action == "test" and name in ALONE else [action]

    def run(self) -> None:
        """Runs the next stage, unless one before it failed."""
        stage = self.stages.pop(0)
        if self.stopped or self.wrong:
            return
        say(f"\n=== scenario {self.name} ({stage})")
        started = time.monotonic()
        RESULTS.mkdir(parents=True, exist_ok=True)
        junit = junit_file(self.name, stage)
        junit.unlink(missing_ok=True)
        if stage == "test":
            shutil.rmtree(EPHEMERAL / self.name, ignore_errors=True)
        settings = environment(self.name, stage, divided=bool(self.stages) or stage == "alone")
        status, output = self.watch(molecule(self.name, stage, keep=self.keep or bool(self.stages)), settings)
        self.wrong = problems(stage, status, output, junit)
        over = bool(self.wrong) or not self.stages
        if self.action == "test" and over and not (self.wrong and self.keep) and not self.stopped:
            began = time.monotonic()
            destroy(self.name)  # Molecule may have done it
            self.steps["destroy"] = self.steps.get("destroy", 0) + time.monotonic() - began
        self.seconds += time.monotonic() - started
        if over:
            say(self.told())

    def told(self) -> str:
        took = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in self.steps.items())
        return f"  {'failed' if self.wrong else 'ok':6} {self.name}: {self.seconds:.0f} s ({took})"

    def summary(self) -> str:
        return "\n".join([self.told(), *(f"         {problem}" for problem in self.wrong)])

    def watch(self, command: list[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """Passes the output of a command on at once, and measures the steps that it reports."""
        self.child = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self.child.stdout
        lines, begun = [], {}
        for line in self.child.stdout:
            if NOISE.search(line):
                continue
            print(f"{self.prefix}{line}", end="", flush=True)
            plain = ESCAPES.sub("", line)
            lines.append(plain)
            if match := STEP.search(plain):
                step = match["step"]
                if match["what"] == "Executing":
                    begun[step] = time.monotonic()
                elif step in begun:
                    self.steps[step] = self.steps.get(step, 0) + time.monotonic() - begun.pop(step)
        return self.child.wait(), "".join(lines)

    def abandon(self) -> None:
        """Ends what runs and removes its hosts."""
        self.stopped = True
        if self.child is None:
            return
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
        if self.action == "test":
            say(f"{self.name}: interrupted, removing its hosts")
            destroy(self.name)


def run_all(names: list[str], action: str, *, keep: bool) -> list[Runner]:
    """Runs scenarios; a signal stops all of them, and none leaves hosts."""
    width = max(map(len, names))
    many = min(JOBS, len(names)) > 1
    runners = [Runner(name, action, keep=keep, prefix=f"{name:{width}} | " if many else "") for name in names]
    pool = ThreadPoolExecutor(JOBS)
    try:
        list(pool.map(Runner.run, sorted(runners, key=turn)))
        for runner in runners:
            runner.prefix = ""
            if runner.stages:
                runner.run()
    except KeyboardInterrupt:
        # A second signal must not stop this.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for runner in runners:
            runner.abandon()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return runners


def turn(runner: Runner) -> tuple[bool, bool]:
    """The key that sorts scenarios: long ones first, those with a second stage last."""
    return len(runner.stages) > 1, runner.name not in LONG


def usual(known: list[str], action: str, matrix: str) -> list[str]:
    """The scenarios that run if none is named: all of them only with the full matrix."""
    return [name for name in known if name not in MATRIX or matrix == "all" or action != "test"]


def shard_of_turn() -> str:
    """The shard of the full matrix that is this commit's turn."""
    git = ["git", "-C", str(CHECKOUT)]

    def said(*words: str) -> str:
        return subprocess.run([*git, *words], capture_output=True, text=True, check=False).stdout.strip()

    shallow = said("rev-parse", "--is-shallow-repository") != "false"
    number = int(said("rev-parse", "HEAD") or "0", 16) if shallow else int(said("rev-list", "--count", "HEAD"))
    return f"{number % SHARDS + 1}/{SHARDS}"


def show_shards(names: list[str]) -> int:
    """Lists what each shard of the full matrix runs."""
    shown = []
    for name in names:
        folder = CHECKOUT / "molecule" / name
        # Some scenarios have no settings of their own.
        own = yaml.safe_load((folder / "molecule.yml").read_text()) or {}
        verifier = own.get("verifier", {}).get("env", {})
        if "pyweb_selection" not in verifier.get("PYTEST_PLUGINS", ""):
            continue
        path = verifier.get("PYTHONPATH", "${MOLECULE_PROJECT_DIRECTORY}/tests/testinfra")
        words = [
            "--ansible-inventory",
            str(folder / "inventory"),
            "--hosts",
            f"ansible://{name}",
            str(folder / "tests"),
        ]
        settings = {**verifier, "PYTHONPATH": path.replace("${MOLECULE_PROJECT_DIRECTORY}", str(CHECKOUT))}
        answer = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", *words],
            cwd=CHECKOUT,
            env={**os.environ, **settings, "PYWEB_MATRIX": "show", "MOLECULE_PROJECT_DIRECTORY": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            say(answer.stdout + answer.stderr)
            return 1
        shown += [line for line in answer.stdout.splitlines() if SHARD.match(line)]
    say("\n".join(sorted(shown)))
    return 0


def stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def reserved(names: list[str]) -> Iterator[str]:
    """Locks these scenarios of this checkout. Yields the name of one that another run has locked, or nothing.

    Two runs of a scenario would destroy each other's hosts.
    """
    EPHEMERAL.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for name in names:
            lock = stack.enter_context((EPHEMERAL / f"{name}.lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield name
                return
        yield ""


def destroy(name: str) -> None:
    inventory = EPHEMERAL / name / "inventory" / "test_hosts.json"
    subprocess.run([sys.executable, str(TEST_HOSTS), "destroy", name, str(inventory)], check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--action", default="test")
    parser.add_argument("--keep", action="store_true", help="leave the hosts of a scenario that failed")
    parser.add_argument("--shards", action="store_true", help="list the shards of the full matrix")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()

    known = scenarios()
    unknown = set(options.names) - set(known)
    if unknown:
        say(f"There is no scenario {', '.join(sorted(unknown))}; there are: {', '.join(known)}.")
        return 2
    names = options.names or usual(known, options.action, os.environ.get("PYWEB_MATRIX", ""))
    if not names:
        say("There is no scenario at all: molecule/*/molecule.yml matches nothing.")
        return 2
    if options.shards:
        return show_shards(names)
    if os.environ.get("PYWEB_MATRIX") == "turn":
        os.environ["PYWEB_MATRIX"] = shard_of_turn()
        say(f"The full matrix: shard {os.environ['PYWEB_MATRIX']} has its turn")

    # Here rather than inside of Molecule: it may have to ask for sudo's password, and its progress can be seen.
    if (
        options.action != "destroy"
        and subprocess.run([sys.executable, str(TEST_HOSTS), "prepare"], check=False).returncode
    ):
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    with reserved(names) as taken:
        if taken:
            say(f"The scenario {taken} is already running in this checkout. Wait until it ends, or use another clone.")
            return 2
        runners = run_all(names, options.action, keep=options.keep)
    summary = "\n".join(runner.summary() for runner in runners)
    say(f"\n{summary}")
    SUMMARY.write_text(f"{summary}\n")
    return 1 if any(runner.wrong or runner.stages for runner in runners) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
