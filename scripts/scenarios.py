#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Runs Molecule's scenarios on fresh test hosts, two at a time, and says what each step took.

scenarios.py [NAME…]                    the whole sequence of all scenarios, or of those named
scenarios.py --action converge NAME     one of Molecule's other commands: create, converge, verify, destroy, …

Molecule itself forgives what would make a run worthless (settings it did not find, a playbook that is not there, a
verify without tests), so those fail here.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from xml.etree import ElementTree

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = CHECKOUT / ".cache" / "test-results"
EPHEMERAL = CHECKOUT / ".cache" / "molecule"
SETTINGS = CHECKOUT / ".config" / "molecule" / "config.yml"
TEST_HOSTS = CHECKOUT / "scripts" / "test_hosts.py"

# Two hide each other's waiting: for packages, for processes that start and stop. More would only share two processors.
JOBS = min(2, os.cpu_count() or 1)
# These measure how long visitors wait, or whether any request is lost: nothing else may take their processors.
ALONE = {"background", "releases", "servers"}

ESCAPES = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;;[^\x1b]*\x1b\\")
STEP = re.compile(r"(?:➜|>) (?P<step>[a-z_]+)[:\]] (?P<what>Executing|Executed)\b(?P<result>.*)")

# Said of every run, in words that sound like its end: there is no scenario of the name "default", nor need one be.
NOISE = re.compile(r"molecule/default/molecule.yml' glob failed|Molecule scenarios should migrate to")


def say(message: str) -> None:
    print(message, flush=True)


def scenarios() -> list[str]:
    return sorted(path.parent.name for path in (CHECKOUT / "molecule").glob("*/molecule.yml"))


def environment(name: str) -> dict[str, str]:
    colour = {} if sys.stdout.isatty() else {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    return {
        **os.environ,
        **colour,
        # Molecule's own choice is shared by all checkouts whose folder has the same name.
        "MOLECULE_EPHEMERAL_DIRECTORY": str(EPHEMERAL / name),
        "MOLECULE_COMMAND_BORDERS": "0",
        "MOLECULE_REPORT": "0",
        "PYTEST_ADDOPTS": f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={junit_file(name)}".strip(),
        "PYTHONUNBUFFERED": "1",
    }


def junit_file(name: str) -> pathlib.Path:
    return RESULTS / f"molecule-{name}.xml"


def problems(action: str, status: int, output: str, junit: pathlib.Path) -> list[str]:
    """What is wrong with a run of Molecule, whatever it says itself."""
    found = []
    if status:
        found.append(f"molecule {action} ended with status {status}")
    elif missing := {match["step"] for match in STEP.finditer(output) if "issing" in match["result"]}:
        found.append(f"nothing was done for {', '.join(sorted(missing))}: the playbook is missing")
    if action in ("test", "verify") and not status:
        tests = 0
        if junit.exists():
            report = ElementTree.parse(junit)  # noqa: S314  # our own pytest has just written it
            tests = sum(int(suite.get("tests", 0)) for suite in report.iter("testsuite"))
        if not tests:
            found.append("verify ran no test: it has to hold tests/test_*.py")
    return found


class Runner:
    """Runs one scenario so that it leaves no hosts behind, not even when it is interrupted."""

    def __init__(self, name: str, action: str, *, keep: bool, prefix: str = "") -> None:
        self.name = name
        self.action = action
        self.keep = keep
        self.prefix = prefix
        self.child: subprocess.Popen[str] | None = None
        self.stopped = False

    def run(self) -> tuple[list[str], str]:
        """Returns what was wrong, and the summary."""
        if self.stopped:
            return ["not begun"], ""
        say(f"\n=== scenario {self.name} ({self.action})")
        started = time.monotonic()
        RESULTS.mkdir(parents=True, exist_ok=True)
        junit_file(self.name).unlink(missing_ok=True)
        if self.action == "test":
            shutil.rmtree(EPHEMERAL / self.name, ignore_errors=True)
        arguments = ["--destroy", "never"] if self.keep and self.action == "test" else []
        molecule = ["molecule", "--base-config", str(SETTINGS), self.action, "--scenario-name", self.name, *arguments]
        status, output, steps = self.watch(molecule, environment(self.name))
        wrong = problems(self.action, status, output, junit_file(self.name))
        if self.action == "test" and not (wrong and self.keep) and not self.stopped:
            destroy(self.name)  # Molecule has done it, unless it stumbled
        took = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in steps.items())
        told = f"  {'failed' if wrong else 'ok':6} {self.name}: {time.monotonic() - started:.0f} s ({took})"
        say(told)
        return wrong, "\n".join([told, *(f"         {problem}" for problem in wrong)])

    def watch(self, command: list[str], environment: Mapping[str, str]) -> tuple[int, str, dict[str, float]]:
        """Passes the output of a command on while it comes, and measures the steps that it tells of."""
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
        lines: list[str] = []
        steps: dict[str, float] = {}
        begun: dict[str, float] = {}
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
                    steps[step] = steps.get(step, 0) + time.monotonic() - begun.pop(step)
        return self.child.wait(), "".join(lines), steps

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


def batches(names: list[str]) -> list[tuple[int, list[str]]]:
    """Which scenarios run together, and how many of them at a time."""
    together = [name for name in names if name not in ALONE]
    alone = [name for name in names if name in ALONE]
    return [(jobs, batch) for jobs, batch in ((JOBS, together), (1, alone)) if batch]


def run_all(names: list[str], action: str, *, keep: bool) -> list[tuple[list[str], str]]:
    """Runs scenarios; whoever stops this stops all of them, and none leaves hosts."""
    width = max(map(len, names))
    results = []
    for jobs, batch in batches(names):
        many = min(jobs, len(batch)) > 1
        runners = [Runner(name, action, keep=keep, prefix=f"{name:{width}} | " if many else "") for name in batch]
        pool = ThreadPoolExecutor(jobs)
        try:
            results += list(pool.map(Runner.run, runners))
        except KeyboardInterrupt:
            # A second signal must not stop this.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            for runner in runners:
                runner.abandon()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
    return results


def stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def destroy(name: str) -> None:
    inventory = EPHEMERAL / name / "inventory" / "test_hosts.json"
    subprocess.run([sys.executable, str(TEST_HOSTS), "destroy", name, str(inventory)], check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--action", default="test")
    parser.add_argument("--keep", action="store_true", help="leave the hosts of a scenario that failed")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()

    known = scenarios()
    unknown = set(options.names) - set(known)
    if unknown:
        say(f"There is no scenario {', '.join(sorted(unknown))}; there are: {', '.join(known)}.")
        return 2
    names = options.names or known
    if not names:
        say("There is no scenario at all: molecule/*/molecule.yml matches nothing.")
        return 2

    # Here rather than inside of Molecule: it may have to ask for sudo's password, and its progress can be seen.
    if (
        options.action != "destroy"
        and subprocess.run([sys.executable, str(TEST_HOSTS), "prepare"], check=False).returncode
    ):
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    results = run_all(names, options.action, keep=options.keep)
    say("\n" + "\n".join(told for _wrong, told in results))
    return 1 if any(wrong for wrong, _told in results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
