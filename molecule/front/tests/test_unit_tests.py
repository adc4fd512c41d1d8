# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The unit tests that ask a running nginx, by the nginx that each host's Debian packages.

`make unit` asks the nginx of this machine. The program of any host that has another one is brought here, with its
libraries, and the tests run once more with that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pyweb_places import Place
from pyweb_playbooks import CHECKOUT

ELSEWHERE = {
    "test_nginx_slow_visitors.py",  # half a minute of load, which would leave the other tests no processor
}
# Whole suites of app servers, which take minutes: only `make test-all` runs them with every nginx.
LONG = {
    "test_conformance.py",
    "test_early_answers.py",
    "test_ordinary_requests.py",
    "test_real_clients.py",
    "test_request_bodies.py",
    "test_server_switch.py",
}
ALL_FILES = sorted(
    str(path.relative_to(CHECKOUT))
    for path in CHECKOUT.glob("tests/*/test_*.py")
    if "needs_nginx" in path.read_text()
    and path.name not in ELSEWHERE
    and (path.name not in LONG or os.environ.get("PYWEB_MATRIX") == "all")
)
# Each commit asks by a third of them, in turn, and `make test-all` by all. `make unit` runs all with the nginx of here.
PARTS = 3
SHARD = os.environ.get("PYWEB_MATRIX", "").partition("/")[0]
FILES = ALL_FILES if SHARD == "all" else ALL_FILES[int(SHARD or 0) % PARTS :: PARTS]
AT_ONCE = 4  # files: most of their time is waiting
PACK = "tar --create --dereference --file - /usr/sbin/nginx $(ldd /usr/sbin/nginx | grep -o '/[^ ]*')"
VERSION = "nginx -v 2>&1"


@dataclass(frozen=True)
class Outcome:
    """What came of a test; good if nothing is told."""

    failed: str = ""
    skipped: str = ""


def run_pytest(words: list[str], path: str = "") -> subprocess.CompletedProcess[str]:
    # Not by the settings of the run that this is a part of, such as the file of its report.
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "PYWEB_"))}
    # Each run has a temporary folder of its own: pytest closes the one that runs share to other accounts at its start.
    with tempfile.TemporaryDirectory(prefix="p") as folder:
        os.chmod(folder, 0o755)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/t", *words],
            cwd=CHECKOUT,
            env=own | ({"PATH": f"{path}:{own['PATH']}"} if path else {}),
            capture_output=True,
            text=True,
            check=False,
        )


def claims() -> list[str]:
    """The tests of all files, as pytest collects them."""
    answer = run_pytest(["--collect-only", *FILES])
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return [line for line in answer.stdout.splitlines() if "::" in line]


def bring(place: Place, folder: Path) -> Path:
    """The folder of a program that is the host's nginx; it runs here, whatever libraries this machine has."""
    packed = subprocess.run(place.command(PACK), check=True, capture_output=True, timeout=120).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    program = folder / "usr/sbin/nginx"
    (loader,) = folder.glob("lib64/ld-*")
    old, new = f"/lib64/{loader.name}".encode(), bytes(folder / "ld")
    assert len(new) <= len(old), f"{folder} is too long a name for the place that the program has for it"
    loader.chmod(0o755)
    loader.rename(folder / "ld")
    program.write_bytes(program.read_bytes().replace(old + b"\0", new.ljust(len(old) + 1, b"\0"), 1))
    libraries = ":".join(sorted({str(path.parent) for path in folder.glob("**/lib*.so*")}))
    start = folder / "bin/nginx"
    start.parent.mkdir()
    start.write_text(f'#!/bin/sh\nexport LD_LIBRARY_PATH={libraries}\nexec {program} "$@"\n')
    start.chmod(0o755)
    return start.parent


def run_file(name: str, folder: Path) -> dict[str, Outcome]:
    """What came of each test of a file; of the file itself, if its run broke off."""
    report = folder / f"{Path(name).stem}.xml"
    answer = run_pytest([f"--junitxml={report}", name], path=str(folder / "bin"))
    if not report.exists():
        return {name: Outcome(failed=f"its run broke off: {answer.stdout[-2000:]}{answer.stderr[-2000:]}")}
    cases = ElementTree.parse(report).iter("testcase")
    return {f"{name}::{case.get('name')}": outcome(case) for case in cases}


def outcome(case: ElementTree.Element) -> Outcome:
    told = {
        kind: "\n".join(f"{note.get('message')}\n{note.text or ''}" for note in case.iter(kind))
        for kind in ("failure", "error", "skipped")
    }
    return Outcome(told["failure"] + told["error"], told["skipped"])


def version_here() -> str:
    return subprocess.run(["nginx", "-v"], check=True, capture_output=True, text=True).stderr.strip()


@pytest.fixture(scope="session")
def outcomes(places: list[Place]) -> dict[str, dict[str, Outcome]]:
    """What came of all tests, by the version of nginx."""
    versions = {place.run(VERSION).strip(): place for place in places}
    found: dict[str, dict[str, Outcome]] = {}
    for version, place in versions.items():
        if version == version_here():
            continue
        # In /tmp: see the length in bring().
        with tempfile.TemporaryDirectory(prefix="ng-", dir="/tmp") as name:
            folder = Path(name)
            folder.chmod(0o755)  # workers of nginx have another account
            shown = subprocess.run([bring(place, folder) / "nginx", "-v"], check=True, capture_output=True, text=True)
            assert shown.stderr.strip() == version
            with ThreadPoolExecutor(AT_ONCE) as pool:
                files = pool.map(lambda file, folder=folder: run_file(file, folder), FILES)
                found[version] = {claim: outcome for file in files for claim, outcome in file.items()}
    return found


def test_the_nginx_of_every_host_is_asked(outcomes, host):
    asked = {version_here(), *outcomes}
    assert len(asked) >= 2, "the hosts have no other nginx than this machine: nothing was tried here"
    assert host.check_output(VERSION) in asked


@pytest.mark.parametrize("claim", claims(), ids=str)  # else pytest only numbers the long ones
def test_it_holds_for_every_nginx(outcomes, claim):
    assert outcomes
    for version, found in outcomes.items():
        told = found.get(claim) or found.get(claim.partition("::")[0]) or Outcome(failed="it was not run")
        # All that a test may want is there, but for IPv6, which this machine may not have.
        if told.skipped.startswith("this machine has no ::1") and " lo\n" not in Path("/proc/net/if_inet6").read_text():
            pytest.skip(told.skipped)  # only where this machine has no IPv6; every other skip fails below
        if trouble := told.failed or told.skipped:
            pytest.fail(f"{version}: {trouble}", pytrace=False)
