# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications that cannot run twice: how they are recognised, planned and reported."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building.import_check import import_problem
from ansible_collections.pyweb.stack.plugins.module_utils.plan import deploy
from ansible_collections.pyweb.stack.plugins.module_utils.plan.deploy import diff_of
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release.hints import lock_hint
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import SETTINGS
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.switching.stop_first import uninterrupted
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import cell
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx import checks, tree
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import releases
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.reports import urls
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import (
    activations,
    leaders_of,
    release_commands,
    switches,
)

FACTS = {"init": "systemd", "cpus": 2, "memory_bytes": 4 * 1024**3, "supervisor": False}
RELEASE = "20261121T090522Z-e07de047"


def app(name: str = "vault", **changes: Any) -> dict[str, Any]:
    return {"name": name, "source": {"path": name}, "wsgi": f"{name}:app", "switch": "stop_first", **changes}


# How programs say that another process has what they need


@pytest.mark.parametrize(
    "said",
    [
        "BlockingIOError: [Errno 11] Resource temporarily unavailable",
        "sqlite3.OperationalError: database is locked",
        "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked",
        'duckdb.duckdb.IOException: IO Error: Could not set lock on file "/x/d.duckdb": Conflicting lock is held',
        "plyvel._plyvel.IOError: b'IO error: lock data/db/LOCK: Resource temporarily unavailable'",
        "RocksIOError: IO error: While lock file: data/LOCK: Resource temporarily unavailable",
        "Exception: IO error: lock hold by current process, acquire time 17: data/LOCK: No locks available",
        "lmdb.LockError: data/x: MDB_BAD_RSLOT",
        "lmdb.Error: data/lock.mdb: Resource temporarily unavailable",
        "zc.lockfile.LockError: Couldn't lock 'data/Data.fs.lock'",
        "portalocker.exceptions.LockException: [Errno 11] Resource temporarily unavailable",
        "portalocker.exceptions.AlreadyLocked",
        "filelock._error.Timeout: The file lock 'data/x.lock' could not be acquired.",
        "lockfile.AlreadyLocked: data/x is already locked",
        "pid.base.PidFileAlreadyLockedError: Program already running with PID: 12",
        "xapian.DatabaseLockError: Unable to get write lock on data/x: already locked",
        "whoosh.index.LockError",
        'ValueError: Failed to acquire Lockfile: LockBusy. Some("Failed to acquire index lock")',
        "RuntimeError: Storage folder data is already accessed by another instance of Qdrant client.",
        "RuntimeError: IO exception: Could not set lock on file : data/graph",
        "_gdbm.error: [Errno 11] Resource temporarily unavailable: 'data/cache'",
        'badger: Cannot acquire directory lock on "data". Another process is using this Badger database.',
        "Database already open. Cannot acquire lock.",
        "serial.serialutil.SerialException: [Errno 11] Could not exclusively lock port /dev/ttyUSB0",
        "OSError: [Errno 16] Device or resource busy: '/dev/ttyACM0'",
        "usb.core.USBError: [Errno 16] Resource busy",
        "lgpio.error: 'GPIO busy'",
        "OSError: [Errno 98] Address already in use",
        "RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable",
        "sounddevice.PortAudioError: Error opening InputStream: Device unavailable [PaErrorCode -9985]",
        "OSError: Unable to open file (file is already open for write or SWMR write)",
        "unqlite.UnQLiteError: Another process or thread hold this database handle",
        "daemon: the PID file /run/x.pid already exists",
        "gunicorn: Another instance is already running, quitting.",
        "Lock held by this virtual machine: data/index/write.lock",
        "PermissionError: the file data/x.db is being used by another process",
    ],
)
def test_a_lock_of_any_kind_leads_to_the_switch(said: str) -> None:
    trace = f'Traceback (most recent call last):\n  File "app.py", line 3\n{said}\n'
    assert "switch: stop_first" in lock_hint(trace)
    # Where the old release was stopped before, another process holds it.
    assert "workers: 1" in lock_hint(trace, stopped_first=True)
    assert "set switch: stop_first" not in lock_hint(trace, stopped_first=True)


@pytest.mark.parametrize(
    "said",
    [
        "ModuleNotFoundError: No module named 'clock'",
        "psycopg.errors.DeadlockDetected: deadlock detected",
        "BlockingIOError: [Errno 11] Resource temporarily unavailable\n  in _fork_exec",
        "RuntimeError: can't start new thread",
        "FileNotFoundError: [Errno 2] No such file or directory: 'poetry.lock'",
        "KeyError: 'LOCK_TIMEOUT'",
        "OSError: [Errno 111] Connection refused",
        "sqlite3.OperationalError: unable to open database file",
        "The server is running on port 8000",
        "werkzeug: * Debugger is active!",
    ],
)
def test_other_errors_do_not(said: str) -> None:
    assert lock_hint(said) == ""


def test_the_import_check_proposes_it() -> None:
    trace = [
        "  fcntl.flock(store, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "BlockingIOError: [Errno 11] Resource temporarily unavailable",
    ]
    assert "switch: stop_first" in str(import_problem("app:app", {"problem": "import", "trace": trace}))


# The plan


def test_the_switch_is_no_part_of_a_release() -> None:
    first, second = releases([app(), app("shop", switch="side_by_side", site={"port": 81})], FACTS)
    assert (first["stop_first"], second["stop_first"]) == (True, False)
    assert "stop_first" not in SETTINGS


