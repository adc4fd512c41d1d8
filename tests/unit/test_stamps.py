# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Stamps: a run skips a check only while none of its inputs has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl, stamps
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import stamp_keys


@pytest.fixture
def stamp() -> Path:
    return Path(stamps.STAMP)


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    path = tmp_path / "seen"
    path.mkdir()
    (path / "file").write_text("a")
    (path / "link").symlink_to("file")
    return path


def leave(seen: Path, key: str = "k") -> None:
    paths = [str(seen), str(seen / "file"), str(seen / "link"), str(seen / "missing.d")]
    stamps.record("nginx", key, stamps.witnesses(paths))


def test_a_stamp_holds_while_nothing_is_touched(seen: Path, stamp: Path) -> None:
    leave(seen)
    assert stamps.valid() == {"nginx": {"k": {}}}
    assert stamp.stat().st_mode & 0o777 == 0o600


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
    stamps.record("systemd", "k", stamps.witnesses([], patterns=[f"{seen}/shop.*.service"]))
    (seen / "nginx.service.d").mkdir()
    assert stamps.valid() == {"systemd": {"k": {}}}
    (seen / "shop.worker.service").write_text("")
    assert stamps.valid() == {}


def test_of_what_is_owned_only_the_rights_count(seen: Path) -> None:
    stamps.record("webapp", "k", stamps.witnesses([], owned=[str(seen)]), {"apps": [1]})
    TOUCHES["added"](seen)
    assert stamps.valid() == {"webapp": {"k": {"apps": [1]}}}
    seen.chmod(0o700)
    assert stamps.valid() == {}


def test_a_process_that_was_gone_already_vouches_for_nothing(stamp: Path) -> None:
    stamps.record("nginx", "k", stamps.witnesses([], [2**22 + 1]))
    assert stamps.valid() == {}


def test_a_stamp_that_is_too_old_is_void(seen: Path, stamp: Path) -> None:
    stamps.record("nginx", "past", {**stamps.witnesses([str(seen)]), "until": 1.0})
    stamps.record("nginx", "future", {**stamps.witnesses([str(seen)]), "until": 2.0**40})
    assert stamps.valid() == {"nginx": {"future": {}}}


BROKEN = ["", "{", "[]", '{"nginx": 5}', '{"nginx": {"k": 5}}', '{"nginx": {"k": {"seen": 5}}}', '{"nginx": {"k": {}}}']


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_stamp_holds_nothing_and_is_replaced(seen: Path, stamp: Path, text: str) -> None:
    stamp.write_text(text)
    assert stamps.valid() == {}
    leave(seen)
    assert stamps.valid() == {"nginx": {"k": {}}}


def test_few_stamps_are_kept(seen: Path, stamp: Path) -> None:
    for number in range(stamps.KEPT + 3):
        leave(seen, f"k{number}")
    assert len(stamps.read()["nginx"]) == stamps.KEPT
    assert f"k{stamps.KEPT + 2}" in stamps.valid()["nginx"]


def test_parts_are_recorded_beside_each_other(seen: Path, stamp: Path) -> None:
    leave(seen)
    stamps.record("systemd", "s", stamps.witnesses([str(seen)]), {"apps": []})
    assert stamps.valid() == {"nginx": {"k": {}}, "systemd": {"s": {"apps": []}}}


def test_no_stamps_is_no_error(stamp: Path) -> None:
    assert stamps.valid() == {}


def test_the_key_follows_the_wish_and_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    wish = {"files": [{"path": "a", "content": "b"}]}
    key = stamp_keys.stamp_key(wish)
    assert stamp_keys.stamp_key({"files": [{"content": "b", "path": "a"}]}) == key
    assert stamp_keys.stamp_key({"files": [{"path": "a", "content": "c"}]}) != key
    monkeypatch.setattr(stamp_keys, "code_digest", lambda: "other code")
    assert stamp_keys.stamp_key(wish) != key


def test_the_key_follows_secrets_which_it_does_not_give_away_cheaply() -> None:
    key = stamp_keys.stamp_key({"apps": []}, "hunter2")
    assert stamp_keys.stamp_key({"apps": []}, "hunter2") == key
    assert (
        len({key, stamp_keys.stamp_key({"apps": []}, "hunter3"), stamp_keys.stamp_key({"apps": [1]}, "hunter2")}) == 3
    )
    began = time.process_time()
    stamp_keys.stamp_key({"apps": []}, "hunter2")
    assert time.process_time() - began > 0.005


def test_who_else_may_pass_through_a_folder_is_a_right(tmp_path: Path) -> None:
    seen = stamps.witnesses([], owned=[str(tmp_path)])
    assert stamps.holds({**seen, "until": None})
    os.setxattr(tmp_path, acl.ACCESS, acl.encode(acl.entries_for(tmp_path.stat().st_mode & 0o777, 54322, 1)))
    assert not stamps.holds({**seen, "until": None})
