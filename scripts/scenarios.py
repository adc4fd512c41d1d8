#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Runs Molecule's scenarios one after the other, on fresh test hosts, and says what each step took.

scenarios.py [NAME…]                    the whole sequence of the usual scenarios, or of those named
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
from types import FrameType
from xml.etree import ElementTree

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = CHECKOUT / ".cache" / "test-results"
EPHEMERAL = CHECKOUT / ".cache" / "molecule"
SETTINGS = CHECKOUT / ".config" / "molecule" / "config.yml"
TEST_HOSTS = CHECKOUT / "scripts" / "test_hosts.py"

# Run only when they are named: `releases` drives two hundred deployments under load, which takes half an hour.
BY_NAME = {"releases"}

ESCAPES = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;;[^\x1b]*\x1b\\")
STEP = re.compile(r"(?:➜|>) (?P<step>[a-z_]+)[:\]] (?P<what>Executing|Executed)\b(?P<result>.*)")

# Said of every run, in words that sound like its end: there is no scenario of the name "default", nor need one be.
NOISE = re.compile(r"molecule/default/molecule.yml' glob failed|Molecule scenarios should migrate to")


def say(message: str) -> None:
    print(message, flush=True)


def scenarios() -> list[str]:
    return sorted(path.parent.name for path in (CHECKOUT / "molecule").glob("*/molecule.yml"))


def usual_scenarios() -> list[str]:
    """What `make test` runs."""
    return [name for name in scenarios() if name not in BY_NAME]


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
    """Runs scenarios so that none leaves hosts behind, not even when it is interrupted."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[str] | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.stop)

    def stop(self, number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def run(self, name: str, action: str, arguments: list[str]) -> tuple[list[str], Mapping[str, float]]:
        """One scenario; returns what was wrong, and the seconds of each step."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        junit_file(name).unlink(missing_ok=True)
        if action == "test":
            shutil.rmtree(EPHEMERAL / name, ignore_errors=True)
        molecule = ["molecule", "--base-config", str(SETTINGS), action, "--scenario-name", name, *arguments]
        try:
            status, output, steps = self.watch(molecule, environment(name))
        except KeyboardInterrupt:
            self.abandon(name, keep=action != "test")
            raise
        return problems(action, status, output, junit_file(name)), steps

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
        lines, steps, begun = [], {}, {}
        for line in self.child.stdout:
            if NOISE.search(line):
                continue
            print(line, end="", flush=True)
            plain = ESCAPES.sub("", line)
            lines.append(plain)
            if match := STEP.search(plain):
                step = match["step"]
                if match["what"] == "Executing":
                    begun[step] = time.monotonic()
                elif step in begun:
                    steps[step] = steps.get(step, 0) + time.monotonic() - begun.pop(step)
        return self.child.wait(), "".join(lines), steps

    def abandon(self, name: str, *, keep: bool) -> None:
        """Ends what runs and removes its hosts; a second signal must not stop that."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if self.child and self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
        if not keep:
            say(f"{name}: interrupted, removing its hosts")
            destroy(name)


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
    names = options.names or usual_scenarios()
    if not names:
        say("There is no scenario at all: molecule/*/molecule.yml matches nothing.")
        return 2

    # Here rather than inside of Molecule: it may have to ask for sudo's password, and its progress can be seen.
    if (
        options.action != "destroy"
        and subprocess.run([sys.executable, str(TEST_HOSTS), "prepare"], check=False).returncode
    ):
        return 1
    runner = Runner()
    summary, failed = [], 0
    for name in names:
        say(f"\n=== scenario {name} ({options.action})")
        started = time.monotonic()
        arguments = ["--destroy", "never"] if options.keep and options.action == "test" else []
        wrong, steps = runner.run(name, options.action, arguments)
        if options.action == "test" and not (wrong and options.keep):
            destroy(name)  # Molecule has done it, unless it stumbled
        failed += bool(wrong)
        told = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in steps.items())
        summary.append(f"  {'failed' if wrong else 'ok':6} {name}: {time.monotonic() - started:.0f} s ({told})")
        summary += [f"         {problem}" for problem in wrong]
    say("\n" + "\n".join(summary))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
