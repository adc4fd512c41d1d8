#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Visitors of a fleet: half of them give orders, which the application writes down, each under a number of its own.

    orders.py ADDRESS… --host shop.example.com --rate 200 --json FILE

Asks the addresses in turn, such as those of two balancers, as load.py asks one: GET / and POST /orders. Ends at
SIGTERM. The report names each request that failed, with its time. It also has the numbers of the orders that were
acknowledged, and of those that were not. The hosts' own records then show which orders were lost, which were
carried out twice, and which were carried out although their visitor got an error: see tests/apps/orders.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from load import Connection, Load


class Orders(Load):
    """A load whose POST requests have numbers."""

    posted = "/orders"

    def __init__(self, addresses: Sequence[str], host: str | None) -> None:
        super().__init__(f"http://{addresses[0]}/", host or addresses[0], 0)
        self.addresses = itertools.cycle(addresses)
        self.failures: list[dict[str, Any]] = []
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.times: list[tuple[float, float]] = []

    async def connect(self) -> Connection:
        return Connection(*await asyncio.open_connection(next(self.addresses), self.port))

    def new_body(self) -> bytes:
        return f"{uuid.uuid4().hex} {'-' * random.randrange(10, 20000)}".encode()

    def note(self, kind: str, took: float, problem: str, body: bytes) -> None:
        super().note(kind, took, problem, body)
        began = round(time.time() - took, 3)
        if body:
            (self.refused if problem else self.acknowledged).append(body.split(b" ", 1)[0].decode())
        if problem:
            self.failures.append({"began": began, "took": round(took, 3), "kind": kind, "problem": problem})
        else:
            self.times.append((began, round(took, 4)))

    def report(self) -> dict[str, object]:
        took = sorted(seconds for _began, seconds in self.times)
        return {
            **super().report(),
            "p50": took[len(took) // 2] if took else None,
            "p99": took[len(took) * 99 // 100] if took else None,
            "failures": self.failures,
            "slow": [one for one in self.times if one[1] > 1],
            "acknowledged": self.acknowledged,
            "refused": self.refused,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("addresses", nargs="+", help="addresses that answer for the site")
    parser.add_argument("--host", help="the Host header, if the site goes by another name")
    parser.add_argument("--rate", type=float, default=200, help="requests a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=600, help="when to end by itself (%(default)s)")
    parser.add_argument("--json", type=Path, required=True, help="write the report there")
    arguments = parser.parse_args()
    load = Orders(arguments.addresses, arguments.host)
    asyncio.run(load.run(min(arguments.rate, 1000), 0, min(arguments.seconds, 900)))
    report = load.report()
    arguments.json.write_text(json.dumps(report) + "\n", encoding="utf-8")
    print(json.dumps({key: report[key] for key in ("requests", "failed", "slowest", "p50", "p99")}))
    return 1 if report["failed"] or not report["requests"] else 0


if __name__ == "__main__":
    sys.exit(main())
