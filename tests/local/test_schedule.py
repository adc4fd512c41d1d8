# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Schedules, read by systemd itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.processes import due
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


EVERY = [",".join(map(str, range(low, high))) for low, high in ((0, 60), (0, 24), (1, 32), (1, 13), (0, 7))]


@pytest.mark.parametrize(("hours", "started"), [(EVERY[1], True), ("27", False)])
def test_the_program_of_cron_becomes_the_job_where_it_is_due(tmp_path: Path, hours: str, started: bool) -> None:
    """Without this virtual environment, because a host has only the system Python."""
    fields = [EVERY[0], hours, *EVERY[2:]]
    job = tmp_path / "job"
    job.write_text('#!/bin/sh\necho "$1"\nexit 3\n')
    words = [sys.executable, "-I", "-S", due.__file__, "Europe/Berlin", "both", *fields]
    assert subprocess.run([*words, str(job), "nightly"], check=False).returncode == 0, "the release has no such job"
    job.chmod(0o755)
    answer = subprocess.run([*words, str(job), "nightly"], capture_output=True, text=True, check=False)
    assert (answer.stdout, answer.returncode) == (("nightly\n", 3) if started else ("", 0))
