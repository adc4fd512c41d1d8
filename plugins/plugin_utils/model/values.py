# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for values that occur more than once in the application model: numbers, limits, commands."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

# systemd ignores a CPUQuota of 0% with a warning, and kills a process that has a memory limit of 0.
MEMORY = re.compile(r"0*[1-9][0-9]*[KMGT]?\Z")
CPU = re.compile(r"0*[1-9][0-9]*%\Z")


def check_range(checker: Checker, value: int | None, where: str, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        checker.problem(where, f"{value} is out of range. Set a whole number from {low} to {high}.")


def check_command(checker: Checker, command: str, where: str, example: str) -> None:
    if not command.strip() or "\n" in command or "\0" in command:
        checker.problem(
            where,
            f"{command!r} is empty or has more than one line. Write the command on one line, such as '{example}'.",
        )


def check_limits(checker: Checker, limits: dict[str, Any], where: str) -> None:
    memory, cpu, tasks = limits["memory"], limits["cpu"], limits["tasks"]
    if memory is not None and not MEMORY.match(memory):
        checker.problem(f"{where}.memory", f"'{memory}' is not a size. Set a size such as 512M or 2G.")
    if cpu is not None and not CPU.match(cpu):
        checker.problem(
            f"{where}.cpu",
            f"'{cpu}' is not a share of processor time. Set a share such as 150% for one and a half cores.",
        )
    if tasks is not None and tasks < 1:
        checker.problem(
            f"{where}.tasks", f"{tasks} is not a number of processes and threads. Set a whole number of at least 1."
        )
