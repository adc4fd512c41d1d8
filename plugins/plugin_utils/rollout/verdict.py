# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Compare hosts that serve a new release with hosts that serve the old one, in the same window of time. Pure.

A release is worse only if a bound is exceeded and chance does not explain it. Chance means: releases of equal quality
would differ this much with a probability below `ALARM`. A burst decides nothing, and neither do the first requests of
new processes: slices of a host that differ much from its others are left out, up to a sixth of the window.

Use: run the module webapp_traffic with ``{"seconds": watch, "apps": questions(names, webapps, root)}`` on all hosts,
``watch`` seconds after the last of the new hosts has switched. Then ``verdict(new, old, bounds_of(rollout["bounds"]))``
with ``traffic_of(host, name, result, watch)`` for each host. The state `WORSE` means that the fleet goes back. With
`UNJUDGED`, print the text; ``bounds.few`` says whether the run continues.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.logs.buckets import above, quantile
from ansible_collections.pyweb.stack.plugins.module_utils.status.traffic import Slice, Traffic, pooled

# The probability that a verdict calls an equal release worse: twenty canaries in a row give a false verdict in one of
# 500 series. It is divided among the tests of one verdict.
ALARM = 1e-4
# The largest share of slices that is left out, rounded down. A fault of a sixth of the window falls into three of
# twelve slices. Chance alone makes a slice unusual in one of 100 windows.
LEFT_OUT = 0.25
UNUSUAL = 0.01
# Shares of requests whose latencies are compared, in percent.
SHARES = (50, 95, 99)
TESTS = len(SHARES) + 1

OK, WORSE, UNJUDGED = "ok", "worse", "unjudged"


@dataclass(frozen=True)
class Bounds:
    """How much worse a new release may be.

    ``errors``: points of percent by which its share of errors may be higher. Half of the smallest fault that must be
    found, which is 2 %.
    ``p50``, ``p95``, ``p99``: how many times as slow it may be. 1.5 lies between equal and twice as slow, far from
    both. Of 1000 requests, p99 is the tenth slowest and varies most, so its bound is 3.
    ``delay``: milliseconds by which it may be slower in any case. nginx measures whole milliseconds, and two such
    measurements and the width of a bucket differ by up to 3 ms at 10 ms.
    ``requests``: fewer requests than this, on either side, are not compared. With 100 requests, one error is 1 %.
    ``few``: whether a run continues or stops if it could not compare.
    """

    errors: float = 1.0
    p50: float = 1.5
    p95: float = 1.5
    p99: float = 3.0
    delay: int = 5
    requests: int = 100
    few: str = "continue"


def bounds_of(given: Mapping[str, Any]) -> Bounds:
    """The bounds of an inventory, whose types were checked."""
    known = {field.name for field in fields(Bounds)}
    return Bounds(**{name: value for name, value in given.items() if name in known and value is not None})


@dataclass(frozen=True)
class Verdict:
    """``state`` is `OK`, `WORSE` or `UNJUDGED`. ``reasons`` say why, if it is not OK. ``table`` has two columns."""

    state: str
    reasons: tuple[str, ...]
    table: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join([*self.reasons, *self.table])


def verdict(new: list[Traffic], old: list[Traffic], bounds: Bounds | None = None, looks: int = 1) -> Verdict:
    """The verdict on a new release. ``looks`` is the number of verdicts on it, if it is looked at repeatedly."""
    bounds = bounds or Bounds()
    shown = tuple(table(new, old))
    missing = unjudged(new, old, bounds)
    if missing:
        return Verdict(UNJUDGED, tuple(missing), shown)
    usable = [host for host in old if not host.problem]
    alarm = ALARM / TESTS / max(1, looks)
    reasons = [worse_errors(new, usable, bounds, alarm)]
    reasons += [worse_latency(share, new, usable, bounds, alarm) for share in SHARES]
    found = tuple(reason for reason in reasons if reason)
    return Verdict(WORSE if found else OK, found, shown)


def unjudged(new: list[Traffic], old: list[Traffic], bounds: Bounds) -> list[str]:
    """Why these hosts can't be compared; empty if they can. A new host that was not looked at is never left out."""
    problems = [f"{host.host}: {host.problem}" for host in new if host.problem]
    if old and all(host.problem for host in old):
        problems += [f"{host.host}: {host.problem}" for host in old]
    if problems:
        return [f"The new release is not judged. {problem}." for problem in problems]
    if not old:
        return ["The new release is not judged: no host serves the old one."]
    found = []
    for what, hosts in (("new", new), ("old", old)):
        count = sum(host.requests for host in hosts)
        if count < bounds.requests:
            names = ", ".join(host.host for host in hosts)
            found.append(
                f"The new release is not judged: the {what} release got {count} requests on {names}, and the least "
                f"number is {bounds.requests} (webapp_rollout.bounds.requests)."
            )
    return found


