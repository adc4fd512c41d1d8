# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files around the code: what they name is there, and each exception has its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
IGNORES = sorted((CHECKOUT / "tests" / "sanity").glob("ignore-*.txt"))
CALLERS = [*WORKFLOWS, CHECKOUT / ".pre-commit-config.yaml", CHECKOUT / ".github" / "pull_request_template.md"]


def targets() -> set[str]:
    return set(re.findall(r"^\.PHONY: (\S+)", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", CALLERS, ids=lambda path: path.name)
def test_commands_that_are_called_are_in_the_makefile(path: Path) -> None:
    called = re.findall(r"(?:run: |entry: |`)make ([a-z -]+)", path.read_text())
    names = {name for command in called for name in command.split() if not name.startswith("-")}
    assert names, f"{path.name} calls no command"
    assert names <= targets()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_nothing_but_make(path: Path) -> None:
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        for step in job["steps"]:
            assert "uses" in step or step["run"].startswith("make "), f"{path.name}: {step}"


def test_there_are_exceptions_for_each_supported_ansible() -> None:
    first, last = re.findall(
        r"2\.(\d+)", yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text())["requires_ansible"]
    )
    assert [path.name for path in IGNORES] == [f"ignore-2.{minor}.txt" for minor in range(int(first), int(last))]


@pytest.mark.parametrize("path", IGNORES, ids=lambda path: path.name)
def test_each_exception_names_a_file_and_its_reason(path: Path) -> None:
    for line in path.read_text().splitlines():
        entry, _hash, reason = line.partition(" # ")
        assert reason, f"{path.name}: {line}"
        assert (CHECKOUT / entry.split()[0]).is_file(), f"{path.name}: {line}"


def test_what_an_execution_environment_needs_is_there() -> None:
    needs = yaml.safe_load((CHECKOUT / "meta" / "execution-environment.yml").read_text())["dependencies"]
    for name in needs.values():
        assert (CHECKOUT / name).is_file()
