# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The unit tests that ask a running nginx, run on every host as well: of the nginx that its Debian packages.

Each of them has an instance of its own there, on ports of its own; the sites of the scenario go on beside them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
ELSEWHERE = {
    "test_nginx_slow_visitors.py",  # half a minute of load, which would leave the other tests no processor
}
FILES = sorted(
    path.name
    for path in (CHECKOUT / "tests/local").glob("test_*.py")
    if "needs_nginx" in path.read_text() and path.name not in ELSEWHERE
)
TESTS = ["tests/conftest.py", "tests/local", "tests/unit"]
NEEDED = [".collections", "ansible.cfg", "pyproject.toml", "plugins", "requirements", "roles", *TESTS]

FOLDER = "/var/tmp/unit-tests"
AT_ONCE = 3  # files on each host: most of their time is waiting
UV = "/opt/pyweb/uv/bin/uv"  # where the role python has put it
# As scripts/environment.sh makes it on the controller, for the host's own Python.
ENVIRONMENT = f"""\
set -e
cd {FOLDER}
export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 UV_HTTP_TIMEOUT=120 UV_HTTP_RETRIES=5
make() {{
    [ -e $2/bin/python ] || {UV} venv --quiet --python /usr/bin/python3 $2
    {UV} pip sync --quiet --python $2/bin/python --require-hashes requirements/$1.txt
}}
make test .venv
make sslyze .venv/sslyze
"""


@dataclass(frozen=True)
class Outcome:
    """What came of a test on a host; good if nothing is told."""

    failed: str = ""
    skipped: str = ""


def claims() -> list[str]:
    """The tests that a host is to run, as pytest collects them here."""
    # Not by the settings of the run that this is a part of, such as the file of its report.
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *(f"tests/local/{name}" for name in FILES)],
        cwd=CHECKOUT,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return [line.removeprefix("tests/local/") for line in answer.stdout.splitlines() if "::" in line]


def prepare(place) -> None:
    """Brings the tests, and all that they import."""
    packing = ["tar", "--create", "--exclude=__pycache__", *NEEDED]
    packed = subprocess.run(packing, cwd=CHECKOUT, capture_output=True, check=True).stdout
    place.run(
        f"mkdir -p {FOLDER} && cd {FOLDER} && rm -rf {' '.join(NEEDED)} && tar --extract --no-same-owner", given=packed
    )
    place.run(ENVIRONMENT, timeout=900)


def run_file(place, name: str) -> dict[str, Outcome]:
    """What came of each test of a file; of the file itself, if its run broke off."""
    pytest_there = f".venv/bin/python -m pytest -q -p no:cacheprovider --junitxml {name}.xml tests/local/{name}"
    there = f"cd {FOLDER}; rm -f {name}.xml; LC_ALL=C.UTF-8 timeout 1200 {pytest_there} >{name}.txt 2>&1"
    place.run(there, check=False, timeout=1230)
    if not (report := place.run(f"cat {FOLDER}/{name}.xml", check=False)):
        return {name: Outcome(failed=f"its run broke off: {place.run(f'tail {FOLDER}/{name}.txt', check=False)}")}
    return {f"{name}::{case.get('name')}": outcome(case) for case in ElementTree.fromstring(report).iter("testcase")}


def outcome(case: ElementTree.Element) -> Outcome:
    told = {
        kind: "\n".join(f"{note.get('message')}\n{note.text or ''}" for note in case.iter(kind))
        for kind in ("failure", "error", "skipped")
    }
    return Outcome(told["failure"] + told["error"], told["skipped"])


@pytest.fixture(scope="session")
def outcomes(places) -> dict[str, dict[str, Outcome]]:
    """What came of all tests, by host. The hosts run them at the same time."""

    def run(place) -> dict[str, Outcome]:
        prepare(place)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            files = pool.map(lambda name: run_file(place, name), FILES)
            return {claim: outcome for found in files for claim, outcome in found.items()}

    with ThreadPoolExecutor(len(places)) as pool:
        return dict(zip([place.name for place in places], pool.map(run, places), strict=True))


@pytest.mark.parametrize("claim", claims(), ids=str)  # else pytest only numbers the long ones
def test_it_holds_for_the_nginx_of_this_host(outcomes, host, claim):
    here = outcomes[host.backend.host]
    found = here.get(claim) or here.get(claim.partition("::")[0]) or Outcome(failed="it was not run")
    # All that a test may want is there, but for IPv6, which an engine may leave out.
    if found.skipped.startswith("this machine has no ::1") and host.run("grep -q ' lo$' /proc/net/if_inet6").failed:
        pytest.skip(found.skipped)
    if trouble := found.failed or found.skipped:
        pytest.fail(trouble, pytrace=False)
