# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts that have the whole site. A run is for all of them at once, so each test is done on all before the next."""

from __future__ import annotations

import pytest
from pyweb_places import Place

SITE = ("variants-supervisor", "variants-noinit", "variants-mixed")
# One of each Debian, with supervisor.
PAIR = SITE[:2]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """By function, in the order of the files: pytest has put all tests of a host before those of the next."""
    items.sort(key=lambda item: (str(item.path), item.function.__code__.co_firstlineno))


@pytest.fixture
def on_site(host) -> None:
    if host.backend.host not in SITE:
        pytest.skip("this host has single roles")  # the other hosts of the scenario show it


@pytest.fixture(scope="session")
def sites(places: list[Place]) -> list[Place]:
    return [place for place in places if place.name in SITE]


@pytest.fixture(scope="session")
def pair(places: list[Place]) -> list[Place]:
    return [place for place in places if place.name in PAIR]
