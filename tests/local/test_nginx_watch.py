# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The program that watches nginx on hosts without an init, with a fake nginx that records its start."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.watch import WATCH


class Host:
    """A folder with a pid file and programs that precede all others on the PATH; each records its calls."""

    def __init__(self, folder: Path) -> None:
        self.pidfile = folder / "nginx.pid"
        self.notes = folder / "notes"
        self.notes.touch()
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.program("sleep", "exec /bin/sleep 0.01")
        self.program("nginx", f"rm -f {self.pidfile}")

    def program(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\necho {name} >>{self.notes}\n{script}\n")
        path.chmod(0o755)

    def calls(self, name: str) -> int:
        return self.notes.read_text().split().count(name)

    def looks_again(self) -> bool:
        """Whether it has completed three more loops."""
        before = self.calls("sleep")
        return wait_for(lambda: self.calls("sleep") > before + 3, 20)


@pytest.fixture
def gone() -> int:
    """The process id of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[[], Host]]:
    host = Host(tmp_path)
    with contextlib.ExitStack() as stack:

        def watch() -> Host:
            script = WATCH.replace("/run/nginx.pid", str(host.pidfile))
            environment = {**os.environ, "PATH": f"{host.bin}:{os.environ['PATH']}"}
            process = subprocess.Popen(["/bin/sh", "-c", script], env=environment, stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return host

        watch.host = host  # type: ignore[attr-defined]
        yield watch


def test_killed_nginx_is_started_again(watched, gone: int) -> None:
    watched.host.pidfile.write_text(f"{gone}\n")
    host = watched()
    assert wait_for(lambda: host.calls("nginx") == 1, 20)
    assert host.looks_again()
    assert host.calls("nginx") == 1


def test_the_number_of_a_former_nginx_may_be_that_of_another_process(watched) -> None:
    with subprocess.Popen(["/bin/sleep", "100"], start_new_session=True) as other:
        watched.host.pidfile.write_text(f"{other.pid}\n")
        host = watched()
        assert wait_for(lambda: host.calls("nginx") == 1, 20)
        assert other.poll() is None
        other.kill()


def test_stopped_nginx_stays_stopped(watched) -> None:
    host = watched()
    assert host.looks_again()
    assert host.calls("nginx") == 0


def test_nginx_that_is_stopped_during_a_look_stays_stopped(watched, gone: int) -> None:
    # It takes its pid file along and goes when that has just been read.
    watched.host.program("cat", f'/bin/cat "$1"; if [ "$1" = {watched.host.pidfile} ]; then rm -f "$1"; fi')
    watched.host.pidfile.write_text(f"{gone}\n")
    host = watched()
    assert wait_for(lambda: not host.pidfile.exists(), 20)
    assert host.looks_again()
    assert host.calls("nginx") == 0


def test_other_nginx_that_has_been_started_meanwhile_is_left_alone(watched, gone: int) -> None:
    watched.host.program(
        "cat", f'/bin/cat "$1"; if [ "$1" = {watched.host.pidfile} ]; then echo {os.getpid()} >"$1"; fi'
    )
    watched.host.pidfile.write_text(f"{gone}\n")
    # From the second look on the file names a process that is no nginx, and stays: so only the first is looked at.
    watched.host.program("sleep", 'test "$(grep -c sleep "$(dirname "$0")/../notes")" -lt 2')
    host = watched()
    assert wait_for(lambda: host.calls("sleep") == 2, 20)
    assert host.calls("nginx") == 0
