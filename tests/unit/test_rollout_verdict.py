# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The verdict on a canary: equal releases are never worse, and the faults that must be found are found."""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.logs.buckets import (
    LONGEST,
    SHORTEST,
    above,
    begin_of,
    bucket_of,
    quantile,
)
from ansible_collections.pyweb.stack.plugins.module_utils.status.traffic import Slice, Traffic, traffic_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.rollout.verdict import (
    OK,
    UNJUDGED,
    WORSE,
    Bounds,
    Verdict,
    bounds_of,
    tail,
    verdict,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options

SLICES = 12
POOL = 20_000
# The full matrix tries 25 000 equal canaries, and none of them is worse.
TRIES = 2000 if os.environ.get("PYWEB_MATRIX") == "all" else 40


# Latencies in seconds of kinds of applications


def plain(chance: random.Random) -> float:
    return chance.lognormvariate(-4, 0.5)


def skewed(chance: random.Random) -> float:
    return chance.lognormvariate(-3, 1.2)


def on_a_cliff(chance: random.Random) -> float:
    """One in twenty requests is a report that takes a hundred times as long: p95 lies on the border."""
    return chance.lognormvariate(-5, 0.3) * (100 if chance.random() < 0.05 else 1)


def heavy(chance: random.Random) -> float:
    """A tail without a mean."""
    return 0.005 * chance.paretovariate(0.9)


def fast(chance: random.Random) -> float:
    """As fast as nginx can measure, so that most requests take 0, 1 or 2 ms."""
    return round(chance.lognormvariate(-6.9, 0.6), 3)


KINDS: list[Callable[[random.Random], float]] = [plain, skewed, on_a_cliff, heavy, fast]


@cache
def pool(kind: Callable[[random.Random], float], slower: float = 1, slow_share: float = 0) -> list[int]:
    """The buckets of many latencies. ``slow_share`` of the requests wait for a second more."""
    chance = random.Random(1)
    return [
        bucket_of(kind(chance) * slower + (1 if slow_share and chance.random() < slow_share else 0))
        for _ in range(POOL)
    ]


def moved(drawn: Counter[int], by: int) -> Counter[int]:
    found: Counter[int] = Counter()
    for bucket, count in drawn.items():
        found[max(SHORTEST, min(LONGEST, bucket + by))] += count
    return found


def successes(chance: random.Random, count: int, probability: float) -> int:
    """The successes of this many trials: jumps from one to the next."""
    found, position = 0, 0
    while True:
        position += 1 + int(math.log(1 - chance.random()) / math.log1p(-probability))
        if position > count:
            return found
        found += 1


def host(
    chance: random.Random,
    buckets: list[int],
    a_second: float,
    errors: float = 0.001,
    noise: bool = False,
    seconds: int = 60,
) -> Traffic:
    """The requests of a host. Noise: each machine has its own speed, begins cold, and can have a burst."""
    shift = chance.gauss(0, 0.1 * 8 / 0.693) if noise else 0
    burst = chance.randrange(SLICES - 1) if noise and chance.random() < 0.3 else None
    slices = []
    for number in range(SLICES):
        is_burst = burst is not None and number in (burst, burst + 1)
        count = max(0, round(chance.gauss(a_second * seconds / SLICES, (a_second * seconds / SLICES) ** 0.5)))
        slow = round(shift) + (24 if is_burst else 16 if noise and number == 0 else 0)
        drawn = Counter(chance.choices(buckets, k=count))
        failing = 0.2 if is_burst else errors
        failed = successes(chance, count, failing)
        slices.append(Slice(count, failed, moved(drawn, slow)))
    return Traffic("web", tuple(slices))


def judged(seed: int, new: Traffic, old: list[Traffic]) -> Verdict:
    found = verdict([new], old)
    assert found.state in (OK, WORSE), (seed, found.text)
    return found


@pytest.mark.parametrize("a_second", [4, 25])
@pytest.mark.parametrize("noise", [False, True], ids=["quiet", "noisy"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_equal_release_is_never_worse(kind: Callable[[random.Random], float], noise: bool, a_second: int) -> None:
    """Four hosts. With these seeds and noise, no verdict is false; a verdict alone is false once in 10 000."""
    for seed in range(TRIES if a_second < 10 else TRIES // 4):
        chance = random.Random(seed)
        new, *old = (host(chance, pool(kind), a_second, noise=noise) for _ in range(4))
        found = judged(seed, new, old)
        assert found.state == OK, (seed, found.text)


@pytest.mark.parametrize("noise", [False, True], ids=["quiet", "noisy"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_of_two_percent_are_found(kind: Callable[[random.Random], float], noise: bool) -> None:
    """Four hosts share 200 requests a second, for 60 seconds."""
    for seed in range(TRIES // 10):
        chance = random.Random(seed)
        old = [host(chance, pool(kind), 50, noise=noise) for _ in range(3)]
        found = judged(seed, host(chance, pool(kind), 50, errors=0.021, noise=noise), old)
        assert found.state == WORSE, (seed, found.text)
        assert "of its requests are errors" in found.text


@pytest.mark.parametrize("noise", [False, True], ids=["quiet", "noisy"])
@pytest.mark.parametrize("kind", [plain, skewed, on_a_cliff, heavy], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("slower", "slow_share"), [(2, 0), (1, 0.08)], ids=["twice as slow", "a slow tail"])
def test_a_slow_release_is_found(
    kind: Callable[[random.Random], float], slower: float, slow_share: float, noise: bool
) -> None:
    """A faster machine hides a part of it, so with noise one in ten can be missed."""
    tries, found = TRIES // 4, 0
    for seed in range(tries):
        chance = random.Random(seed)
        old = [host(chance, pool(kind), 50, noise=noise) for _ in range(3)]
        one = judged(seed, host(chance, pool(kind, slower, slow_share), 50, noise=noise), old)
        found += one.state == WORSE
        assert noise or one.state == WORSE, (seed, one.text)
    assert found >= 0.9 * tries


# Rules


def steady_host(name: str, requests: int = 240, errors: int = 0, bucket: int = 40) -> Traffic:
    return Traffic(name, tuple(Slice(requests // 12, errors, Counter({bucket: requests // 12})) for _ in range(SLICES)))


def test_the_message_has_two_columns() -> None:
    found = verdict([steady_host("web1", errors=1)], [steady_host("web2"), steady_host("web3")])
    assert found.state == WORSE
    assert (
        found.text
        == """\
The new release is worse: 5.0% of its requests are errors. The old one has 0.0%, and the bound is 1 points more \
(webapp_rollout.bounds.errors).
            old    new
hosts         2      1
requests    480    240
errors    0.00%  5.00%
p50       33 ms  33 ms
p95       35 ms  35 ms
p99       35 ms  35 ms"""
    )


def test_what_was_not_looked_at_is_never_ok() -> None:
    few, none = steady_host("web1", requests=84), Traffic("web1", problem="the site has no access log (access_log)")
    old = [steady_host("web2"), steady_host("web3")]
    for new, others, told in (
        ([few], old, "the new release got 84 requests on web1, and the least number is 100"),
        (old, [few], "the old release got 84 requests on web1"),
        ([none], old, "web1: the site has no access log"),
        ([*old, none], old, "web1: the site has no access log"),
        (old, [none], "web1: the site has no access log"),
        (old, [], "no host serves the old one"),
        ([], old, "the new release got 0 requests"),
    ):
        found = verdict(new, others)
        assert (found.state, told in found.text) == (UNJUDGED, True), found.text


def test_one_host_with_the_old_release_that_has_no_log_is_left_out() -> None:
    old = [steady_host("web2"), Traffic("web3", problem="no answer")]
    assert verdict([steady_host("web1")], old).state == OK
    assert verdict([steady_host("web1", errors=2)], old).state == WORSE


def test_a_short_burst_of_the_new_release_decides_nothing() -> None:
    slices = list(steady_host("web1").slices)
    slices[4] = slices[5] = Slice(20, 20, Counter({150: 20}))
    new, old = Traffic("web1", tuple(slices)), [steady_host("web2"), steady_host("web3")]
    assert verdict([new], old).state == OK
    # A fault that lasts is no burst.
    new = Traffic("web1", tuple(slices[4:6] * 6))
    assert verdict([new], old).state == WORSE


def test_a_burst_of_the_old_release_hides_nothing() -> None:
    slices = list(steady_host("web2").slices)
    slices[4] = slices[5] = Slice(20, 20, Counter({150: 20}))
    found = verdict([steady_host("web1", errors=2, bucket=80)], [Traffic("web2", tuple(slices)), steady_host("web3")])
    assert len(found.reasons) == 4, found.text


def test_the_bounds_of_an_inventory_count() -> None:
    new, old = [steady_host("web1", bucket=50)], [steady_host("web2")]
    assert verdict(new, old).state == WORSE
    lenient = bounds_of({"p50": 3, "p95": 3.0, "requests": None})
    assert (lenient.requests, verdict(new, old, lenient).state) == (100, OK)
    assert verdict([steady_host("web1", errors=1)], old, Bounds(errors=6)).state == OK


def test_the_defaults_are_those_of_the_specification() -> None:
    options = role_options("webapp")["webapp_rollout"]["options"]["bounds"]["options"]
    assert {name: option["default"] for name, option in options.items()} == asdict(Bounds())


def test_milliseconds_are_no_difference() -> None:
    """From 1 to 4 ms: four times as slow, but less than the delay that counts."""
    assert verdict([steady_host("web1", bucket=16)], [steady_host("web2", bucket=0)]).state == OK
    assert verdict([steady_host("web1", bucket=24)], [steady_host("web2", bucket=0)]).state == WORSE


@pytest.mark.parametrize("probability", [0.001, 0.05, 0.5])
def test_the_tail_is_an_upper_bound(probability: float) -> None:
    for least in range(1, 60):
        exact = sum(math.comb(60, k) * probability**k * (1 - probability) ** (60 - k) for k in range(least, 61))
        assert tail(least, 60, probability) >= exact * 0.999999
        if exact < 0.001:
            assert tail(least, 60, probability) < exact * 1.5


# Buckets


def test_buckets_are_nine_percent_wide() -> None:
    for seconds in (0.001, 0.002, 0.0021, 0.1, 1, 17, 3600):
        bucket = bucket_of(seconds)
        assert begin_of(bucket) <= seconds * 1.0001
        assert seconds < begin_of(bucket + 1) < begin_of(bucket) * 1.1
    assert (bucket_of(0), bucket_of(0.0004), bucket_of(1e9)) == (SHORTEST, SHORTEST, LONGEST)


def test_quantiles_of_buckets() -> None:
    values = [number / 100 for number in range(1, 1001)]
    buckets = Counter(bucket_of(value) for value in values)
    for share in (0.5, 0.95, 0.99):
        assert quantile(buckets, share) == pytest.approx(values[int(share * 1000) - 1], rel=0.09)
    assert (quantile({}, 0.5), above(buckets, 5) == pytest.approx(500, rel=0.03)) == (None, True)


# The answer of a host


def answer(**changed: object) -> dict[str, object]:
    one = {"requests": 3, "errors": 1, "buckets": [[-1, 1], [20, 2]]}
    return {"apps": [{"name": "shop", "slices": [one] * 12, "unread": 0, "problems": [], **changed}]}


def test_an_answer_is_data() -> None:
    found = traffic_of("web1", "shop", answer(), 60)
    assert (found.requests, found.problem, found.slices[0].buckets) == (36, "", Counter({20: 2, -1: 1}))


@pytest.mark.attack("17", "A web host answers with figures of its requests that are none")
@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"apps": "shop"},
        {"failed": True, "msg": "seconds is 0.\x1b[2J"},
        {"apps": []},
        answer(slices=[]),
        answer(slices=[{"requests": -1, "errors": 0, "buckets": []}] * 12),
        answer(slices=[{"requests": True, "errors": 0, "buckets": []}] * 12),
        answer(slices=[{"requests": 1, "errors": 2, "buckets": []}] * 12),
        answer(slices=[{"requests": 1, "errors": 0, "buckets": [[10**9, 1]]}] * 12),
        answer(slices=[{"requests": 1, "errors": 0, "buckets": [[1, 2]]}] * 12),
        answer(slices=[{"requests": 10**30, "errors": 0, "buckets": []}] * 12),
        answer(slices=[{"requests": 1, "errors": 0, "buckets": [1]}] * 12),
        answer(slices=[{"requests": 1, "errors": 0, "buckets": [[1, 1, 1]]}] * 12),
        answer(problems=["/var/log/nginx/shop.access.log can't be read"]),
        answer(unread=100),
    ],
)
def test_a_wrong_answer_is_never_ok(given: object) -> None:
    found = traffic_of("web1", "shop", given, 60)
    assert found.problem
    assert "\x1b" not in found.problem
    assert verdict([found], [steady_host("web2")]).state == UNJUDGED
