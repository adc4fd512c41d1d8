# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The tests in this folder are pure. A test that starts a process, opens a connection or sleeps fails."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible.plugins.loader import filter_loader

# Ansible loads all of its filters at the first use of one. Since 2.21, this may run ldconfig.
filter_loader.get("ansible.builtin.password_hash")

# Audit events of Python; see "Audit events table" in its library reference.
IMPURE = {
    *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"),
    *("socket.bind", "socket.connect", "socket.getaddrinfo"),
}
OWN = os.getpid()


class Guard:
    """Python can't remove an audit hook; this one is off outside of the tests of this folder."""

    on = False

    def __call__(self, event: str, _arguments: Any) -> None:
        if self.on and event in IMPURE and os.getpid() == OWN:
            refuse(event)


def refuse(event: str) -> None:
    pytest.fail(f"A test in tests/unit may not use {event}. Move it to tests/local.")


guard = Guard()
sys.addaudithook(guard)


@pytest.fixture(autouse=True)
def pure(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(time, "sleep", lambda _seconds: refuse("time.sleep"))
    guard.on = True
    yield
    guard.on = False


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Ansible's folder for temporary files is one for all tests. They must not find each other's results in it."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path_factory.mktemp("local")))


@pytest.fixture(autouse=True)
def without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a source are listed as on a controller without git."""
    from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import files, sent

    monkeypatch.setattr(files, "listed_by_git", lambda _folder: None)
    monkeypatch.setattr(sent, "left_out", lambda _folder: [])


@pytest.fixture(autouse=True)
def without_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test writes to the home folder of its user."""
    from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import own_runs

    monkeypatch.setattr(own_runs, "folder", lambda: tmp_path.with_name(f"{tmp_path.name}-runs"))


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Actions run as root on their host, whatever account runs the tests."""
    from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import host_answers

    monkeypatch.setattr(host_answers, "root_problem", lambda _action, _host: "")


@pytest.fixture
def clock(pure: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only sleeping moves on."""
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
