# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Small charts as SVG shapes: requests a minute, share of errors, and latency of an application. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.logs.buckets import quantile
from ansible_collections.pyweb.stack.plugins.module_utils.status import values
from ansible_collections.pyweb.stack.plugins.module_utils.status.traffic import Slice, Traffic, pooled

WIDTH, HEIGHT = 320.0, 56.0
# A chart never shows a share of errors as large only because it has the largest bar.
LEAST_SHARE = 0.02
LEAST_RATE = 1.0
LEAST_SECONDS = 0.01
ROUND = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)

Point = tuple[float, float]


@dataclass(frozen=True)
class Window:
    """The time that all charts show, in seconds since 1970."""

    begin: float
    end: float
    slices: int

    @property
    def step(self) -> float:
        return (self.end - self.begin) / self.slices

    def x(self, at: float) -> float:
        return round((at - self.begin) / (self.end - self.begin) * WIDTH, 1)

    def x_of(self, number: int) -> float:
        """The middle of a slice."""
        return round((number + 0.5) / self.slices * WIDTH, 1)


def series(hosts: Sequence[Traffic], window: Window) -> dict[str, list[Any]]:
    """The figures of each slice, of all hosts together."""
    whole = [pooled_slice(hosts, number) for number in range(window.slices)]
    minutes = window.step / 60
    return {
        "rate": [round(one.requests / minutes, 2) for one in whole],
        "requests": [one.requests for one in whole],
        "errors": [one.errors for one in whole],
        "p50": [rounded(quantile(one.buckets, 0.5)) for one in whole],
        "p95": [rounded(quantile(one.buckets, 0.95)) for one in whole],
    }


def pooled_slice(hosts: Sequence[Traffic], number: int) -> Slice:
    return pooled([Traffic(host.host, (host.slices[number],)) for host in hosts if not host.problem])


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def figures(hosts: Sequence[Traffic]) -> dict[str, Any]:
    """The totals of the window: requests, share of errors, and latencies."""
    whole = pooled([host for host in hosts if not host.problem])
    return {
        "requests": whole.requests,
        "errors": whole.errors,
        "share": whole.errors / whole.requests if whole.requests else 0.0,
        "p50": quantile(whole.buckets, 0.5),
        "p95": quantile(whole.buckets, 0.95),
    }


def charts(found: dict[str, list[Any]], window: Window) -> list[dict[str, Any]]:
    """The three charts of an application: title, the largest value as text, and the shapes."""
    shares = [errors / requests if requests else 0.0 for errors, requests in zip(found["errors"], found["requests"])]
    slow = [value for value in found["p95"] if value is not None]
    return [
        chart("requests a minute", found["rate"], LEAST_RATE, values.rate, [("rate", found["rate"], True)], window),
        chart("errors", shares, LEAST_SHARE, values.share, [], window, bars=shares),
        chart(
            "latency, p50 and p95",
            slow,
            LEAST_SECONDS,
            values.latency,
            [("p95", found["p95"], False), ("p50", found["p50"], True)],
            window,
        ),
    ]


def chart(
    title: str,
    shown: Iterable[float],
    least: float,
    said: Callable[[float], str],
    lines: list[tuple[str, list[float | None], bool]],
    window: Window,
    bars: Sequence[float] = (),
) -> dict[str, Any]:
    largest = max([*shown], default=0.0)
    top = rounded_up(max(largest, least))
    return {
        "title": title,
        "largest": said(largest),
        "top": said(top),
        "lines": [
            {
                "kind": kind,
                "path": path(points(line, top, window)),
                "area": area(points(line, top, window)) if is_filled else "",
            }
            for kind, line, is_filled in lines
        ],
        "bars": bars_path(bars, top, window),
    }


def rounded_up(value: float) -> float:
    """The next number of one digit, or 1.5 or 15 or 150, and so on."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in ROUND if factor * power >= value * 0.999999)


def points(line: Sequence[float | None], top: float, window: Window) -> list[list[Point]]:
    """The line as pieces: a slice without a value interrupts it."""
    pieces: list[list[Point]] = [[]]
    for number, value in enumerate(line):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((window.x_of(number), y_of(value, top)))
    return [piece for piece in pieces if piece]


def y_of(value: float, top: float) -> float:
    return round(HEIGHT - min(1.0, value / top) * (HEIGHT - 2) - 1, 1)


def path(pieces: list[list[Point]]) -> str:
    """The points as the path of a line. A single point becomes a short line."""
    found = []
    for piece in pieces:
        (x, y), *others = piece
        found.append(f"M{x:g} {y:g}" + "".join(f"L{x:g} {y:g}" for x, y in others or [(x + 1, y)]))
    return "".join(found)


def area(pieces: list[list[Point]]) -> str:
    return "".join(f"{path([piece])}V{HEIGHT:g}H{piece[0][0]:g}Z" for piece in pieces if len(piece) > 1)


def bars_path(bars: Sequence[float], top: float, window: Window) -> str:
    width = max(1.5, round(WIDTH / window.slices * 0.7, 1))
    return "".join(
        f"M{window.x_of(number) - width / 2:g} {HEIGHT:g}V{min(y_of(value, top), HEIGHT - 2):g}h{width:g}V{HEIGHT:g}Z"
        for number, value in enumerate(bars)
        if value > 0
    )


def ticks(window: Window) -> list[str]:
    """The times at the left edge, in the middle, and at the right edge."""
    return [values.clock(at) for at in (window.begin, (window.begin + window.end) / 2, window.end)]
