# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A stamp whose witness is a real process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps


@pytest.fixture
def stamp() -> Path:
    return Path(stamps.STAMP)


def test_a_process_that_ended_makes_it_void(stamp: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        stamps.record("nginx", "k", stamps.witnesses([], [process.pid]))
        assert stamps.valid() == {"nginx": {"k": {}}}
        process.kill()
        process.wait()
    assert stamps.valid() == {}
