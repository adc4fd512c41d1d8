# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A result that all hosts of a task share is computed once, by whichever process comes first."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.once import Once


def counted(calls: list[int]) -> Callable[[], dict[str, Any]]:
    def compute() -> dict[str, Any]:
        calls.append(1)
        return {"shop": ["web1", "wéb\udcff"]}

    return compute


def test_the_first_task_computes_and_the_others_read(tmp_path: Path) -> None:
    calls: list[int] = []
    found = [Once(tmp_path, "task 1").result("hosts", counted(calls)) for _host in range(3)]
    assert found == [{"shop": ["web1", "wéb\udcff"]}] * 3
    assert len(calls) == 1
    Once(tmp_path, "task 2").result("hosts", counted(calls))
    Once(tmp_path, "task 1").result("others", counted(calls))
    assert len(calls) == 3, "another task, and another result"


def test_a_host_that_has_failed_lets_the_later_ones_compute_for_themselves(tmp_path: Path) -> None:
    calls: list[int] = []
    once = Once(tmp_path, "task")
    once.result("hosts", counted(calls))
    once.forget()
    for _host in range(2):
        Once(tmp_path, "task").result("hosts", counted(calls))
    assert len(calls) == 3


@pytest.mark.parametrize("text", [b"", b'{"shop": ["we', b"\xff"])
def test_a_part_of_a_result_is_computed_again(tmp_path: Path, text: bytes) -> None:
    calls: list[int] = []
    once = Once(tmp_path, "task")
    once.path("hosts").write_bytes(text)
    for _host in range(2):
        assert once.result("hosts", counted(calls))["shop"][0] == "web1"
    assert len(calls) == 1


def test_a_host_of_another_batch_learns_of_the_failure_as_well(tmp_path: Path) -> None:
    calls: list[int] = []
    Once(tmp_path, "task", "web2 web3").result("hosts", counted(calls))
    Once(tmp_path, "task", "web1 web2 web3").forget()
    Once(tmp_path, "task", "web2 web3").result("hosts", counted(calls))
    assert len(calls) == 2


def test_a_file_system_without_locks_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert [Once(tmp_path, "task").result("who", lambda: "web1") for _host in range(2)] == ["web1"] * 2


def test_an_error_is_told_and_not_kept(tmp_path: Path) -> None:
    def broken() -> str:
        raise OSError("the disk is broken")

    once = Once(tmp_path, "task")
    with pytest.raises(OSError, match="the disk is broken"):
        once.result("hosts", broken)
    assert once.result("hosts", lambda: "computed") == "computed"


def test_no_folder_is_needed(tmp_path: Path) -> None:
    calls: list[int] = []
    Once(tmp_path / "removed", "task").forget()
    for _host in range(2):
        Once(tmp_path / "removed", "task").result("hosts", counted(calls))
    assert len(calls) == 2


def test_processes_that_ask_at_the_same_time_wait_for_the_first(tmp_path: Path) -> None:
    count = 8
    fork = multiprocessing.get_context("fork")
    barrier, calls, found = fork.Barrier(count), fork.Value("i", 0), fork.Queue()

    def ask() -> None:
        def compute() -> int:
            with calls.get_lock():
                calls.value += 1
            return os.getpid()

        barrier.wait(20)
        found.put(Once(tmp_path, "task").result("who", compute))

    processes = [fork.Process(target=ask) for _host in range(count)]
    for process in processes:
        process.start()
    results = {found.get(timeout=20) for _host in range(count)}
    for process in processes:
        process.join(20)
    assert (len(results), calls.value) == (1, 1)
