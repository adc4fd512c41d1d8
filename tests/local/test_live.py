# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The record of live releases: it is valid only while the requested releases are live, with all their processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.plan import live as module
from ansible_collections.pyweb.stack.plugins.module_utils.plan.releases import report, with_versions
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILDING,
    COMPLETE,
    GOOD,
    Layout,
    Manifest,
    record,
    write_manifest,
)

LIVE, OTHER = "20261121T000000Z-11111111", "20261122T000000Z-22222222"

SERVER = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(60)"


class Shop:
    """An application whose release is live: a process that listens, and a background process."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout("shop", str(folder / "webapps"), str(folder / "run"))
        self.processes: list[dict[str, Any]] = []
        for path in (self.layout.releases, self.layout.shared, self.layout.cache, f"{self.layout.venvs}/v"):
            os.makedirs(path)
        Path(self.layout.venvs, "v", COMPLETE).touch()
        Path(self.layout.path(".fingerprint_key")).write_text("random")
        os.makedirs(os.path.dirname(self.layout.socket(LIVE)))
        self.put(LIVE)
        self.server = subprocess.Popen([sys.executable, "-c", SERVER, self.layout.socket(LIVE)])
        self.worker = subprocess.Popen(["sleep", "60"])
        os.symlink(f"releases/{LIVE}", self.layout.current)
        os.symlink(self.layout.socket(LIVE), self.layout.current_socket)
        deadline = time.monotonic() + 20
        while module.listener(self.layout.current_socket) is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def put(self, release: str, state: str = GOOD) -> None:
        os.makedirs(self.layout.release(release), exist_ok=True)
        write_manifest(self.layout, Manifest(release, state, venv="v", processes=self.processes))

    def record(
        self, release: str = LIVE, more: dict[str, str] | None = None, versions: dict[str, Any] | None = None
    ) -> bool:
        """Record the releases if they are live; return whether the record holds."""
        releases = {"shop": release, **(more or {})}
        seen = with_versions(versions or {}, module.verified(releases, self.layout.root, lambda argv: (0, "", "")))
        if seen is not None:
            stamps.record("webapp", "k", seen, report(releases))
        return self.recorded

    @property
    def recorded(self) -> bool:
        return "k" in stamps.valid().get("webapp", {})

    def end(self) -> None:
        for process in (self.server, self.worker):
            process.kill()
            process.wait()


@pytest.fixture
def shop(short_path: Path) -> Iterator[Shop]:
    one = Shop(short_path)
    yield one
    one.end()


def test_the_stamp_tells_what_a_look_would(shop: Shop) -> None:
    assert shop.record()
    (app,) = stamps.valid()["webapp"]["k"]["apps"]
    assert (app["name"], app["state"], app["current"]) == ("shop", "present", LIVE)
    assert (app["action"], app["candidate"], app["activate"]) == ("none", "", False)


def test_a_listener_is_told_by_its_number(shop: Shop) -> None:
    assert module.listener(shop.layout.current_socket) == shop.server.pid
    assert module.listener(shop.layout.path("nowhere.sock")) is None


ELSE: dict[str, Callable[[Shop], Any]] = {
    "another release is live": lambda shop: (
        os.symlink("releases/other", f"{shop.layout.current}.2")
        or os.replace(f"{shop.layout.current}.2", shop.layout.current)
    ),
    "somebody switches": lambda shop: Path(shop.layout.path(".activating")).touch(),
    "a build is half done": lambda shop: shop.put(OTHER, BUILDING),
    "a run was killed": lambda shop: Path(shop.layout.path(".lock")).write_text("somebody"),
    "nobody listens": lambda shop: (shop.server.kill(), shop.server.wait()),
    "its manifest is gone": lambda shop: os.unlink(f"{shop.layout.release(LIVE)}/release.json"),
}


@pytest.mark.parametrize("case", ELSE)
def test_what_is_not_as_wanted_gets_no_stamp(shop: Shop, case: str) -> None:
    ELSE[case](shop)
    assert not shop.record()
    assert not shop.recorded


TOUCHES: dict[str, Callable[[Shop], Any]] = {
    **ELSE,
    "its environment is gone": lambda shop: os.unlink(f"{shop.layout.venvs}/v/{COMPLETE}"),
    "its socket is another": lambda shop: os.replace(shop.layout.socket(LIVE), shop.layout.socket(LIVE) + ".2"),
    "its secrets have another key": lambda shop: Path(shop.layout.path(".fingerprint_key")).write_text("other"),
    "another release was built": lambda shop: shop.put(OTHER),
    "its data belong to another": lambda shop: os.chown(shop.layout.shared, 65534, 65534),
    "a folder is gone": lambda shop: os.rmdir(shop.layout.cache),
    "it was closed for maintenance": lambda shop: Path(shop.layout.path("maintenance.json")).touch(),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a folder gets another owner")
@pytest.mark.parametrize("case", TOUCHES)
def test_whatever_is_touched_later_makes_it_void(shop: Shop, case: str) -> None:
    assert shop.record()
    TOUCHES[case](shop)
    assert not shop.recorded


def test_what_an_application_does_all_day_does_not(shop: Shop) -> None:
    with lock(shop.layout, "somebody"):
        pass
    assert shop.record()
    Path(shop.layout.shared, "data.sqlite-journal").touch()
    Path(shop.layout.cache, "page").touch()
    assert shop.recorded


def test_a_deployment_that_only_held_the_lock_makes_it_void(shop: Shop) -> None:
    with lock(shop.layout, "somebody"):
        pass
    assert shop.record()
    with lock(shop.layout, "another"):
        record(shop.layout, action="build")
    assert not shop.recorded


class Manager:
    """A process manager with one background process."""

    def __init__(self, pid: int, state: str) -> None:
        self.found = pid, state

    def pid(self, service: str, instance: str) -> int:
        return self.found[0]

    def state(self, service: str, instance: str) -> str:
        return self.found[1]


def test_a_background_process_must_run_and_go_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def managed(state: str) -> None:
        monkeypatch.setattr(module, "process_manager", lambda name, run: Manager(shop.worker.pid, state))

    shop.processes = [{"service": "shop.worker"}]
    shop.put(LIVE)
    managed("failed")
    assert not shop.record()
    managed("running")
    assert shop.record()
    shop.worker.kill()
    shop.worker.wait()
    assert not shop.recorded


def test_an_application_that_is_gone_stays_gone(shop: Shop, tmp_path: Path) -> None:
    old = Path(shop.layout.root, "old")
    assert shop.record(more={"old": ""})
    old.mkdir()
    assert not shop.recorded
    (old / "shared").mkdir()
    assert shop.record(more={"old": ""}), "data stay"
    (old / "releases").mkdir()
    assert not shop.record(more={"old": ""})


def test_what_was_seen_before_counts_too(shop: Shop, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.touch()
    versions = stamps.witnesses([str(python)])
    python.write_text("another version")
    assert not shop.record(versions=versions)
