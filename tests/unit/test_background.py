# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Background processes and jobs: the input of the roles, their programs, and how a release watches them."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.publishing.releases import jobs as last_results
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest
from ansible_collections.pyweb.stack.plugins.module_utils.switching import background as watching
from ansible_collections.pyweb.stack.plugins.module_utils.switching.background import (
    Background,
    Unsteady,
    has_stopped_process,
    undefine_unused,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import background
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import ModelError, applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import releases
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.services import supervisor_programs, systemd_services

SYSTEMD = {"init": "systemd", "cpus": 2, "memory_bytes": 4 * 1024**3, "supervisor": False}
BARE = {**SYSTEMD, "init": "none"}
OLD, BAD = "20261120T000000Z-00000000", "20261121T020735Z-ab12cd36"
NEW = "20261121T000000Z-11111111"

SHOP: dict[str, Any] = {
    "name": "shop",
    "source": {"path": "shop"},
    "wsgi": "shop:app",
    "limits": {"memory": "1G", "tasks": 50},
    "processes": [
        {"name": "worker", "command": "rq worker", "count": 2, "stop_signal": "INT", "stop_timeout": 300},
        {"name": "beat", "command": "celery beat", "exclusive": True, "limits": {"memory": "128M"}},
        {"name": "elsewhere", "command": "x", "count": 0},
    ],
    "jobs": [
        {"name": "nightly", "command": "flask cleanup", "schedule": "0 4 1 * mon", "catch_up": True, "timeout": 60},
        {"name": "paused", "command": "x", "schedule": "daily", "enabled": False},
    ],
}


def by_name(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert len({item["name"] for item in items}) == len(items)
    return {item["name"]: item for item in items}


# The input of the roles


def test_each_copy_is_a_service_of_its_own() -> None:
    items = by_name(systemd_services([SHOP], SYSTEMD))
    assert list(items) == ["shop@", "shop.worker@", "shop.worker.2@", "shop.beat@", "shop.nightly", "shop.*"]
    second = items["shop.worker.2@"]
    assert second["command"] == ["/srv/webapps/shop/releases/%i/bin/worker", "2"]
    assert (second["stop_signal"], second["stop_timeout"], second["restart"]) == ("INT", 300, "always")
    assert second["limits"] == {"memory": "1G", "tasks": 50}
    assert items["shop.beat@"]["limits"] == {"memory": "128M", "tasks": 50}
    assert items["shop.*"] == {"name": "shop.*", "state": "absent"}


def test_a_job_is_a_timer_where_systemd_is_whatever_keeps_the_rest() -> None:
    for changes in ({}, {"process_manager": "supervisor"}):
        job = by_name(systemd_services([{**SHOP, **changes}], SYSTEMD))["shop.nightly"]
        assert job["command"] == ["/srv/webapps/shop/current/bin/job", "nightly", "60"]
        assert job["timer"] == {"on_calendar": ["*-*-01 04:00:00", "Mon *-*-* 04:00:00"], "catch_up": True}
        assert "/srv/webapps/shop/jobs" in job["writable_paths"]
        assert job["settings"]["Unit"] == {"ConditionPathExists": "/srv/webapps/shop/current/bin/nightly"}
    assert "shop.nightly" not in by_name(supervisor_programs([{**SHOP, "process_manager": "supervisor"}], SYSTEMD))


def test_a_job_is_crons_where_no_systemd_is() -> None:
    items = by_name(supervisor_programs([SHOP], BARE))
    own = ["shop@", "shop.worker@", "shop.worker.2@", "shop.beat@", "shop.nightly", "shop.*"]
    assert list(items) == [*own, "pyweb-wake", "pyweb-nginx"]
    assert items["shop.nightly"]["schedule"] == "0 4 1 * 1"
    assert items["shop.worker@"]["stopsignal"] == "INT"
    assert items["shop.worker@"]["stopwaitsecs"] == 300
    assert systemd_services([SHOP], BARE) == []


def test_an_application_of_supervisor_without_jobs_asks_systemd_for_nothing() -> None:
    app = {**SHOP, "process_manager": "supervisor", "jobs": []}
    assert systemd_services([app], SYSTEMD) == []
    # Unless jobs of an earlier run may remain.
    assert systemd_services([app], {**SYSTEMD, "timers": True}) == [{"name": "shop.*", "state": "absent"}]


def test_directives_of_systemd_reach_every_unit() -> None:
    items = by_name(systemd_services([{**SHOP, "systemd": {"ProtectHome": "read-only"}}], SYSTEMD))
    for name in ("shop@", "shop.worker@", "shop.nightly"):
        assert items[name]["settings"]["Service"] == {"ProtectHome": "read-only"}


def test_a_release_knows_its_processes_and_has_their_programs() -> None:
    (item,) = releases([SHOP], SYSTEMD)
    assert item["processes"] == [
        {"service": "shop.worker", "stop_timeout": 300, "start_seconds": 2, "exclusive": False},
        {"service": "shop.worker.2", "stop_timeout": 300, "start_seconds": 2, "exclusive": False},
        {"service": "shop.beat", "stop_timeout": 60, "start_seconds": 2, "exclusive": True},
    ]
    assert item["jobs"]
    paths = {file["path"]: file["mode"] for file in item["server_files"]}
    assert paths == {f"bin/{name}": "0755" for name in ("worker", "beat", "elsewhere", "nightly", "paused", "job")}


def test_an_application_without_either_has_nothing_of_it() -> None:
    (item,) = releases([{**SHOP, "processes": [], "jobs": []}], SYSTEMD)
    assert (item["processes"], item["jobs"], item["server_files"]) == ([], False, [])


@pytest.mark.parametrize(
    ("key", "changes", "words"),
    [
        ("processes", {"name": "Work er"}, ["processes 'Work er'.name", "such as 'work-er'"]),
        ("processes", {"name": "web"}, ["'web' is a program of every release"]),
        ("processes", {"name": "nightly"}, ["jobs 'nightly'.name", "another process or job has the name"]),
        ("processes", {"command": "a\nb"}, ["processes 'x'.command", "one line"]),
        ("processes", {"count": -1}, ["processes 'x'.count", "from 0 to 100"]),
        ("processes", {"stop_timeout": 0}, ["stop_timeout"]),
        ("processes", {"stop_signal": "SIGTERM"}, ["'SIGTERM' is not one of: TERM, INT"]),
        ("processes", {"comand": "x"}, ["unknown key 'comand'", "Did you mean 'command'?"]),
        ("processes", {"limits": {"memory": "much"}}, ["processes 'x'.limits.memory", "512M"]),
        ("jobs", {"schedule": "dayly"}, ["jobs 'x'.schedule: 'dayly' is not one of", "Did you mean 'daily'?"]),
        ("jobs", {"schedule": "0 25 * * *"}, ["jobs 'x'.schedule", "invalid hour '25'"]),
        ("jobs", {"schedule": None}, ["the key 'schedule' is missing"]),
        ("jobs", {"limits": {"tasks": 0}}, ["jobs 'x'.limits.tasks"]),
    ],
)
def test_a_mistake_is_told_before_anything_changes(key: str, changes: dict[str, Any], words: list[str]) -> None:
    item = {"name": "x", "command": "x", **({"schedule": "daily"} if key == "jobs" else {}), **changes}
    with pytest.raises(ModelError) as caught:
        applications([{**SHOP, "processes": [], key: [item]}])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("directive", "value"), [("protecthome", "no"), ("ProtectHome", {"x": 1}), ("[Unit]\nProtectHome", "no")]
)
def test_a_wrong_directive_is_told(directive: str, value: Any) -> None:
    with pytest.raises(ModelError, match="is not a directive"):
        applications([{**SHOP, "systemd": {directive: value}}])


# Their programs


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("rq worker", "exec rq worker"),
        ("python -c 'a; b'", "exec python -c 'a; b'"),
        ("rq worker > /dev/null", "exec rq worker > /dev/null"),
        ("A=1 B='2 3' rq worker", "exec env A=1 B='2 3' rq worker"),
        ("rq worker 2>&1", "exec rq worker 2>&1"),
        (r"echo a\;b", r"exec echo a\;b"),
        ("exec rq worker", "exec rq worker"),
        ("cd x && exec rq worker", "cd x && exec rq worker"),
        ("rq worker & wait", "rq worker & wait"),
        ("a | b", "a | b"),
        ("echo $(a)", "echo $(a)"),
        ("while true; do x; done", "while true; do x; done"),
        ("[ -e x ] && y", "[ -e x ] && y"),
        ("it's broken", "it's broken"),
    ],
)
def test_the_shell_becomes_the_program_where_it_can(command: str, wanted: str) -> None:
    assert background.one_program(command) == wanted


