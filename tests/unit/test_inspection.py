# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Facts about certificates, background processes and jobs, before the doctor evaluates them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.doctor import background as background_inspection
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.background import (
    job_log,
    look_at_jobs,
    look_at_processes,
)
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.job_runs import last_run
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.processes import look_at_deaths
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import SupervisorError
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import INHERITS_SOCKETS, Layout, Manifest
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.operations import inspections
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised

NAMES = ["shop.example.com", "www.shop.example.com"]
RELEASE = "20261121T010735Z-ab12cd34"


def test_the_certificates_of_an_application_are_those_of_its_sites() -> None:
    tls = {"mode": "provided", "certificate": "shop.crt", "key": "SECRET"}
    shop = {"name": "shop", "source": {"path": "x"}, "wsgi": "x:a", "site": {"domains": NAMES[:1], "tls": tls}}
    admin = {**shop, "name": "admin", "site": {**shop["site"], "path": "/admin"}}
    other = {**shop, "name": "other", "site": {"domains": ["other.example.com"]}}
    webapps = [shop, admin, other]
    apps, problems = normalised(webapps)
    assert problems == []
    found = {one["name"]: one["certificates"] for one in inspections(apps, webapps)}
    assert [one["name"] for one in found["shop"]] == ["shop"]
    assert [one["name"] for one in found["admin"]] == ["shop"]
    assert found["other"] == []
    assert "SECRET" not in json.dumps(found)


# Background processes

MANIFEST = Manifest(
    id=RELEASE,
    processes=[{"service": "shop.worker", "stop_timeout": 60, "start_seconds": 1, "exclusive": False}],
)
UNIT = f"shop.worker@{RELEASE}.service"


class Manager:
    """A fake process manager with one log."""

    def __init__(self, log: str = "it broke") -> None:
        self.written = log

    def log(self, service: str, instance: str, lines: int) -> str:
        assert (service, instance) == ("shop.worker", RELEASE)
        return self.written

    def state(self, service: str, instance: str) -> str:
        raise ProcessManagerError("the daemon is down")


def processes(**unit: str) -> dict[str, Any]:
    (one,) = look_at_processes(MANIFEST, Manager(), {UNIT: unit})  # type: ignore[arg-type]
    return one


def test_a_process_that_runs_is_not_asked_for_its_log() -> None:
    since = str(int((time.monotonic() - 100) * 1_000_000))
    one = processes(ActiveState="active", NRestarts="0", ActiveEnterTimestampMonotonic=since)
    assert (one["state"], one["restarts"], one["log"]) == ("running", 0, "")
    assert 99 < one["up"] < 110


@pytest.mark.parametrize(
    ("unit", "state"),
    [
        ({"ActiveState": "failed", "NRestarts": "5"}, "failed"),
        ({"ActiveState": "activating", "NRestarts": "2"}, "starting"),
        ({"ActiveState": "active", "NRestarts": "2"}, "running"),
        ({"ActiveState": "inactive", "NRestarts": "0"}, "stopped"),
    ],
)
def test_of_a_process_in_trouble_the_log_is_told(unit: dict[str, str], state: str) -> None:
    one = processes(**unit)
    assert (one["state"], one["log"]) == (state, "it broke")


def test_a_process_manager_that_is_down_is_no_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    def down() -> None:
        raise SupervisorError("supervisord does not answer")

    # This machine may have a supervisord of its own.
    monkeypatch.setattr(background_inspection, "read_daemon", down)
    (one,) = look_at_processes(MANIFEST, Manager(), {})  # type: ignore[arg-type]
    assert one["state"] == "absent"


# Jobs


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout("shop", str(tmp_path))
    Path(found.jobs).mkdir(parents=True)
    return found


def test_the_last_run_of_a_job_is_what_it_has_written(layout: Layout) -> None:
    told = {"job": "nightly", "release": RELEASE, "started": "2026-11-21T03:00:00Z", "state": "failed"}
    Path(layout.jobs, "nightly.json").write_text(json.dumps({**told, "status": 3, "seconds": 7}))
    assert last_run(layout, "nightly")["status"] == 3
    assert last_run(layout, "weekly") == {}


def test_a_job_that_was_cut_off_is_said_to_be_interrupted(layout: Layout) -> None:
    told = {"job": "nightly", "release": RELEASE, "started": "2026-11-21T03:00:00Z", "state": "running"}
    Path(layout.jobs, "nightly.json").write_text(json.dumps({**told, "status": None, "seconds": None}))
    assert last_run(layout, "nightly")["state"] == "interrupted"


@pytest.mark.attack("19", "An application forges the recorded result of a job")
@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_result_that_nobody_can_read_is_none(layout: Layout, text: str) -> None:
    Path(layout.jobs, "nightly.json").write_text(text)
    assert last_run(layout, "nightly") == {}


@pytest.mark.parametrize(("cron", "scheduled"), [(True, True), (False, False)])
def test_without_systemd_cron_is_what_starts_jobs(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, cron: bool, scheduled: bool
) -> None:
    monkeypatch.setattr(background_inspection.os.path, "isdir", lambda _path: False)
    monkeypatch.setattr(background_inspection, "cron_runs", lambda: cron)
    (job,) = look_at_jobs(layout, [{"name": "nightly", "timeout": 60}], {}, lambda _argv: (1, "", ""))
    assert (job["scheduled"], job["timeout"], job["state"], job["log"]) == (scheduled, 60, None, "")


def test_the_log_of_a_job_is_what_it_wrote_itself() -> None:
    asked: list[list[str]] = []

    def run(argv: list[str]) -> tuple[int, str, str]:
        asked.append(argv)
        return 0, "ValueError: x\n", ""

    assert job_log("shop.nightly", True, run) == "ValueError: x\n"
    assert "_SYSTEMD_UNIT=shop.nightly.service" in asked[0]


# Workers


def test_deaths_of_workers_are_read_from_the_notes_of_a_release_that_inherits_its_sockets(tmp_path: Path) -> None:
    """Its notes are not beside its sockets, which belong to root."""
    layout = Layout("shop", str(tmp_path), str(tmp_path / "run"))
    release = Path(layout.release(RELEASE))
    release.mkdir(parents=True)
    (release / INHERITS_SOCKETS).touch()
    notes = tmp_path / "run" / "shop" / f"{RELEASE}.sock.ready"
    notes.parent.mkdir(parents=True)
    # Every server inherits a socket for the uwsgi protocol, but only uWSGI notes no end of a worker.
    Path(layout.sockets).mkdir()
    Path(layout.uwsgi_socket(RELEASE)).touch()
    now = int(time.time())
    notes.write_text(f"ready 99999999 {now - 9}\ngone 99999999 {now - 4}\nready {os.getpid()} {now - 3}\n")
    found = look_at_deaths(layout, RELEASE, "[ERROR] Worker (pid:99999999) exited with code 3.\n", now - 60.0)
    assert found is not None
    assert (found["count"], found["recent"]) == (1, 1)
    assert "exited with code 3" in found["reason"]
