# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The answer of the module webapp_traffic as checked data. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.logs.buckets import LONGEST, SHORTEST, slices_of

# More requests than this are no answer of the module.
MOST_REQUESTS = 10**10
# A log of which more lines than this share are in another format was not looked at.
UNREAD_SHARE = 0.1


class WrongAnswer(ValueError):
    """An answer of a host that the module does not give."""


@dataclass(frozen=True)
class Slice:
    """The requests of a part of the window."""

    requests: int
    errors: int
    buckets: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Traffic:
    """The requests of one application on one host. ``problem`` says why they could not be counted."""

    host: str
    slices: tuple[Slice, ...] = ()
    problem: str = ""

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.slices)


def traffic_of(host: str, name: str, answer: Any, seconds: int, slices: int = 0) -> Traffic:
    """The traffic of an application in the result of webapp_traffic on a host.

    ``seconds`` and ``slices`` are those that the module was given.

    A result that can't be used becomes a problem.
    """
    try:
        apps = answer["apps"]
        app = next(one for one in apps if one["name"] == name)
        if len(app["slices"]) != (slices or slices_of(seconds)):
            raise WrongAnswer(len(app["slices"]))
        counted = tuple(slice_of(one) for one in app["slices"])
        unread = number(app["unread"])
        if app["problems"]:
            return Traffic(host, problem=one_line(str(app["problems"][0]))[:200])
        if unread > UNREAD_SHARE * (unread + sum(one.requests for one in counted)):
            return Traffic(host, problem=f"{unread} lines of the access log are in another format")
    except (KeyError, TypeError, IndexError, StopIteration, ValueError):
        problem = answer.get("msg") if isinstance(answer, dict) and answer.get("failed") else ""
        return Traffic(host, problem=one_line(str(problem or "the host gave no answer that can be used"))[:200])
    return Traffic(host, counted)


def slice_of(given: Any) -> Slice:
    requests, errors = number(given["requests"]), number(given["errors"])
    buckets: Counter[int] = Counter()
    for bucket, count in given["buckets"]:
        if isinstance(bucket, bool) or not isinstance(bucket, int) or not SHORTEST <= bucket <= LONGEST:
            raise WrongAnswer(bucket)
        buckets[bucket] += number(count)
    if errors > requests or sum(buckets.values()) > requests:
        raise WrongAnswer(given)
    return Slice(requests, errors, buckets)


def number(value: Any) -> int:
    """A number of requests."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_REQUESTS:
        raise WrongAnswer(value)
    return value


def pooled(traffic: list[Traffic]) -> Slice:
    """All requests of these hosts."""
    slices = [one for host in traffic for one in host.slices]
    buckets: Counter[int] = Counter()
    for one in slices:
        buckets.update(one.buckets)
    return Slice(sum(one.requests for one in slices), sum(one.errors for one in slices), buckets)