def test_a_result_that_is_no_result_is_passed_over(tmp_path: Path) -> None:
    layout = Layout("shop", str(tmp_path))
    os.makedirs(layout.jobs)
    (tmp_path / "secret").write_text(json.dumps({"job": "x"}))
    os.symlink(tmp_path / "secret", f"{layout.jobs}/a.json")
    Path(layout.jobs, "b.json").write_text("[1")
    Path(layout.jobs, "c.json").write_text("[]")
    assert last_results(layout) == []
    assert last_results(Layout("none", str(tmp_path))) == []


# While a release takes over


class Manager:
    """A fake process manager: a function of the seconds since the start gives the state of a service."""

    name = "paper"

    def __init__(self, **fates: Callable[[float], tuple[str, int]]) -> None:
        self.fates = fates
        self.running: dict[tuple[str, str], float] = {}
        self.said: list[str] = []
        self.defined: list[str] = []

    def start(self, service: str, instance: str) -> None:
        self.said.append(f"start {service} {instance}")
        self.running.setdefault((service, instance), time.monotonic())

    def look(self, service: str, instance: str) -> tuple[str, int]:
        if (service, instance) not in self.running:
            return "absent", 0
        fate = self.fates.get(service.rpartition(".")[2], lambda _age: ("running", 0))
        return fate(time.monotonic() - self.running[(service, instance)])

    def state(self, service: str, instance: str) -> str:
        return self.look(service, instance)[0]

    def restarts(self, service: str, instance: str) -> int:
        return self.look(service, instance)[1]

    def begin_stop(self, service: str, instance: str) -> None:
        self.said.append(f"begin_stop {service} {instance}")

    def stop(self, service: str, instance: str, timeout: float) -> None:
        self.said.append(f"stop {service} {instance} {timeout:g}")

    def forget(self, service: str, instance: str, timeout: float = 30.0) -> None:
        self.said.append(f"forget {service} {instance} {timeout:g}")
        self.running.pop((service, instance), None)

    def parts(self, service: str) -> list[str]:
        return self.defined

    def undefine(self, services: list[str]) -> None:
        self.said += [f"undefine {service}" for service in services]


