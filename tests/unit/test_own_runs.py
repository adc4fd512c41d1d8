# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The runs of a user that have ended: only those whose process in this world is surely gone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import own_runs

GONE = "4194305"  # larger than any process ID


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(own_runs, "folder", lambda: tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def put(folder: Path, run: str, *words: str, age: float = 0) -> None:
    (folder / run).write_text(" ".join(words))
    os.utime(folder / run, (time.time() - age, time.time() - age))


def test_a_run_has_not_ended_while_its_process_runs(folder: Path) -> None:
    assert own_runs.lease("one", 120) == {"run": "one", "seconds": 120}
    assert own_runs.ended() == []
    boot, namespace, pid, start = (folder / "one").read_text().split()
    assert pid == str(os.getppid())
    put(folder, "one", boot, namespace, pid, str(int(start) + 1))
    assert own_runs.ended() == ["one"], "another process has got the ID"


def test_a_run_whose_process_is_gone_has_ended(folder: Path) -> None:
    put(folder, "old", *own_runs.world(), GONE, "1", age=60)
    put(folder, "new", *own_runs.world(), GONE, "1")
    assert own_runs.ended() == ["new", "old"]


def test_runs_of_other_worlds_are_never_said_to_have_ended(folder: Path) -> None:
    boot, namespace = own_runs.world()
    put(folder, "other boot", "another", namespace, GONE, "1")
    put(folder, "other container", boot, "pid:[1]", GONE, "1")
    put(folder, "damaged", boot, namespace, GONE)
    put(folder, "unfinished.1.new", boot, namespace, GONE, "1")
    assert own_runs.ended() == []


def test_runs_of_other_users_are_never_said_to_have_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "one", *own_runs.world(), GONE, "1")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert own_runs.ended() == []


def test_a_file_that_is_no_text_stops_no_run(folder: Path) -> None:
    (folder / "damaged").write_bytes(b"\xff\xfe")
    put(folder, "old", *own_runs.world(), GONE, "1", age=60)
    assert own_runs.ended() == ["old"]


def test_a_run_is_forgotten_after_a_day(folder: Path) -> None:
    put(folder, "old", *own_runs.world(), GONE, "1", age=own_runs.REMEMBERED + 1)
    assert own_runs.ended() == []
    own_runs.record("new")
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_a_controller_that_cannot_record_runs_deploys_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(own_runs, "folder", lambda: tmp_path / "file" / "runs")
    assert own_runs.lease("one", 120) == {"run": "one", "seconds": 120}
    assert own_runs.ended() == []
    monkeypatch.setattr(own_runs, "folder", lambda: tmp_path / "runs")
    monkeypatch.setattr(own_runs, "process", raises)
    assert own_runs.lease("one", 120) == {"run": "one", "seconds": 120}


def raises(_pid: object) -> str:
    raise FileNotFoundError
