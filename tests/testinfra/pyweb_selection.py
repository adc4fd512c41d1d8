# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Chooses which tests of a scenario run.

A test marked `matrix` belongs to the full matrix: every way to deploy and to be killed, on every kind of host. All
others are the sample, which always runs. PYWEB_MATRIX adds tests of the matrix to the sample: `all` adds all of them,
`3/24` adds the third of 24 shards. `show` lists the shards and runs nothing. The shards of a scenario are equal on
every machine, because its tests of the matrix are dealt out in their order. Tests marked `matrix(whole=True)` are in
no shard, because each takes minutes: only `all` adds them.

A test marked `alone` measures time, so that nothing else may take the processors. PYWEB_ALONE divides the tests:
`without` leaves these out, `only` runs no others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import pytest

SHARDS = 24


def chosen(tests: Sequence[str], wanted: str) -> list[str]:
    """The tests of the matrix that run, of those given in their order."""
    if wanted == "":
        return []
    if wanted == "all":
        return list(tests)
    shard = re.fullmatch(r"(\d+)/(\d+)", wanted)
    if not shard or not 1 <= int(shard[1]) <= int(shard[2]):
        raise pytest.UsageError(f"PYWEB_MATRIX is {wanted!r}. Set it to all, show, or a shard such as 3/{SHARDS}.")
    number, count = int(shard[1]), int(shard[2])
    return [test for place, test in enumerate(tests) if place % count == number - 1]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "matrix: belongs to the full matrix, of which PYWEB_MATRIX runs a part")
    config.addinivalue_line("markers", "alone: measures time, so that PYWEB_ALONE keeps it apart from other scenarios")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted, alone = (os.environ.get(name, "") for name in ("PYWEB_MATRIX", "PYWEB_ALONE"))
    if alone not in ("", "only", "without"):
        raise pytest.UsageError(f"PYWEB_ALONE is {alone!r}. Set it to only or without.")
    marked = {item.nodeid: mark for item in items if (mark := item.get_closest_marker("matrix"))}
    matrix = [name for name, mark in marked.items() if wanted == "all" or not mark.kwargs.get("whole")]
    if wanted == "show":
        config.option.collectonly = True
        for place, test in enumerate(matrix):
            print(f"{place % SHARDS + 1}/{SHARDS} {test}")
        return
    left_out = set(marked) - set(chosen(matrix, wanted))
    run = [
        item
        for item in items
        if item.nodeid not in left_out and not (alone and (alone == "only") != bool(item.get_closest_marker("alone")))
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in run])
    items[:] = run
