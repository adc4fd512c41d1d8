# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Two runs of one inventory at once: neither fails because of an application that it does not change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import PARTS
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILDING,
    COMPLETE,
    GOOD,
    Layout,
    Manifest,
    manifests,
    write_manifest,
)
from hostile_account import needs_root

pytestmark = needs_root

LIVE = "20261121T000000Z-11111111"
STARTS = 10

# One run: the part webapp of a plan, as the module applies it. Its builds take a moment, as those of uv do. The
# steps that need accounts and a process manager are left out.
RUN = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
root, owner, codes, began = sys.argv[2], sys.argv[3], json.loads(sys.argv[4]), float(sys.argv[5])
from ansible_collections.pyweb.stack.plugins.module_utils.plan import deploy, live
from ansible_collections.pyweb.stack.plugins.module_utils.plan.releases import Releases
from ansible_collections.pyweb.stack.plugins.module_utils.release import releases
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import PARTS

def build_release(build, manifest):
    os.makedirs(build.release)
    releases.write_manifest(build.layout, manifest)
    time.sleep(0.3)
    manifest.venv, manifest.state = "v", releases.BUILT
    releases.write_manifest(build.layout, manifest)

deploy.build_release = build_release
deploy.prepare = deploy.open_shared = lambda *_arguments: False
deploy.fault_of = lambda *_arguments, **_options: None
deploy.fingerprint = lambda spec, *_rest: {**dict.fromkeys(PARTS, "same"), "code": codes[spec["name"]]}
live.is_unhealthy = lambda layout: os.path.exists(layout.path(".activating"))
apps = [
    {"name": name, "state": "present", "jobs": False, "source": {}, "process_manager": "systemd", "processes": []}
    for name in codes
]
inputs = {"apps": apps, "root": root, "uv": "", "nginx_group": "", "owner": owner}
time.sleep(max(0.0, began - time.time()))
answer = Releases(inputs, lambda argv, **_options: (0, "", ""), False).build()
print(json.dumps(answer))
"""


def application(name: str, root: Path) -> Layout:
    layout = Layout(name, str(root))
    os.makedirs(os.path.join(layout.venvs, "v"))
    Path(layout.venvs, "v", COMPLETE).touch()
    os.makedirs(layout.release(LIVE))
    parts = {**dict.fromkeys(PARTS, "same"), "code": "old"}
    write_manifest(layout, Manifest(LIVE, GOOD, parts, venv="v"))
    os.symlink(f"releases/{LIVE}", layout.current)
    return layout


def begin(root: Path, owner: str, codes: dict[str, str], moment: float) -> subprocess.Popen[str]:
    path = next(entry for entry in sys.path if entry.endswith(".collections"))
    words = [sys.executable, "-B", "-c", RUN, path, str(root), owner, json.dumps(codes), str(moment)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answers(*runs: subprocess.Popen[str]) -> list[dict[str, Any]]:
    found = []
    for run in runs:
        output, errors = run.communicate(timeout=60)
        assert run.returncode == 0, errors
        found.append(json.loads(output))
    return found


def actions(answer: dict[str, Any]) -> dict[str, str]:
    return {app["name"]: app["action"] for app in answer["apps"]}


def at_once(tmp_path: Path, *wanted: dict[str, str]) -> list[list[dict[str, Any]]]:
    """The answers of two runs, of each of some starts; all starts at once, each with applications of its own."""
    runs = []
    moment = time.time() + 3
    for number in range(STARTS):
        root = tmp_path / str(number)
        for name in wanted[0]:
            application(name, root)
        # The second run comes while the first one prepares, builds, or has built.
        delays = (0.0, 0.08 * number)
        runs.append(
            [begin(root, f"user{place}@desk", codes, moment + delays[place]) for place, codes in enumerate(wanted)]
        )
    return [answers(*pair) for pair in runs]


@pytest.mark.alone
def test_an_application_that_a_run_does_not_change_never_stops_it(tmp_path: Path) -> None:
    first, second = {"one": "new", "two": "old"}, {"two": "new", "one": "old"}
    for number, (one, other) in enumerate(at_once(tmp_path, first, second)):
        assert "failures" not in one, f"start {number}: {one['failures']}"
        assert "failures" not in other, f"start {number}: {other['failures']}"
        assert actions(one) == {"one": "build", "two": "none"}
        assert actions(other) == {"two": "build", "one": "none"}
        for name in ("one", "two"):
            layout = Layout(name, str(tmp_path / str(number)))
            assert sorted(manifest.state for manifest in manifests(layout)) == ["built", "good"], "nothing is lost"


@pytest.mark.alone
def test_of_two_runs_that_change_an_application_one_wins_and_the_other_names_it(tmp_path: Path) -> None:
    # In opposite orders, as two inventories may have them.
    first, second = {"one": "new", "two": "new"}, {"two": "newer", "one": "newer"}
    for number, pair in enumerate(at_once(tmp_path, first, second)):
        for name in ("one", "two"):
            found = [actions(answer)[name] for answer in pair]
            assert "build" in found, f"start {number}: no run has built {name}: {pair}"
            for place, answer in enumerate(pair):
                if found[place] == "failed":
                    (problem,) = [text for text in answer["failures"]["problems"] if f"'{name}'" in text]
                    assert f"another deployment is under way: user{1 - place}@desk, since" in problem
            layout = Layout(name, str(tmp_path / str(number)))
            states = [manifest.state for manifest in manifests(layout)]
            assert BUILDING not in states
            assert len(states) == 1 + found.count("build"), "nothing is lost"


def test_an_application_that_another_run_switches_is_left_alone(tmp_path: Path) -> None:
    layout = application("one", tmp_path)
    Path(layout.path(".activating")).touch()
    path = next(entry for entry in sys.path if entry.endswith(".collections"))
    code = f"""
import sys
sys.path.insert(0, {path!r})
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
with lock(Layout("one", {str(tmp_path)!r}), "alice@desk"):
    print("held", flush=True)
    sys.stdin.read()
"""
    words = [sys.executable, "-B", "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        (answer,) = answers(begin(tmp_path, "bob@desk", {"one": "old"}, 0))
        other.kill()
    assert "failures" not in answer
    (app,) = answer["apps"]
    assert (app["action"], app["activate"], app["busy"]) == ("none", False, True)
    (note,) = answer["warnings"]
    assert note.startswith("webapps 'one': this run has no change for it, and skips it: another deployment is under")
    # When that run was killed, this one repairs it.
    (answer,) = answers(begin(tmp_path, "bob@desk", {"one": "old"}, 0))
    assert answer["apps"][0]["activate"]


def test_a_release_that_another_run_has_deployed_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        application(name, tmp_path)
    run = begin(tmp_path, "bob@desk", {"one": "new", "two": "older"}, 0)
    layout, late = Layout("two", str(tmp_path)), "20261122T000000Z-22222222"
    os.makedirs(layout.release(late))
    deadline = time.monotonic() + 20
    building = Path(tmp_path, "one", ".lock")
    while not (building.exists() and building.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.005)
    # While the run builds the first application, another one switches the second.
    write_manifest(layout, Manifest(late, GOOD, {**dict.fromkeys(PARTS, "same"), "code": "newer"}, venv="v"))
    os.symlink(f"releases/{late}", layout.path("next"))
    os.replace(layout.path("next"), layout.current)
    (answer,) = answers(run)
    (problem,) = answer["failures"]["problems"]
    assert problem.startswith(f"webapps 'two': another run has switched to the release {late} since this run began")
    assert layout.current_release() == late
