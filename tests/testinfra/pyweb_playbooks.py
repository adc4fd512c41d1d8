# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Lets tests run playbooks and read their output, as operators do.

A pytest plugin for the scenarios whose behaviour is what a further run does; they name it in their molecule.yml.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PROGRAM = Path(sys.executable).with_name("ansible-playbook")

# The recap's numbers of one host, such as "shop-1 : ok=9 changed=0 failed=0".
RECAP = re.compile(r"^(?P<host>\S+)\s+: (?P<counts>ok=\d+ .*)$", re.MULTILINE)
# One result of a task, up to what begins the next one.
FAILURE = re.compile(r"^fatal: \[(?P<host>[^\]]+)\]: FAILED! =>(?P<text>.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
MESSAGE = re.compile(r"^ok: \[(?P<host>[^\]]+)\] =>(?P<text>.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook against all hosts of the scenario."""

    status: int
    output: str

    def counts(self, host: str) -> Mapping[str, int]:
        """The recap of one host: ok, changed, failed, …"""
        for match in RECAP.finditer(self.output):
            if match["host"] == host:
                return {key: int(value) for key, value in (pair.split("=") for pair in match["counts"].split())}
        raise AssertionError(f"the run has no recap of {host}:\n{self.output}")

    def failure(self, host: str) -> str:
        """The message of a host's failed task."""
        results = [yaml.safe_load(match["text"]) for match in FAILURE.finditer(self.output) if match["host"] == host]
        return "\n".join(result["msg"] for result in results)

    def message(self, host: str) -> str:
        """The output of the run for a host."""
        results = [yaml.safe_load(match["text"]) for match in MESSAGE.finditer(self.output) if match["host"] == host]
        return "\n".join(result["msg"] for result in results if "msg" in result)


@pytest.fixture(scope="session")
def scenario_inventory(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("ansible_inventory")


@pytest.fixture(scope="session")
def run_playbook(scenario_inventory: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Runs a playbook: `run_playbook("pyweb.stack.site", {"webapps": […]}, "--check")`. A failure is no error here."""

    # Tests run playbooks in threads, and the first use of this folder is not safe there.
    tmp_path_factory.getbasetemp()

    def run(playbook: str, variables: Mapping[str, Any] | None = None, *arguments: str, **options: Any) -> Run:
        given = tmp_path_factory.mktemp("variables") / "variables.json"
        given.write_text(json.dumps(variables or {}))
        return ansible_playbook(playbook, scenario_inventory, "--extra-vars", f"@{given}", *arguments, **options)

    return run


def ansible_playbook(
    playbook: str,
    inventory: str | Path,
    *arguments: str,
    timeout: float = 240,
    environment: Mapping[str, str] | None = None,
    stderr: int | None = subprocess.STDOUT,
) -> Run:
    """Runs a playbook by this project's settings, and prints what it says: pytest shows that when a test fails."""
    answer = subprocess.run(
        [str(PROGRAM), playbook, "--inventory", str(inventory), *arguments],
        cwd=CHECKOUT,
        env={**usual_environment(), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=timeout,
        check=False,
    )
    print(answer.stdout)
    return Run(answer.returncode, answer.stdout)


def usual_environment() -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if key not in ("ANSIBLE_FORCE_COLOR", "FORCE_COLOR")},
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
        "MOLECULE_PROJECT_DIRECTORY": str(CHECKOUT),
    }
