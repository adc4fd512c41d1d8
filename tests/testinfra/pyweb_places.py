# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""All hosts of a scenario at once, for tests that check the effect of one run of a playbook on each of them.

A pytest plugin for scenarios that name it in their molecule.yml. The lines that a test passes to `tell` are printed at
the end.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

TOLD = pytest.StashKey[list[str]]()


@dataclass(frozen=True)
class Place:
    """One host, as its operator and as its visitors reach it."""

    name: str
    inventory: Path

    @property
    def reached(self) -> dict[str, str]:
        # Read each time, because the address may change at a reboot.
        return json.loads((self.inventory / "test_hosts.json").read_text())["all"]["hosts"][self.name]

    @property
    def address(self) -> str:
        return self.reached["ansible_host"]

    def command(self, text: str) -> list[str]:
        """The words that run a shell command on the host as root."""
        reached = self.reached
        options = shlex.split(reached["ansible_ssh_common_args"])
        whom = f"{reached['ansible_user']}@{reached['ansible_host']}"
        return ["ssh", *options, "-i", reached["ansible_ssh_private_key_file"], whom, f"sudo sh -c {shlex.quote(text)}"]

    def run(self, text: str, *, check: bool = True, given: str = "", timeout: float = 120) -> str:
        """The output of a shell command that root runs on the host, with optional input."""
        answer = subprocess.run(
            self.command(text),
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        assert not check or answer.returncode == 0, f"{self.name}: {text[:200]}: {answer.stdout}{answer.stderr}"
        return answer.stdout

    def begin(self, text: str, given: str = "") -> subprocess.Popen[str]:
        """A shell command that root has begun to run on the host, with all of its input."""
        process = subprocess.Popen(self.command(text), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin
        process.stdin.write(given)
        process.stdin.close()
        process.stdin = None
        return process

    def ask(self, path: str = "/", method: str = "GET", timeout: float = 10, **options: Any) -> requests.Response:
        """The response that a client gets."""
        session = requests.Session()
        session.trust_env = False
        return session.request(method, f"http://{self.address}{path}", timeout=timeout, **options)

    def answers(self, path: str) -> bool:
        try:
            return self.ask(path, timeout=2).status_code == 200
        except requests.RequestException:
            return False


def everywhere(work: Callable[[Any], Any], places: Sequence[Any]) -> list[Any]:
    """The results of the same work on several hosts at once."""
    with ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(work, places))


def wait_until(condition: Callable[[], Any], timeout: float) -> float:
    """Seconds until the condition came true; fails when it does not."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < timeout, f"not within {timeout} seconds"
        time.sleep(0.02)
    return time.monotonic() - begun


@pytest.fixture(scope="session")
def places(scenario_inventory: str) -> list[Place]:
    folder = Path(scenario_inventory)
    names = json.loads((folder / "test_hosts.json").read_text())["all"]["hosts"]
    return [Place(name, folder) for name in names]


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a line, such as a time that was measured, for the end of the run."""
    return request.config.stash.setdefault(TOLD, []).append


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in config.stash.get(TOLD, []):
        terminalreporter.write_line(line)
