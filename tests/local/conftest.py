# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Fixtures of tests with real processes: an nginx, an application server, a supervisord."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Test modules import the helpers beside them.
sys.path.insert(0, str(Path(__file__).parent))

import pyweb_selection
from hostile_account import attacker  # noqa: F401  # a fixture
from nginx_instance import Instance
from serving import serve  # noqa: F401  # a fixture
from supervising import lab  # noqa: F401  # a fixture


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", help="folder for the pictures of the status page, such as docs/pictures")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the full matrix out, as the scenarios do. The mark `sampled` says which tests are its sample."""
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark and hasattr(item, "callspec") and not mark.kwargs["by"](**item.callspec.params):
            item.add_marker("matrix")
    pyweb_selection.pytest_collection_modifyitems(config, items)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder of the test's own that leaves room for a socket: its path has at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="pyweb-") as folder:
        yield Path(folder)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Instance]:
    os.chmod(tmp_path, 0o755)
    instance = Instance(tmp_path)
    yield instance
    instance.stop()