def test_its_release_commands_belong_to_the_switch_of_each_host() -> None:
    apps = [
        app(commands={"release": ["migrate"]}),
        app("shop", switch="side_by_side", site={"port": 81}, commands={"release": ["up"]}),
    ]
    builds = [
        {"name": name, "candidate": RELEASE, "action": "build", "activate": True, "current": ""}
        for name in ("vault", "shop")
    ]
    for host in ("a", "b"):
        found = release_commands(apps, leaders_of([["a", builds], ["b", builds]]), host, FACTS)
        assert [item["name"] for item in found] == (["shop"] if host == "a" else [])
    vault, shop = activations(apps, builds, FACTS)
    assert (vault["stop_first"], vault["release_commands"]) == (True, ["migrate"])
    assert (shop["stop_first"], shop["release_commands"]) == (False, [])
    assert switches(apps, FACTS, "rollback", "vault")[0]["stop_first"]


def rendered(*apps: dict[str, Any]) -> dict[str, Any]:
    sites, settings, problems = checks.checked(nginx_sites(list(apps)), {})
    assert problems == []
    return {file["path"]: file.get("vars") for file in tree.tree_files(sites, settings)}


def lines(files: dict[str, Any]) -> list[str]:
    (site,) = [value for path, value in files.items() if path.startswith("sites/")]
    return [line for location in site["servers"][0]["locations"] for line in location["lines"]]


def test_nginx_responds_with_503_where_it_would_with_502() -> None:
    files = rendered(app())
    assert "unavailable.html" in files
    assert "error_page 502 504 =503 /.pyweb/1.html;" in lines(files)
    assert "set $pyweb_retry_after 5;" in lines(files)
    files = rendered(app(switch="side_by_side"))
    assert "unavailable.html" not in files
    assert not any("error_page" in line for line in lines(files))


def test_the_page_of_the_site_is_sent_with_503() -> None:
    pages = [{"status": [404], "page": "missing.html"}, {"status": [502, 503], "page": "busy.html"}]
    found = lines(rendered(app(site={"error_pages": pages, "extra": "error_page 418 /tea.html;"})))
    given = [line for line in found if line.startswith("error_page")]
    # The first line that names a status counts, and a location with such a line inherits none.
    assert given[0] == "error_page 502 504 =503 /.pyweb/3.html;"
    assert given[1].startswith("error_page 404 ")
    assert "error_page 418 /tea.html;" in given
    assert any("busy.html" in line for line in found)


def test_a_directive_without_effect_is_refused() -> None:
    for site in (
        {"extra": "error_page 502 504 /x.html;"},
        {"locations": [{"path": "/a/", "extra": "error_page 502 /x;"}]},
    ):
        _apps, problems = normalised([app(site=site)])
        (problem,) = problems
        assert "has no effect with switch: stop_first" in problem
        assert "error_pages: [{status: [503]" in problem
        assert normalised([app(site=site, switch="side_by_side")])[1] == []


# An interrupted switch


@pytest.mark.parametrize(
    ("changes", "check_mode", "interrupted", "noted"),
    [
        ({}, False, True, ["was started again"]),
        ({"fails": True}, False, True, ["could not be started again: no such unit"]),
        ({"stop_first": False}, False, True, []),
        ({}, True, True, []),
        ({}, False, False, []),
    ],
)
def test_a_run_first_starts_what_an_interrupted_one_has_stopped(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    check_mode: bool,
    interrupted: bool,
    noted: list[str],
) -> None:
    def resume(*arguments: Any) -> bool:
        if changes.get("fails"):
            raise ProcessManagerError("no such unit")
        return True

    monkeypatch.setattr(deploy, "activation", lambda: SimpleNamespace(resume=resume))
    layout = Layout("vault", str(tmp_path))
    Path(layout.home).mkdir()
    if interrupted:
        Path(layout.path(".activating")).touch()
    spec: dict[str, Any] = {"name": "vault", "stop_first": True, "notes": [], **changes}
    deployment = deploy.Deployment(str(tmp_path), "uv", "www-data", "alice", lambda argv: (0, "", ""), check_mode)
    deploy.bring_back(deployment, spec, layout)
    assert len(spec["notes"]) == len(noted)
    assert all(words in note for words, note in zip(noted, spec["notes"], strict=True))


# Reports


def test_check_mode_says_that_the_live_release_stops() -> None:
    result = {"name": "vault", "action": "build", "current": "R1", "candidate": "", "reasons": ["code"]}
    assert "a new release (code), which starts after the live one has stopped" in diff_of([result], {"vault"})["after"]
    assert "stopped" not in diff_of([result], {"shop"})["after"]
    assert "stopped" not in diff_of([{**result, "current": ""}], {"vault"})["after"]


def test_the_run_says_for_how_long_nothing_served() -> None:
    build = {"name": "vault", "candidate": RELEASE, "action": "build", "current": "R1"}
    (line,) = urls([app()], "192.0.2.1", [build], switched=[{"name": "vault", "without_service": 1.84}])
    assert line.endswith(f"(release {RELEASE}, new, after 1.8 seconds without service)")
    (line,) = urls([app()], "192.0.2.1", [build], [{"name": "vault", "without_service": "<b>"}])
    assert line.endswith(f"(release {RELEASE}, new)")


def test_the_status_says_for_how_long_nothing_served() -> None:
    row = {"since": "2026-11-29T20:22:49Z", "without_service": 1.84, "release": RELEASE}
    assert cell(row, "since") == "2026-11-29 20:22:49 (after 1.8 s without service)"
    assert cell({**row, "without_service": None}, "since") == "2026-11-29 20:22:49"


def test_a_signal_does_not_end_a_run_while_nothing_serves() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with uninterrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) == before
