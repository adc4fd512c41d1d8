# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The applications of a run that failed, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Failures:
    """The names of the applications that failed, and the messages."""

    names: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, problem: str) -> None:
        self.extend([name], [problem])

    def extend(self, names: list[str], problems: list[str]) -> None:
        self.names += [name for name in names if name not in self.names]
        self.problems += problems

    @property
    def answer(self) -> dict[str, Any]:
        """The failures as part of an answer; empty if there are none."""
        return {"failures": {"names": self.names, "problems": self.problems}} if self.problems else {}


def belongs_to(service: str, names: list[str]) -> bool:
    """Whether a service or program is that of one of these applications. No name of an application has '@' or '.'."""
    return service.partition("@")[0].partition(".")[0] in names
