# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Leases: their record on the host, and the words for them in status, releases and doctor."""

from __future__ import annotations

import ast
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import (
    COMMITTING,
    PROVISIONAL,
    REVERTING,
    Lease,
    entry_of,
    lease_in_effect,
    refusal,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.status.leases import lease_text
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.guard import is_due
from ansible_collections.pyweb.stack.plugins.modules.webapp_activate import problem_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.leases import overdue_switch
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.promises_running import (
    no_other_release_runs,
    the_release_runs_and_is_good,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.reports import release_table

from unit.test_holds import row, status_table

FIRST, SECOND = "20261120T000000Z-00000000", "20261121T000000Z-11111111"
SEEN = {
    "run": "0242ac11-0002",
    "by": "alice@desk",
    "release": SECOND,
    "before": FIRST,
    "state": "provisional",
    "until": "2026-11-30 03:10:00",
    "overdue": False,
    "guarded": True,
}
PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
COLLECTION = "ansible_collections.pyweb.stack.plugins."


def lease(state: str = PROVISIONAL, left: float = 50) -> Lease:
    return Lease("r", "alice@desk", "activate", SECOND, FIRST, 60, time.time() + left, state)


@pytest.mark.parametrize(
    ("state", "left", "valid"),
    [
        (PROVISIONAL, 50, True),
        (PROVISIONAL, -1, False),
        (PROVISIONAL, 119, True),
        # The clock was set back.
        (PROVISIONAL, 3600, False),
        # A decision that was begun is completed by any run.
        (COMMITTING, 50, False),
        (REVERTING, 50, False),
    ],
)
def test_a_lease_is_valid_until_it_expires_or_is_decided(state: str, left: float, valid: bool) -> None:
    one = lease(state, left)
    assert one.is_valid == valid
    assert is_due(one) != valid


def test_a_lease_is_reported_by_its_run_and_its_end() -> None:
    text = refusal(lease())
    for word in ("alice@desk", FIRST, SECOND, "(run r)", "UTC", "run again"):
        assert word in text


def test_no_lease_and_a_folder_that_is_gone_are_no_lease(tmp_path: Path) -> None:
    assert lease_in_effect(Layout("shop", str(tmp_path))) is None


def test_the_entry_of_a_run_is_its_last_one(tmp_path: Path) -> None:
    layout = Layout("shop", str(tmp_path))
    os.mkdir(layout.home)
    entries = [{"run": "a", "result": "failed"}, {"run": "a", "result": "live"}, {"run": "b", "result": "reverted"}]
    Path(layout.history).write_text("".join(f"{json.dumps(one)}\n" for one in entries) + '{"run": "a", "resu\n3\n')
    assert (entry_of(layout, "a") or {})["result"] == "live"
    assert entry_of(layout, "c") is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, f"PROVISIONAL: alice@desk has switched from {FIRST} to {SECOND} (run 0242ac11-0002), and may commit"),
        (
            {"overdue": True},
            f"did not commit that until 2026-11-30 03:10:00 UTC. The guard on the host goes back to {FIRST}",
        ),
        (
            {"overdue": True, "guarded": False},
            f"The next run of site.yml goes back to {FIRST} first: its guard is gone",
        ),
        ({"overdue": True, "guarded": False, "state": "committing"}, "The next run of site.yml completes it first"),
        ({"before": ""}, "from no release to"),
        ({"problem": "x is damaged"}, "x is damaged"),
    ],
)
def test_a_lease_in_words(changes: dict[str, Any], words: str) -> None:
    assert words in lease_text({**SEEN, **changes})


@pytest.mark.parametrize("found", [None, {}, [], "x", 3])
def test_a_host_that_reports_no_lease_has_none(found: Any) -> None:
    assert lease_text(found) == ""
    assert status_table([{**row("web1", "old"), "lease": found}]) == status_table([row("web1", "old")])


def test_the_status_and_the_list_of_releases_show_a_lease() -> None:
    assert status_table([{**row("web1", "old"), "lease": SEEN}])[-1].startswith("shop on web1: PROVISIONAL: alice@desk")
    release = {"id": SECOND, "state": "built", "revision": "x", "created": "", "by": ""}
    table = release_table(
        [{"name": "shop", "current": SECOND, "releases": [release], "lease": {**SEEN, "run": "\x1b[2J"}}]
    )
    assert "  provisional  " in table[1]
    assert table[-1].startswith("shop: PROVISIONAL: ")
    assert "\x1b" not in table[-1]


def view(found: Any) -> View:
    process = {"state": "running", "others": [FIRST]}
    return View({"name": "shop"}, {"release": SECOND, "state": "built", "process": process, "lease": found}, {}, [])


def test_the_doctor_reports_a_lease_that_is_overdue() -> None:
    assert overdue_switch(view(SEEN)) is None
    finding = overdue_switch(view({**SEEN, "overdue": True}))
    assert finding is not None
    assert "OVERDUE" in finding.seen


def test_verify_says_that_a_release_is_provisional() -> None:
    assert "PROVISIONAL" in the_release_runs_and_is_good(view(SEEN)).problem
    assert "old release runs until" in no_other_release_runs(view(SEEN)).reason
    assert "also there" in no_other_release_runs(view({**SEEN, "overdue": True})).problem
    assert "also there" in no_other_release_runs(view(None)).problem


@pytest.mark.parametrize(
    ("stage", "given", "provisional", "problem"),
    [
        ("switch", {"run": "", "seconds": 300}, False, ""),
        ("switch", {"run": "r", "seconds": 300}, True, ""),
        ("switch", {"run": "", "seconds": 300}, True, "provisional: true needs the ID of the run as lease.run (shop)"),
        ("commit", {"run": "", "seconds": 300}, False, "Set lease.run"),
        ("confirm", {"run": "r", "seconds": 9}, False, "lease.seconds is 9. Set at least 10."),
    ],
)
def test_options_about_leases_that_do_not_fit_are_refused(
    stage: str, given: dict[str, Any], provisional: bool, problem: str
) -> None:
    apps = [{"name": "shop", "provisional": provisional}]
    found = problem_of({"apps": apps, "stage": stage, "lease": given})
    assert problem in found
    assert bool(problem) == bool(found)


def reachable(module: str, seen: set[str]) -> Iterator[ast.Module]:
    """The code that a module imports from this collection."""
    path = PLUGINS / f"{module.removeprefix(COLLECTION).replace('.', '/')}.py"
    if module in seen or not path.is_file():
        return
    seen.add(module)
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(COLLECTION):
            for name in (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)):
                yield from reachable(name, seen)


def test_the_guard_imports_nothing_after_its_start() -> None:
    seen: set[str] = set()
    for tree in reachable(f"{COLLECTION}module_utils.switching.provisional.guard", seen):
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.Lambda)):
                late = [node for node in ast.walk(function) if isinstance(node, (ast.Import, ast.ImportFrom))]
                assert not late, f"line {late[0].lineno}: the archive with the code is gone by then"
    assert len(seen) > 20
