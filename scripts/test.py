#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The whole of `make test`: the parts one after the other, the cheap ones first, and what each took.

When a cheap part fails, the test hosts are not created (KEEP_GOING=1 creates them anyway). The last lines name
the tests that failed, and count all that ran and the parts around them.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from types import FrameType
from xml.etree import ElementTree

from scenarios import shard_of_turn

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = CHECKOUT / ".cache" / "test-results"
SCENARIOS = RESULTS / "scenarios.txt"  # what each scenario took
CHEAP = ("lint", "unit", "build")
# ansible-test takes minutes, so it is part of the full matrix only.
DEAR = ("sanity", "molecule") if os.environ.get("PYWEB_MATRIX") == "all" else ("molecule",)
# Limits for a failed test's message, in characters, and for the number of failed tests shown: the end of the output
# must be readable at a glance.
BRIEF = 400
TOLD = 20
# The number of the slowest tests shown: what to move to the full matrix first, when a run takes too long.
SLOW = 15


def run_part(part: str) -> bool:
    """Runs `make PART`. A signal to stop is passed on to it, and we wait for it, because it has hosts to remove."""
    with subprocess.Popen(["make", "--no-print-directory", part], cwd=CHECKOUT) as child:
        try:
            return child.wait() == 0
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            raise


def stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def read_reports() -> tuple[int, list[str]]:
    """How many tests passed in all parts, and a line for each that failed, from the reports that pytest has written."""
    passed, failed = 0, []
    for report in sorted(RESULTS.glob("*.xml")):
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # our own pytest has just written it
            faults = [*case.iter("failure"), *case.iter("error")]
            if faults:
                failed.append(f"{report.stem}: {case.get('name')}: {brief(faults[0].get('message', ''))}")
            elif case.find("skipped") is None:
                passed += 1
    return passed, failed


def slowest() -> list[str]:
    """A line for each of the slowest tests, with the report that it is in."""
    found = [
        (float(case.get("time", 0)), f"{report.stem}: {case.get('name')}")
        for report in RESULTS.glob("*.xml")
        for case in ElementTree.parse(report).iter("testcase")  # noqa: S314  # our own pytest has just written it
    ]
    return [f"  {seconds:6.1f} s  {brief(name)}" for seconds, name in sorted(found, reverse=True)[:SLOW]]


def brief(message: str) -> str:
    """The failure in one line: a report is read long after its hosts are gone, and maybe only its end is kept."""
    line = " ".join(message.split())
    return line if len(line) <= BRIEF else f"{line[:BRIEF]}…"


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    if os.environ.get("PYWEB_MATRIX") == "turn":
        os.environ["PYWEB_MATRIX"] = shard_of_turn()
    results: dict[str, bool] = {}
    summary = []
    for part in (*CHEAP, *DEAR):
        if part in DEAR and not all(results.values()) and not os.environ.get("KEEP_GOING"):
            summary.append(f"  {part:10} not begun, because a part before it failed")
            results[part] = False
            continue
        print(f"\n=== {part}", flush=True)
        started = time.monotonic()
        results[part] = run_part(part)
        summary.append(f"  {part:10} {'ok' if results[part] else 'FAILED':8} {time.monotonic() - started:6.1f} s")
        print(summary[-1], flush=True)
        if part == "molecule" and SCENARIOS.exists():
            summary += [f"  {line}" for line in SCENARIOS.read_text().splitlines()]
    passed, tests = read_reports()
    # lint and build have no tests that pytest would count, and a part may fail outside of its tests.
    passed += sum(results.values())
    failed = len(tests) + sum(not good for good in results.values())
    verdict = f"{passed} passed, {failed} failed"
    if len(tests) > TOLD:
        tests[TOLD:] = [f"and {len(tests) - TOLD} more tests"]
    (RESULTS / "verdict").write_text("\n".join([*tests, verdict]) + "\n")
    print("\n" + "\n".join([*summary, "", "The slowest tests:", *slowest(), "", *tests, verdict]), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