def process(service: str, **changes: Any) -> dict[str, Any]:
    return {"service": service, "stop_timeout": 7, "start_seconds": 0.3, "exclusive": False, **changes}


def taking_over(tmp_path: Path, manager: Manager, *processes: dict[str, Any]) -> Background:
    return Background(Layout("shop", str(tmp_path)), Manifest(NEW, processes=list(processes)), manager)


@pytest.mark.usefixtures("clock")
def test_a_process_that_stays_up_is_fine(tmp_path: Path) -> None:
    found = taking_over(tmp_path, Manager(), process("shop.a"), process("shop.b"))
    begun = time.monotonic()
    found.start(found.shared)
    found.await_steady(found.shared, begun)
    assert 0.3 <= time.monotonic() - begun < 2
    found.watch()


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("fate", "why"),
    [
        (lambda age: ("failed" if age > 0.1 else "running", 0), "shop.a has ended"),
        (lambda age: ("stopped" if age > 0.1 else "running", 0), "shop.a has ended"),
        (lambda age: ("running", int(age > 0.1)), "shop.a ended and had to be started again"),
        (lambda _age: ("starting", 0), "shop.a did not start in time"),
    ],
)
def test_a_process_that_does_not_is_named(tmp_path: Path, fate: Any, why: str) -> None:
    found = taking_over(tmp_path, Manager(a=fate), process("shop.a"), process("shop.b"))
    found.start(found.shared)
    with pytest.raises(Unsteady, match=why):
        found.await_steady(found.shared, time.monotonic() + 0.5)


@pytest.mark.usefixtures("clock")
def test_restarts_from_before_do_not_count(tmp_path: Path) -> None:
    found = taking_over(tmp_path, Manager(a=lambda _age: ("running", 4)), process("shop.a"))
    found.start(found.shared)
    found.await_steady(found.shared, time.monotonic())


