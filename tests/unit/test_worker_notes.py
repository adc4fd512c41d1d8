# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""How often workers died, from the notes of the app servers."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.processes import look_at_deaths
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.release.worker_notes import deaths, summary
from ansible_collections.pyweb.stack.plugins.module_utils.switching.workers import uwsgi_crashes, worker_crashes

NOW = 1_795_971_341
OVER = "99999999"  # more than any process ID


def lines(*events: tuple[str, str, int]) -> str:
    return "".join(f"{what} {pid} {NOW + time}\n" for what, pid, time in events)


def test_a_worker_of_gunicorn_that_is_gone_without_leaving_has_died() -> None:
    notes = lines(("ready", "1", -50), ("gone", "1", -40), ("ready", "2", -39), ("gone", "2", -30), ("ready", "3", -29))
    assert deaths(notes, uwsgi=False) == [NOW - 40, NOW - 30]
    assert summary(notes, False, NOW) == {"count": 2, "recent": 2, "since": NOW - 40, "last": NOW - 30}


def test_recycled_workers_are_no_deaths() -> None:
    notes = ""
    for number in range(5000):
        pid = str(number % 300 + 1)  # the kernel uses numbers again
        notes += lines(("ready", pid, -number), ("left", pid, -number), ("gone", pid, -number))
    assert deaths(notes, uwsgi=False) == []
    assert deaths(notes, uwsgi=True) == []
    assert (worker_crashes(notes), uwsgi_crashes(notes, 2)) == (0, 0)


def test_a_number_that_is_used_again_hides_no_death() -> None:
    notes = lines(("ready", "7", -9), ("left", "7", -8), ("gone", "7", -8), ("ready", "7", -7), ("gone", "7", -6))
    assert deaths(notes, uwsgi=False) == [NOW - 6]
    notes = lines(("ready", OVER, -9), ("ready", OVER, -5), ("ready", str(os.getpid()), -1))
    assert deaths(notes, uwsgi=True) == [NOW - 9, NOW - 5]
    assert uwsgi_crashes(notes, 1) == 2


def test_old_deaths_are_counted_and_not_recent() -> None:
    notes = lines(("ready", "1", -9001), ("gone", "1", -9000), ("gone", "2", -8000), ("gone", "3", -10))
    assert summary(notes, False, NOW) == {"count": 3, "recent": 1, "since": NOW - 10, "last": NOW - 10}


def test_the_workers_of_an_earlier_master_have_ended_with_it() -> None:
    notes = lines(("ready", OVER + "1", -90), ("ready", OVER + "2", -90), ("ready", OVER + "3", -60))
    found = summary(notes, True, NOW, since=NOW - 70)
    assert found == {"count": 1, "recent": 1, "since": NOW - 60, "last": NOW - 60}


def test_the_doctor_reads_the_notes_and_the_reason(tmp_path: Path) -> None:
    layout = Layout("shop", str(tmp_path / "srv"), str(tmp_path / "run"))
    (tmp_path / "run/shop").mkdir(parents=True)
    now = int(time.time())
    Path(f"{layout.socket('1')}.ready").write_text(f"ready 7 {now - 9}\ngone 7 {now - 5}\n")
    log = "[ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?\n[INFO] Booting worker with pid: 8\n"
    found = look_at_deaths(layout, "1", log, now - 60)
    assert found is not None
    assert (found["count"], found["recent"], found["last"]) == (1, 1, now - 5)
    assert found["reason"] == "[ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?"
    assert look_at_deaths(layout, "1", log, now - 2) == {"count": 0, "recent": 0, "since": 0, "last": 0}


@pytest.mark.parametrize("notes", ["", "ready 1\ngone 1\n", "ready 1 x\n", "gone ../../etc/passwd 5\n", "\0\n1 2 3 4"])
def test_notes_of_older_releases_and_forged_ones_say_nothing(notes: str) -> None:
    assert summary(notes, False, NOW) is None
    assert summary(notes, True, NOW) is None


def test_a_forged_time_is_not_recent() -> None:
    notes = f"ready 1 1\ngone 1 {'9' * 4000}\ngone 2 {NOW}\n"
    assert summary(notes, False, NOW) == {"count": 2, "recent": 1, "since": NOW, "last": NOW}
