# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The verdict on a promise: ok, failed or n/a. A promise that has looked at nothing cannot be ok."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

OK, FAILED, NOT_APPLICABLE = "ok", "failed", "n/a"


@dataclass(frozen=True)
class Verdict:
    """``looked_at`` counts what was examined. ``reason`` says why there was nothing, or what was left out."""

    looked_at: int = 0
    problem: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if not (self.looked_at or self.problem or self.reason):
            raise ValueError("a promise that has looked at nothing needs a problem or a reason")

    @property
    def state(self) -> str:
        if self.problem:
            return FAILED
        return OK if self.looked_at else NOT_APPLICABLE


def failed(problem: str) -> Verdict:
    return Verdict(problem=problem)


def does_not_apply(reason: str) -> Verdict:
    return Verdict(reason=reason)


def judged(
    things: Collection[object], problems: Iterable[str], *, nothing: str, remedy: str = "", left_out: Iterable[str] = ()
) -> Verdict:
    """The verdict after a look at ``things``: their problems, or ``nothing`` as the reason if there was none of them.

    ``left_out`` are things of the promise that could not be looked at.
    """
    told = "; ".join(problems)
    if told:
        return failed(f"{told}. {remedy}" if remedy else told)
    missing = "; ".join(left_out)
    return Verdict(len(things), reason=missing if things and missing else "" if things else missing or nothing)
