# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hold after a rollback: which releases it forbids, what lifts it, and how it is shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.plan.held import held_text
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import (
    HOLD,
    Held,
    after_rollback,
    hold_in_effect,
    holding,
    read_hold,
    write_hold,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import PARTS
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    GOOD,
    Layout,
    Manifest,
    ReleaseError,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.flags import flag_problems, given_flags
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import status_table
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.reports import release_table, urls

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: what a release says of itself belongs to root")

FIRST, SECOND, THIRD = (f"2026112{number}T000000Z-0000000{number}" for number in (1, 2, 3))


def manifest(identity: str, code: str, venv: str = "v") -> Manifest:
    parts = {**dict.fromkeys(PARTS, "same"), "code": code}
    return Manifest(identity, GOOD, parts, venv=venv, revision=f"revision of {code}")


OLD, NEW, NEWEST = manifest(FIRST, "old"), manifest(SECOND, "new"), manifest(THIRD, "newest")


def rolled_back(left: Manifest, target: Manifest, before: list[Held] | None = None) -> list[Held]:
    return after_rollback(before or [], left, target, "alice@desk")


def held(entries: list[Held], wanted: Manifest, live: Manifest | None) -> str:
    found = holding(entries, wanted.fingerprint, live)
    return found.release if found else ""


# Which releases are held


def test_the_release_that_was_rolled_back_is_held_and_no_other() -> None:
    entries = rolled_back(NEW, OLD)
    assert held(entries, NEW, OLD) == SECOND
    assert held(entries, NEWEST, OLD) == ""
    assert held(entries, OLD, OLD) == ""


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_fingerprint_lifts_the_hold(part: str) -> None:
    wanted = {**NEW.fingerprint, part: "changed"}
    assert holding(rolled_back(NEW, OLD), wanted, OLD) is None


def test_a_second_rollback_holds_both_releases() -> None:
    entries = rolled_back(NEW, OLD, rolled_back(NEWEST, NEW))
    assert [held(entries, one, OLD) for one in (NEWEST, NEW)] == [THIRD, SECOND]


def test_a_rollback_that_was_never_completed_holds_nothing() -> None:
    assert held(rolled_back(NEW, OLD), NEW, NEW) == ""


def test_the_way_forward_by_name_ends_the_hold_of_that_release() -> None:
    entries = rolled_back(OLD, NEW, rolled_back(NEW, OLD))
    assert [one.release for one in entries] == [FIRST]
    # The inventory may describe the older one meanwhile. It is held, too.
    assert held(entries, OLD, NEW) == FIRST


def test_a_restarted_copy_of_the_release_is_held_too() -> None:
    copy = manifest(THIRD, "new")
    assert held(rolled_back(copy, OLD), NEW, OLD) == THIRD
    assert rolled_back(copy, NEW) == [], "a copy differs in nothing"


def test_an_upgrade_of_packages_that_was_rolled_back_is_held() -> None:
    upgraded = manifest(THIRD, "new", venv="newer packages")
    assert held(rolled_back(upgraded, NEW), NEW, NEW) == THIRD


# The hold on a host


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout("shop", str(tmp_path / "srv"), str(tmp_path / "run"))
    for one in (OLD, NEW, NEWEST):
        os.makedirs(layout.release(one.id))
        write_manifest(layout, one)
    os.symlink(f"releases/{OLD.id}", layout.current)
    return layout


def text_of(layout: Layout, wanted: Manifest, check_mode: bool = False, **spec: Any) -> str:
    return held_text(layout, spec, wanted.fingerprint, "bob@desk", check_mode)


@needs_root
def test_a_run_says_who_holds_what_and_what_lifts_it(layout: Layout) -> None:
    assert text_of(layout, NEW) == ""
    write_hold(layout, rolled_back(NEW, OLD))
    assert Path(layout.path(HOLD)).stat().st_mode & 0o777 == 0o600
    text = text_of(layout, NEW)
    assert text.startswith(
        f"webapps 'shop': HELD, so this run deploys no release of it. alice@desk rolled back from {NEW.id}"
    )
    for words in (f"{OLD.id} stays live", "change the code, the dependencies, the settings", "-e lift_hold=shop"):
        assert words in text
    assert "webapp_upgrade_packages does not lift it" in text_of(layout, NEW, upgrade=True)


@needs_root
def test_the_hold_stays_until_another_release_is_live(layout: Layout) -> None:
    write_hold(layout, rolled_back(NEW, OLD))
    # Its build may fail. Then the inventory may go back to the release that was rolled back.
    assert text_of(layout, NEWEST) == ""
    assert text_of(layout, NEW)


@needs_root
def test_an_inventory_that_describes_the_live_release_ends_the_hold(layout: Layout) -> None:
    write_hold(layout, rolled_back(NEW, OLD))
    assert text_of(layout, OLD, check_mode=True) == ""
    assert hold_in_effect(layout)
    assert text_of(layout, OLD) == ""
    assert hold_in_effect(layout) is None


@needs_root
def test_the_hold_of_a_rollback_that_is_under_way_stays(layout: Layout) -> None:
    entries = rolled_back(OLD, NEW)
    write_hold(layout, entries)
    with lock(layout, "alice@desk"):
        assert text_of(layout, OLD) == ""
    assert read_hold(layout) == entries


@needs_root
def test_an_operator_lifts_the_hold(layout: Layout) -> None:
    write_hold(layout, rolled_back(NEW, OLD))
    assert text_of(layout, NEW, check_mode=True, release_hold=False) == ""
    assert text_of(layout, NEW)
    assert text_of(layout, NEW, release_hold=False) == ""
    assert not os.path.exists(layout.path(HOLD))


@needs_root
@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"releases": [{}]}', '{"releases": [{"release": "x", "fingerprint": {}}]}']
)
def test_a_damaged_hold_stops_the_application_and_can_be_lifted(layout: Layout, text: str) -> None:
    Path(layout.path(HOLD)).write_text(text)
    with pytest.raises(ReleaseError, match=r"\.hold\.json is damaged, .* Remove this file"):
        text_of(layout, NEW)
    assert "damaged" in hold_in_effect(layout)["problem"]
    assert text_of(layout, NEW, release_hold=False) == ""


