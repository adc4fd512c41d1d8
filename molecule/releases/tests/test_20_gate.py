# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Releases that must never get a visitor, or not for long; another on each host of a run, with visitors there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import HOSTS, TOOK_OVER, Place, deploy, load_on, lost_nothing, webapps

# Seconds; the same in every case, because a service's definition depends on it.
PATIENCE = 6
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


def misbehaving(how: str) -> dict[str, Any]:
    return {"env": {"MISBEHAVE": how}}


CASES = {
    "exception at import": Case(
        misbehaving("import"), ("importing 'patient' failed", "told to fail at import"), started=False
    ),
    "hangs at boot": Case(
        misbehaving("hang"),
        (ASKED, f"within {PATIENCE} seconds", "Came back: ", "the application was told to hang"),
    ),
    "dies after 2 seconds": Case(
        misbehaving("die"), (ASKED, "Came back: ", "the application was told to die"), lost=15
    ),
    "answers 500": Case(misbehaving("500"), (ASKED, "Came back: status 500", "Last lines of its log:")),
    "worker crash-loops": Case(
        misbehaving("crash"), (ASKED, "did not become healthy for long", "the application was told to die"), lost=15
    ),
    "build command fails": Case(
        {"commands": {"build": ["echo half built; exit 3"]}},
        ("'echo half built; exit 3' failed with status 3", "\nhalf built"),
        started=False,
    ),
    "release command fails": Case(
        {"commands": {"release": ["echo half migrated; exit 4"]}, "env": {"NEW": "1"}},
        ("'echo half migrated; exit 4' failed with status 4", "\nhalf migrated"),
    ),
    "requirement does not install": Case(
        {"python": {"packages": ["six==99.99"]}},
        ("could not resolve", "six==99.99", "uv ended with status"),
        started=False,
    ),
    "disk full for the release": Case(
        {"env": {"NEW": "2"}}, ("No space left on device",), kept=False, started=False, full_disk="releases"
    ),
    "disk full for a package": Case(
        {"python": {"packages": ["idna==3.4"]}}, ("The disk is full",), started=False, full_disk="build/uv"
    ),
}

# The cases of each run, in the order of the hosts: each case on both process managers and on both Debians.
# GOOD is built, but does not switch, because another host can't build the application, and runs no release commands.
GOOD, WAITS = "a good release", "waits for the release command of another"
ROUNDS = [
    ("hangs at boot", "dies after 2 seconds", "dies after 2 seconds", "hangs at boot"),
    ("answers 500", "worker crash-loops", "worker crash-loops", "answers 500"),
    ("release command fails", WAITS, WAITS, WAITS),
    ("exception at import", "build command fails", "build command fails", "exception at import"),
    ("disk full for the release", "disk full for a package", "disk full for a package", "disk full for the release"),
    # One application is one transaction on all hosts.
    ("requirement does not install", GOOD, GOOD, "requirement does not install"),
]
# These are tried in a run for each host, where the call that builds also switches.
ALONE = [cases for cases in ROUNDS if not {GOOD, WAITS} & {*cases}]
# On each host, the release commands run before the switch in any case.
COMMANDS = ("release command fails",) * 4

# The cases of a run, and whether each host has a run of its own.
# The first three are the sample: a release fails there in every step of a deployment.
TRIALS = [(ROUNDS[2], False), (ROUNDS[5], False), (ALONE[0], True)]
TRIALS += [(cases, False) for cases in ROUNDS if (cases, False) not in TRIALS]
TRIALS += [(cases, True) for cases in ALONE if (cases, True) not in TRIALS]
TRIALS += [(COMMANDS, True)]


def trial(cases: tuple[str, ...], alone: bool) -> Any:
    marks = [] if (cases, alone) in TRIALS[:3] else [pytest.mark.matrix]
    # The time until the switch is undone decides how many requests are lost.
    marks += [pytest.mark.alone] if any(CASES[name].lost for name in cases if name in CASES) else []
    runs = "a run for each" if alone else "one run for all"
    return pytest.param(cases, alone, id=f"{', '.join(cases)}: {runs}", marks=marks)


