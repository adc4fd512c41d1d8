# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Schedules, read by systemd itself."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.clock_changes import further_times
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.schedule import WORDS, parse


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("text", [*WORDS, "*/20 9-17/4 1,15 feb-nov/3 *", "0 4 1 * mon", "0 0 * * 5-7", "* * * * *"])
def test_systemd_reads_it(text: str) -> None:
    for value in parse(text).on_calendar:
        subprocess.run(["systemd-analyze", "calendar", value], check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("text", ["30 2 * * *", "*/20 * * * *"])
def test_systemd_reads_the_times_for_clock_changes(text: str) -> None:
    times = further_times(parse(text), "Europe/Berlin", " Europe/Berlin")
    assert times
    for value in times:
        subprocess.run(["systemd-analyze", "calendar", value], check=True, capture_output=True)