def worse_errors(new: list[Traffic], old: list[Traffic], bounds: Bounds, alarm: float) -> str:
    """Why the new release has too many errors; empty if it has not."""

    def events(one: Slice) -> tuple[float, int]:
        return one.errors, one.requests

    kept, before = steady(new, events), steady(old, events)
    usual = max([rate(before), *(rate(steady([host], events)) for host in old if host.requests >= bounds.requests)])
    # The part of an equal release in all errors is its part in all requests.
    part = kept.requests / max(1, kept.requests + before.requests)
    if rate(kept) <= usual + bounds.errors / 100 or tail(kept.errors, kept.errors + before.errors, part) > alarm:
        return ""
    return (
        f"The new release is worse: {rate(kept):.1%} of its requests are errors. The old one has {rate(before):.1%}, "
        f"and the bound is {bounds.errors:g} points more (webapp_rollout.bounds.errors)."
    )


def worse_latency(share: int, new: list[Traffic], old: list[Traffic], bounds: Bounds, alarm: float) -> str:
    """Why this share of the requests takes too long; empty if it does not."""
    factor = float(getattr(bounds, f"p{share}"))
    each = [quantile(one.buckets, share / 100) for host in old for one in host.slices]
    usual = statistics.median([one for one in each if one is not None] or [0.0])

    def limit_of(latency: float) -> float:
        return max(latency * factor, latency + bounds.delay / 1000)

    # The bursts of the old release are left out first, because they would move the limit for the new one.
    calm = [steady([host], beyond(limit_of(usual))) for host in old]
    before = quantile(pooled([Traffic("", tuple(calm))]).buckets, share / 100) or usual
    # A new release may be as slow as the slowest of the machines with the old one.
    slowest = [quantile(one.buckets, share / 100) or 0.0 for one in calm if one.requests >= bounds.requests]
    limit = max([limit_of(before), *slowest])
    kept = steady(new, beyond(limit))
    count = kept.buckets.total()
    # If the new release kept within the limit, this share of its requests, or more, would be below it.
    if not count or tail(math.floor(above(kept.buckets, limit)), count, 1 - share / 100) > alarm:
        return ""
    now = quantile(kept.buckets, share / 100) or 0.0
    return (
        f"The new release is worse: {share} % of its requests take at most {duration(now)}. With the old one, it is "
        f"{duration(before)}, and the bound is {factor:g} times as long, and {bounds.delay} ms more "
        f"(webapp_rollout.bounds.p{share})."
    )


# The bad requests of a slice, and all of them.
Events = Callable[[Slice], tuple[float, int]]


def beyond(limit: float) -> Events:
    """The requests that take longer than a limit."""
    return lambda one: (above(one.buckets, limit), one.buckets.total())


def steady(hosts: list[Traffic], events: Events) -> Slice:
    """The requests of these hosts, without the slices in which a host had many more bad ones than in its others."""
    return pooled([Traffic("", tuple(without_bursts(host.slices, events))) for host in hosts])


def without_bursts(slices: Sequence[Slice], events: Events) -> list[Slice]:
    """These slices without those of the worst quarter that are unusual beside the others."""

    def share(one: Slice) -> float:
        bad, count = events(one)
        return bad / count if count else 0.0

    ordered = sorted(slices, key=share)
    most = int(len(slices) * LEFT_OUT)
    kept, worst = ordered[: len(ordered) - most], ordered[len(ordered) - most :]
    # One more, so that a single bad request is not unusual where there are no others.
    bad = 1 + sum(events(one)[0] for one in kept)
    usual = bad / (1 + sum(events(one)[1] for one in kept))
    return kept + [one for one in worst if not is_unusual(events(one), usual, len(slices))]


def is_unusual(found: tuple[float, int], usual: float, slices: int) -> bool:
    return tail(math.floor(found[0]), found[1], usual) <= UNUSUAL / slices


def rate(one: Slice) -> float:
    return one.errors / one.requests if one.requests else 0.0


def tail(least: int, count: int, probability: float) -> float:
    """An upper bound of the probability that ``least`` or more of ``count`` trials succeed. It is tight if it is small.

    The first term of the binomial tail, and a geometric series with the ratio of its first two terms for the others.
    """
    if least <= count * probability or probability >= 1:
        return 1.0
    if probability <= 0:
        return 0.0
    log_term = (
        math.lgamma(count + 1)
        - math.lgamma(least + 1)
        - math.lgamma(count - least + 1)
        + least * math.log(probability)
        + (count - least) * math.log1p(-probability)
    )
    ratio = (count - least) / (least + 1) * probability / (1 - probability)
    return min(1.0, math.exp(log_term) / (1 - ratio))


# The table


def table(new: list[Traffic], old: list[Traffic]) -> list[str]:
    """Two columns with the figures of both releases."""
    rows = [("", "old", "new")]
    columns = [column(old), column(new)]
    rows += [(name, columns[0][name], columns[1][name]) for name in columns[0]]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}".rstrip() for row in rows]


def column(hosts: list[Traffic]) -> dict[str, str]:
    whole = pooled(hosts)
    found = {"hosts": str(len(hosts)), "requests": str(whole.requests)}
    found["errors"] = f"{rate(whole):.2%}" if whole.requests else "-"
    for share in SHARES:
        seconds = quantile(whole.buckets, share / 100)
        found[f"p{share}"] = "-" if seconds is None else duration(seconds)
    return found


def duration(seconds: float) -> str:
    """A latency as text."""
    milliseconds = seconds * 1000
    if milliseconds < 1:
        return "<1 ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{seconds:.0f} s"