# The launcher's home is the cache of the application.
MIGRATED = "/srv/webapps/patient/cache/migrated"
MIGRATES = {"commands": {"release": ["echo $WEBAPP_RELEASE >>$HOME/migrated"]}}

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
def seen(places: list[Place], run_playbook) -> dict[str, dict[str, Any]]:
    """What was there before; the neighbours are looked at around every case."""
    run = run_playbook("pyweb.stack.site", webapps({"env": {"BOOT_SECONDS": "0"}, "health": {"timeout": PATIENCE}}))
    assert run.status == 0
    return {place.name: {"patient": place.settled(), "hello": place.neighbour()} for place in places}


def test_every_case_is_tried_on_both_process_managers_and_both_debians():
    for case in CASES:
        rounds = [*ROUNDS, COMMANDS]
        tried = {host for cases in rounds for host, name in zip(HOSTS, cases, strict=True) if name == case}
        assert {*HOSTS[::3]} <= tried or {*HOSTS[1:3]} <= tried, case


@pytest.mark.parametrize(("cases", "alone"), [trial(*given) for given in TRIALS])
def test_a_bad_release_leaves_the_old_one_serving(
    cases: tuple[str, ...], alone: bool, seen, places: list[Place], run_playbook, tmp_path: Path
):
    number = [*ROUNDS, COMMANDS].index(cases) + 100 * alone

    def variables(name: str) -> dict[str, Any]:
        change = MIGRATES if name == GOOD else CASES["release command fails" if name == WAITS else name].change
        env = {"BOOT_SECONDS": "0", "ROUND": str(number), **change.get("env", {})}
        return webapps({**change, "env": env, "health": {"timeout": PATIENCE}})

    tried = list(zip(places, cases, strict=True))
    full = [(place, CASES[name].full_disk) for place, name in tried if name in CASES and CASES[name].full_disk]
    try:
        for place, folder in full:
            place.run(FILL.format(folder=folder))
        with load_on(places, tmp_path, rate=50) as loads:
            runs = deploy(run_playbook, {place.name: variables(name) for place, name in tried}, alone)
    finally:
        for place, folder in full:
            place.run(EMPTY.format(folder=folder))

    for (place, name), load in zip(tried, loads, strict=True):
        before, after, run = seen[place.name]["patient"], place.settled(), runs[place.name]
        assert run.status != 0, run.output
        assert not (alone and TOOK_OVER.search(run.output)), "it did not switch in the call that builds"
        assert load.report["requests"] > 50
        assert place.neighbour() == seen[place.name]["hello"]
        new = {key: state for key, state in after["states"].items() if key not in before["states"]}
        seen[place.name]["patient"] = after
        assert after["current"] == before["current"]
        assert after["processes"].keys() == before["processes"].keys(), "the old release was started anew"
        if name in (GOOD, WAITS):
            lost_nothing([load])
            assert list(new.values()) == ["built"]
            assert "so this host does not switch to the new release either" in run.failure(place.name)
            continue
        case = CASES[name]
        assert load.report["failed"] <= case.lost, load.report["kinds"]
        check_what_is_told(case, run.failure(place.name), before["current"], new)
        assert list(after["states"].values()).count("bad") <= 1, "of bad releases the newest is kept, and no other"

    assert [place.run(f"cat {MIGRATED} 2>/dev/null || true") for place in places] == [""] * 4


def check_what_is_told(case: Case, message: str, serving: str, new: dict[str, str]) -> None:
    for text in case.says:
        assert text in message, message
    if case.kept:
        assert list(new.values()) == ["bad"]
        assert f"/srv/webapps/patient/releases/{next(iter(new))} for inspection." in message
    else:
        assert not new
    assert (f"The release {serving} still serves" if case.started else "still live") in message