# Output


HOLDING = {
    "release": SECOND,
    "revision": "0123456789abcdef",
    "by": "alice@desk",
    "time": "2026-11-29T23:40:00Z",
    "to": FIRST,
}


def test_the_list_of_releases_shows_the_hold() -> None:
    app = {"name": "shop", "current": "", "releases": [], "hold": HOLDING}
    last = release_table([app])[-1]
    assert last.startswith("shop: HELD since 2026-11-29 23:40:00 UTC, when alice@desk rolled back from")
    assert "-e release_hold=false" in last


def row(host: str, revision: str, hold: dict[str, Any] | None = None) -> dict[str, Any]:
    keys = ("since", "server", "python", "process_manager", "workers", "memory", "restarts", "worker_deaths")
    more = {"processes": [], "certificate_days": None, "health": "ok (200)", "jobs": []}
    named = {"host": host, "application": "shop", "release": FIRST, "revision": revision, "hold": hold}
    return {**dict.fromkeys(keys, ""), **more, **named}


def test_the_status_shows_the_hold_and_hosts_that_differ() -> None:
    table = status_table([row("web1", "old", HOLDING), row("web2", "new")])
    assert table[-2].startswith("shop on web1: HELD since 2026-11-29 23:40:00 UTC")
    assert table[-1].startswith("shop: old on web1 (held since a rollback); new on web2. To change that, run site.yml ")
    assert len(status_table([row("web1", "new"), row("web2", "new")])) == 3


def test_the_addresses_at_the_end_of_a_run_show_the_hold() -> None:
    apps = [{"name": "shop", "source": {"path": "x"}, "wsgi": "app:app"}]
    build = {"name": "shop", "action": "none", "current": FIRST, "candidate": "", "held": "because"}
    assert "HELD since a rollback" in urls(apps, "web1", [build])[0]


@pytest.mark.parametrize("value", ["yes please", "", None, 2, []])
def test_a_flag_that_is_neither_true_nor_false_is_refused(value: Any) -> None:
    (problem,) = flag_problems({"release_hold": value}, lambda found: found)
    assert "is neither true nor false. Set -e release_hold=true or -e release_hold=false" in problem


def test_flags_are_sent_if_they_differ_from_their_defaults() -> None:
    def given(**variables: Any) -> dict[str, bool]:
        return given_flags(variables, lambda found: found, "release_hold", "end_lost_command")

    assert given() == given(release_hold="true", end_lost_command=False) == {}
    assert given(release_hold="false") == given(release_hold=False) == {"release_hold": False}
    assert given(end_lost_command="yes") == {"end_lost_command": True}
