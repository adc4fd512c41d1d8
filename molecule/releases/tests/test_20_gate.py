# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Releases that must never get a visitor, or not for long: each is tried on all hosts at once, with visitors there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Place, everywhere, load_on, webapps

ASKED = "Asked: GET /healthz (Host: localhost)"


@dataclass(frozen=True)
class Case:
    """A change that makes a bad release, and what the play says of it."""

    change: dict[str, Any]
    says: tuple[str, ...]
    # Whether what was built is there to be inspected. A full disk must not stay full.
    kept: bool = True
    # Whether it got as far as to be started.
    started: bool = True
    # Its fault shows only after the switch; this many requests may be lost until that is undone.
    lost: int = 0
    full_disk: str = ""
    first_host_only: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


def misbehaving(how: str) -> dict[str, Any]:
    return {"env": {"MISBEHAVE": how}}


CASES = {
    "exception at import": Case(
        misbehaving("import"), ("importing 'patient' failed", "told to fail at import"), started=False
    ),
    "hangs at boot": Case(
        {**misbehaving("hang"), "health": {"timeout": 6}},
        (ASKED, "within 6 seconds", "Came back: ", "the application was told to hang"),
    ),
    "dies after 2 seconds": Case(
        misbehaving("die"), (ASKED, "Came back: ", "the application was told to die"), lost=30
    ),
    "answers 500": Case(misbehaving("500"), (ASKED, "Came back: status 500", "Last lines of its log:")),
    "worker crash-loops": Case(
        misbehaving("crash"), (ASKED, "did not become healthy for long", "the application was told to die"), lost=30
    ),
    "build command fails": Case(
        {"commands": {"build": ["echo half built; exit 3"]}},
        ("'echo half built; exit 3' failed with status 3", "\nhalf built"),
        started=False,
    ),
    "release command fails": Case(
        {"commands": {"release": ["echo half migrated; exit 4"]}, "env": {"NEW": "1"}},
        ("'echo half migrated; exit 4' failed with status 4", "\nhalf migrated"),
        first_host_only=True,
    ),
    "requirement does not install": Case(
        {"python": {"packages": ["six==99.99"]}},
        ("could not install", "six==99.99", "uv ended with status"),
        started=False,
    ),
    "disk full for the release": Case(
        {"env": {"NEW": "2"}}, ("No space left on device",), kept=False, started=False, full_disk="releases"
    ),
    "disk full for a package": Case(
        {"python": {"packages": ["idna==3.4"]}}, ("The disk is full",), started=False, full_disk="cache/uv"
    ),
}

# A container may not mount, but has a small filesystem of its own: what grows is laid there, and all room is taken.
# What serves is not touched by it: its files are open, its socket lies elsewhere, and the folder comes back.
FILL = """set -eu
cd /srv/webapps/patient
mkdir -p {folder}
rm -rf /dev/shm/full; mkdir -m 755 /dev/shm/full
chown --reference={folder} /dev/shm/full
mv {folder} {folder}.aside
ln -s /dev/shm/full {folder}
room=$(df --output=avail --block-size=1 /dev/shm | tail -n 1)
test "$room" -lt 2000000000
fallocate --length "$room" /dev/shm/filler
"""
EMPTY = "cd /srv/webapps/patient; rm {folder}; mv {folder}.aside {folder}; rm -rf /dev/shm/full /dev/shm/filler"


@pytest.fixture(scope="module")
def good(places: list[Place], run_playbook) -> dict[str, dict[str, Any]]:
    """What serves before and after all of it; the neighbours are looked at around every case."""
    run = run_playbook("pyweb.stack.site", webapps({"env": {"BOOT_SECONDS": "0"}}))
    assert run.status == 0
    return {
        place.name: {"patient": place.settled(), "hello": place.neighbour(), "seen": set(place.look()["states"])}
        for place in places
    }


@pytest.mark.parametrize("what", CASES)
def test_a_bad_release_leaves_the_old_one_serving(what: str, good, places: list[Place], run_playbook, tmp_path: Path):
    case = CASES[what]
    change = {**case.change, "env": {"BOOT_SECONDS": "0", **case.change.get("env", {})}}
    if case.full_disk:
        everywhere(lambda place: place.run(FILL.format(folder=case.full_disk)), places)
    try:
        with load_on(places, tmp_path, rate=50) as loads:
            run = run_playbook("pyweb.stack.site", webapps(change))
    finally:
        if case.full_disk:
            everywhere(lambda place: place.run(EMPTY.format(folder=case.full_disk)), places)
    assert run.status != 0, run.output

    for place, load in zip(places, loads, strict=True):
        before, after = good[place.name]["patient"], place.settled()
        assert load.report["requests"] > 50
        assert load.report["failed"] <= case.lost, load.report["kinds"]
        assert after["current"] == before["current"]
        assert after["processes"].keys() == before["processes"].keys(), "the old release was started anew"
        assert place.neighbour() == good[place.name]["hello"]
        new = {key: state for key, state in after["states"].items() if key not in good[place.name]["seen"]}
        good[place.name]["seen"] |= set(new)
        if case.first_host_only and place is not places[0]:
            assert "bad" not in new.values()
            continue
        message = run.failure(place.name)
        for text in case.says:
            assert text in message, message
        assert list(after["states"].values()).count("bad") <= 1, "of bad releases the newest is kept, and no other"
        if case.kept:
            (bad,) = (key for key, state in new.items() if state == "bad")
            assert f"/srv/webapps/patient/releases/{bad} for inspection." in message
        else:
            assert not new
        assert (f"The release {before['current']} still serves" if case.started else "still live") in message


def test_a_good_release_follows(good, places: list[Place], run_playbook, tmp_path: Path):
    with load_on(places, tmp_path) as loads:
        run = run_playbook("pyweb.stack.site", webapps({"env": {"BOOT_SECONDS": "0", "NEW": "good"}}))
    assert run.status == 0
    for place, load in zip(places, loads, strict=True):
        assert load.report["failed"] == 0, load.report
        after = place.settled()
        assert after["current"] != good[place.name]["patient"]["current"]
        assert list(after["states"].values()).count("bad") <= 1, "more than one bad release is kept"
        assert set(after["venvs"]) == set(after["venvs_used"])
