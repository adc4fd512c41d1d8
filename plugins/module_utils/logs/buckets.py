# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A histogram of latencies with buckets of equal ratio: small for any number of requests. Pure. Used on both sides."""

from __future__ import annotations

import math
from collections.abc import Mapping

# Buckets for each doubling. A bucket is 9 % wide, so a quantile is exact to 9 %.
PER_DOUBLING = 8
# nginx measures in milliseconds. This bucket holds what took less than one.
SHORTEST = -1
# 2^22 ms are 70 minutes. Longer requests count as this.
LONGEST = 22 * PER_DOUBLING
# A window has at most this many slices, of a second or more: the access log has whole seconds. A short fault of a
# machine falls into a few of them, and a fault of a release into all.
SLICES = 12


def slices_of(seconds: float) -> int:
    """The number of slices of a window."""
    return max(1, min(SLICES, int(seconds)))


def bucket_of(seconds: float) -> int:
    """The bucket of a latency."""
    milliseconds = seconds * 1000
    if milliseconds < 1:
        return SHORTEST
    # Half of a thousandth of a bucket, so that an exact power of two stays on its side of the border.
    return min(LONGEST, math.floor(math.log2(milliseconds) * PER_DOUBLING + 0.0005))


def begin_of(bucket: int) -> float:
    """The seconds at which a bucket begins."""
    return 0.0 if bucket <= SHORTEST else float(2 ** (bucket / PER_DOUBLING)) / 1000


def quantile(buckets: Mapping[int, int], share: float) -> float | None:
    """The seconds within which this share of the requests was answered; None without requests."""
    total = sum(buckets.values())
    if not total:
        return None
    wanted, before = share * total, 0
    for bucket in sorted(buckets):
        count = buckets[bucket]
        if count and before + count >= wanted:
            begin, end = begin_of(bucket), begin_of(bucket + 1)
            return begin + (end - begin) * max(0.0, wanted - before) / count
        before += count
    return begin_of(max(buckets) + 1)


def above(buckets: Mapping[int, int], seconds: float) -> float:
    """The number of requests that took longer. The bucket that contains the limit counts in proportion."""
    found = 0.0
    for bucket, count in buckets.items():
        begin, end = begin_of(bucket), begin_of(bucket + 1)
        found += count * min(1.0, max(0.0, (end - seconds) / (end - begin)))
    return found
