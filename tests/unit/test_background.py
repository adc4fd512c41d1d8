# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Background processes and jobs: what the roles are told of them, their programs, and how a release watches them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release import background as watching
from ansible_collections.pyweb.stack.plugins.module_utils.release.background import (
    Background,
    Unsteady,
    has_stopped_process,
    undefine_unused,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import RELEASE, Layout, Manifest
from ansible_collections.pyweb.stack.plugins.modules.webapp_info import jobs as last_results
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


# What the roles are told


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
    # Unless there may be jobs left from before.
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
        ("processes", {"name": "nightly"}, ["jobs 'nightly'.name", "already that of another"]),
        ("processes", {"command": "a\nb"}, ["processes 'x'.command", "one line"]),
        ("processes", {"count": -1}, ["processes 'x'.count", "from 0 to 100"]),
        ("processes", {"stop_timeout": 0}, ["stop_timeout"]),
        ("processes", {"stop_signal": "SIGTERM"}, ["'SIGTERM' is not one of: TERM, INT"]),
        ("processes", {"comand": "x"}, ["unknown key 'comand'", "Did you mean 'command'?"]),
        ("processes", {"limits": {"memory": "much"}}, ["processes 'x'.limits.memory", "512M"]),
        ("jobs", {"schedule": "dayly"}, ["jobs 'x'.schedule: 'dayly' is not one of", "Did you mean 'daily'?"]),
        ("jobs", {"schedule": "0 25 * * *"}, ["jobs 'x'.schedule", "'25' as hour"]),
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


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a program of a release that was unpacked into a folder with a space and a quote."""
    root = tmp_path / "it's a root"
    home = root / "shop" / "releases" / NEW
    (home / "bin").mkdir(parents=True)
    (root / "shop" / "jobs").mkdir()
    (home / "env").touch()
    (home / "bin/run").write_text('#!/bin/sh\nexport COLOUR=red\nexec "$@"\n')
    (home / "bin/run").chmod(0o755)

    def start(command: str, *arguments: str, key: str = "jobs") -> subprocess.Popen[str]:
        item = {"name": "x", "command": command, **({"schedule": "daily"} if key == "jobs" else {})}
        (app,) = applications([{**SHOP, "processes": [], "jobs": [], key: [item]}])
        for file in background.launchers(app, str(root)):
            path = home / file["path"]
            path.write_text(file["content"].replace(RELEASE, NEW))
            path.chmod(0o755)
        program = home / "bin" / ("job" if key == "jobs" else "x")
        return subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True)

    start.layout = Layout("shop", str(root))  # type: ignore[attr-defined]
    return start


def test_a_process_is_the_program_itself_and_knows_its_number(launch: Any) -> None:
    process = launch("sh -c 'echo $$ $WEBAPP_PROCESS $WEBAPP_PROCESS_NUMBER \"$COLOUR\"'", "3", key="processes")
    assert process.communicate()[0] == f"{process.pid} x 3 red\n"


def result(launch: Any) -> dict[str, Any]:
    (entry,) = last_results(launch.layout)
    return entry


@pytest.mark.parametrize(
    ("command", "timeout", "state", "status"),
    [
        ("true", "60", "succeeded", 0),
        ("exit 3", "60", "failed", 3),
        ("kill -9 $$", "60", "failed", 137),
        ("exec sleep 20", "1", "timed out", 124),
    ],
)
def test_what_came_of_a_job_is_written_down(launch: Any, command: str, timeout: str, state: str, status: int) -> None:
    process = launch(command, "x", timeout)
    process.communicate()
    assert process.returncode == status
    found = result(launch)
    assert (found["job"], found["release"], found["state"], found["status"]) == ("x", NEW, state, status)
    assert time.time() - time.mktime(time.strptime(found["started"], "%Y-%m-%dT%H:%M:%SZ")) + time.timezone < 60


def wait_for_state(launch: Any, state: str) -> None:
    assert wait_for(lambda: state in [entry["state"] for entry in last_results(launch.layout)], 30)


def until_there(path: Path) -> str:
    """A command that ends when a test has made a file."""
    return f"while [ ! -e {path} ]; do sleep 0.05; done"


def test_a_job_never_runs_twice_at_once(launch: Any, tmp_path: Path) -> None:
    first = launch(until_there(tmp_path / "over"), "x", "60")
    wait_for_state(launch, "running")
    second = launch("true", "x", "60")
    assert "left out" in second.communicate()[0]
    assert second.returncode == 0
    assert result(launch)["state"] == "running"
    (tmp_path / "over").touch()
    first.communicate()
    assert result(launch)["state"] == "succeeded"


def test_a_job_that_is_stopped_ends_its_program_and_says_so(launch: Any) -> None:
    process = launch("sleep 30", "x", "60")
    wait_for_state(launch, "running")
    begun = time.monotonic()
    process.terminate()
    process.communicate(timeout=10)
    assert time.monotonic() - begun < 5
    assert result(launch)["state"] == "failed"


# Lines of the script, after which the signal comes.
BEGINNING = [" 8>&- &\n", "starting=$!\n", "child=$starting\n", "status=\n", 'kill -0 "$child" 2>/dev/null; do\n']


@pytest.mark.parametrize("line", BEGINNING)
def test_a_job_that_is_stopped_as_it_begins_ends_as_well(
    launch: Any, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """Whatever the child is by then. Many times: whether the signal or the child is first is chance."""
    assert background.JOB.count(line) == 1
    monkeypatch.setattr(background, "JOB", background.JOB.replace(line, f"{line}kill -TERM $$\n"))
    for _attempt in range(12):
        process = launch("sleep 30", "x", "60")
        assert process.wait(10) != 0
        assert result(launch)["state"] == "failed"


def test_a_job_that_was_cut_off_is_interrupted(launch: Any) -> None:
    process = launch("sleep 30", "x", "60")
    wait_for_state(launch, "running")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for_state(launch, "interrupted")


def test_a_release_that_a_job_uses_is_told(launch: Any, tmp_path: Path) -> None:
    from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import in_use

    process = launch(until_there(tmp_path / "over"), "x", "60")
    wait_for_state(launch, "running")
    assert in_use(launch.layout, NEW)
    (tmp_path / "over").touch()
    process.communicate()
    assert not in_use(launch.layout, NEW)


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
    """A process manager of paper: what a service does after its start is told by a function of the seconds since."""

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


def test_a_process_that_stays_up_is_fine(tmp_path: Path) -> None:
    found = taking_over(tmp_path, Manager(), process("shop.a"), process("shop.b"))
    begun = time.monotonic()
    found.start(found.shared)
    found.await_steady(found.shared, begun)
    assert 0.3 <= time.monotonic() - begun < 2
    found.watch()


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


def test_restarts_from_before_do_not_count(tmp_path: Path) -> None:
    found = taking_over(tmp_path, Manager(a=lambda _age: ("running", 4)), process("shop.a"))
    found.start(found.shared)
    found.await_steady(found.shared, time.monotonic())


def test_an_exclusive_process_ends_before_the_new_one_begins(tmp_path: Path) -> None:
    manager = Manager()
    found = taking_over(tmp_path, manager, process("shop.a"), process("shop.beat", exclusive=True))
    found.start(found.shared)
    others = [(manager, "shop", OLD), (manager, "shop.a", OLD), (manager, "shop.beat", OLD)]
    found.replace_exclusive(others, time.monotonic() + 5)
    assert manager.said == [f"start shop.a {NEW}", f"stop shop.beat {OLD} 60", f"start shop.beat {NEW}"]


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


# nginx, where no init brings it back


def test_nginx_is_watched_where_no_systemd_does_it() -> None:
    assert "pyweb-nginx" not in by_name(supervisor_programs([{**SHOP, "process_manager": "supervisor"}], SYSTEMD))
    gone = by_name(supervisor_programs([{"name": "shop", "state": "absent"}], {**BARE, "supervisor": True}))
    assert gone["pyweb-nginx"] == {"name": "pyweb-nginx", "state": "absent"}


@pytest.mark.parametrize(("left_behind", "started"), [("999999", True), ("", False), (None, False), ("self", False)])
def test_only_an_nginx_that_was_not_stopped_is_started_again(
    tmp_path: Path, left_behind: str | None, started: bool
) -> None:
    from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.watch import WATCH

    pid_file, proof = tmp_path / "nginx.pid", tmp_path / "started"
    (tmp_path / "nginx").write_text(f"#!/bin/sh\nrm -f {pid_file}; touch {proof}\n")
    (tmp_path / "nginx").chmod(0o755)
    sleeper = subprocess.Popen(["/bin/sleep", "20"])
    (tmp_path / str(sleeper.pid)).mkdir()
    (tmp_path / str(sleeper.pid) / "comm").write_text("nginx\n")
    if left_behind is not None:
        pid_file.write_text(str(sleeper.pid) if left_behind == "self" else left_behind)
    script = WATCH.replace("/run/nginx.pid", str(pid_file)).replace("/proc/", f"{tmp_path}/")
    watch = subprocess.Popen(
        ["/bin/sh", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, start_new_session=True
    )
    try:
        # Three of its looks are enough to say that it will not.
        assert wait_for(proof.exists, 20 if started else 1) == started
    finally:
        os.killpg(watch.pid, signal.SIGKILL)
        sleeper.kill()
        watch.wait()
        sleeper.wait()
