# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Stamps: a trip is spared only while nothing that was looked at has changed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl, stamps
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import stamped


@pytest.fixture
def folder() -> Path:
    return Path(stamps.FOLDER)


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    path = tmp_path / "seen"
    path.mkdir()
    (path / "file").write_text("a")
    (path / "link").symlink_to("file")
    return path


def leave(seen: Path, key: str = "k") -> None:
    paths = [str(seen), str(seen / "file"), str(seen / "link"), str(seen / "missing.d")]
    stamps.leave("nginx_config", key, stamps.witnesses(paths))


def test_a_stamp_holds_while_nothing_is_touched(seen: Path, folder: Path) -> None:
    leave(seen)
    assert stamps.valid() == {"nginx_config": {"k": {}}}
    assert os.stat(folder).st_mode & 0o777 == 0o700


TOUCHES: dict[str, Callable[[Path], Any]] = {
    "edited": lambda seen: (seen / "file").write_text("b"),
    "mode": lambda seen: (seen / "file").chmod(0o600),
    "removed": lambda seen: (seen / "file").unlink(),
    "added": lambda seen: (seen / "another").write_text(""),
    "link": lambda seen: ((seen / "link").unlink(), (seen / "link").symlink_to("another")),
    "drop-in": lambda seen: (seen / "missing.d").mkdir(),
    "same content": lambda seen: ((seen / "new").write_text("a"), (seen / "new").rename(seen / "file")),
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_any_touch_makes_it_void(seen: Path, touch: str) -> None:
    leave(seen)
    TOUCHES[touch](seen)
    assert stamps.valid() == {}


def test_a_pattern_tells_of_what_matches_and_of_nothing_else(seen: Path) -> None:
    stamps.leave("systemd_services", "k", stamps.witnesses([], patterns=[f"{seen}/shop.*.service"]))
    (seen / "nginx.service.d").mkdir()
    assert stamps.valid() == {"systemd_services": {"k": {}}}
    (seen / "shop.worker.service").write_text("")
    assert stamps.valid() == {}


def test_of_what_is_owned_only_the_rights_count(seen: Path) -> None:
    stamps.leave("webapp_release", "k", stamps.witnesses([], owned=[str(seen)]), told={"apps": [1]})
    TOUCHES["added"](seen)
    assert stamps.valid() == {"webapp_release": {"k": {"apps": [1]}}}
    seen.chmod(0o700)
    assert stamps.valid() == {}


def test_a_process_that_ended_makes_it_void(folder: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        stamps.leave("nginx_config", "k", stamps.witnesses([], [process.pid]))
        assert stamps.valid() == {"nginx_config": {"k": {}}}
        process.kill()
        process.wait()
    assert stamps.valid() == {}


def test_a_process_that_was_gone_already_vouches_for_nothing(folder: Path) -> None:
    stamps.leave("nginx_config", "k", stamps.witnesses([], [2**22 + 1]))
    assert stamps.valid() == {}


def test_a_stamp_that_is_too_old_is_void(seen: Path, folder: Path) -> None:
    stamps.leave("nginx_config", "past", stamps.witnesses([str(seen)]), until=1.0)
    stamps.leave("nginx_config", "future", stamps.witnesses([str(seen)]), until=2.0**40)
    assert stamps.valid() == {"nginx_config": {"future": {}}}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x", "key": "k"}', '{"name": "x", "key": "k", "seen": 5}'])
def test_a_broken_stamp_is_none(folder: Path, text: str) -> None:
    os.mkdir(folder)
    (folder / "x-1.json").write_text(text)
    assert stamps.valid() == {}


def test_few_stamps_are_kept(seen: Path, folder: Path) -> None:
    for number in range(stamps.KEPT + 3):
        leave(seen, f"k{number}")
    assert len(os.listdir(folder)) == stamps.KEPT
    assert f"k{stamps.KEPT + 2}" in stamps.valid()["nginx_config"]


def test_no_stamps_is_no_error(folder: Path) -> None:
    assert stamps.valid() == {}


def test_the_key_follows_the_wish_and_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    wish = {"files": [{"path": "a", "content": "b"}]}
    key = stamped.stamp_key(wish)
    assert stamped.stamp_key({"files": [{"content": "b", "path": "a"}]}) == key
    assert stamped.stamp_key({"files": [{"path": "a", "content": "c"}]}) != key
    monkeypatch.setattr(stamped, "code_digest", lambda: "other code")
    assert stamped.stamp_key(wish) != key


def test_the_key_follows_secrets_which_it_does_not_give_away_cheaply() -> None:
    key = stamped.stamp_key({"apps": []}, "hunter2")
    assert stamped.stamp_key({"apps": []}, "hunter2") == key
    assert len({key, stamped.stamp_key({"apps": []}, "hunter3"), stamped.stamp_key({"apps": [1]}, "hunter2")}) == 3
    began = time.process_time()
    stamped.stamp_key({"apps": []}, "hunter2")
    assert time.process_time() - began > 0.005


def test_who_else_may_pass_through_a_folder_is_a_right(tmp_path: Path) -> None:
    seen = stamps.witnesses([], owned=[str(tmp_path)])
    assert stamps.holds({**seen, "until": None})
    os.setxattr(tmp_path, acl.ACCESS, acl.encode(acl.entries_for(tmp_path.stat().st_mode & 0o777, 54322, 1)))
    assert not stamps.holds({**seen, "until": None})