@pytest.mark.usefixtures("clock")
def test_an_exclusive_process_ends_before_the_new_one_begins(tmp_path: Path) -> None:
    manager = Manager()
    found = taking_over(tmp_path, manager, process("shop.a"), process("shop.beat", exclusive=True))
    found.start(found.shared)
    others = [(manager, "shop", OLD), (manager, "shop.a", OLD), (manager, "shop.beat", OLD)]
    found.replace_exclusive(others, time.monotonic() + 5)
    assert manager.said == [f"start shop.a {NEW}", f"stop shop.beat {OLD} 60", f"start shop.beat {NEW}"]


@pytest.mark.usefixtures("clock")
def test_a_failure_ends_what_was_started_in_its_own_time_and_brings_back_what_made_room(tmp_path: Path) -> None:
    manager = Manager(beat=lambda _age: ("failed", 0))
    found = taking_over(tmp_path, manager, process("shop.a"), process("shop.beat", exclusive=True))
    found.start(found.shared)
    with pytest.raises(Unsteady):
        found.replace_exclusive([(manager, "shop.beat", OLD)], time.monotonic() + 5)
    manager.said.clear()
    found.end()
    both = ("shop.a", "shop.beat")
    assert manager.said == [
        *(f"begin_stop {service} {NEW}" for service in both),
        *(f"forget {service} {NEW} 12" for service in both),
        f"start shop.beat {OLD}",
    ]


def test_a_failure_before_any_was_started_touches_none(tmp_path: Path) -> None:
    manager = Manager()
    taking_over(tmp_path, manager, process("shop.a")).end()
    assert manager.said == []


def test_a_process_manager_that_refuses_hides_no_failure(tmp_path: Path) -> None:
    class Refusing(Manager):
        def forget(self, service: str, instance: str, timeout: float = 30.0) -> None:
            raise ProcessManagerError("no")

    found = taking_over(tmp_path, Refusing(), process("shop.a"))
    found.start(found.shared)
    found.end()


def test_the_live_release_is_asleep_when_one_of_its_processes_is() -> None:
    manager = Manager()
    manifest = Manifest(NEW, processes=[process("shop.a"), process("shop.b")])
    manager.start("shop.a", NEW)
    assert has_stopped_process(manifest, manager)
    manager.start("shop.b", NEW)
    assert not has_stopped_process(manifest, manager)
    assert not has_stopped_process(Manifest(NEW), manager)


def test_definitions_go_with_the_last_release_that_has_the_process(tmp_path: Path) -> None:
    layout = Layout("shop", str(tmp_path))
    for identity, state, service in ((OLD, "good", "shop.a"), (NEW, "built", "shop.b"), (BAD, "bad", "shop.c")):
        os.makedirs(layout.release(identity))
        content = {"id": identity, "state": state, "processes": [process(service)]}
        Path(layout.release(identity), "release.json").write_text(json.dumps(content))
    manager = Manager()
    manager.defined = ["shop.a", "shop.b", "shop.c", "shop.d"]
    undefine_unused(layout, manager)
    assert manager.said == ["undefine shop.c", "undefine shop.d"]
    assert watching.stop_timeout(layout, "shop.a", OLD) == 12
    assert watching.stop_timeout(layout, "shop.z", OLD) == 60


def test_words_for_the_shell_are_quoted() -> None:
    (app,) = applications([{**SHOP, "processes": [{"name": "x", "command": "echo '$HOME' \"a b\""}]}])
    content = next(file["content"] for file in background.launchers(app, "/srv/webapps") if file["path"] == "bin/x")
    assert shlex.split(content.splitlines()[-1])[-1] == "exec echo '$HOME' \"a b\""


# nginx on hosts without an init that restarts it


def test_nginx_is_watched_where_no_systemd_does_it() -> None:
    assert "pyweb-nginx" not in by_name(supervisor_programs([{**SHOP, "process_manager": "supervisor"}], SYSTEMD))
    gone = by_name(supervisor_programs([{"name": "shop", "state": "absent"}], {**BARE, "supervisor": True}))
    assert gone["pyweb-nginx"] == {"name": "pyweb-nginx", "state": "absent"}
