# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Activating a release: real processes on real sockets, under a process manager that each test controls."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pwd
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.connections import UnixConnection
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Question, ask
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release import programs
from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import choose
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    BUILT,
    GOOD,
    Layout,
    Manifest,
    ReleaseError,
    manifests,
    read_manifest,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching import activation as module
from ansible_collections.pyweb.stack.plugins.module_utils.switching import links, probation, retirement, switch
from ansible_collections.pyweb.stack.plugins.module_utils.switching.commands import run_commands_of
from ansible_collections.pyweb.stack.plugins.module_utils.switching.switch import Switch

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: what a release says of itself belongs to root")

OLD, NEW = "20261120T000000Z-00000000", "20261121T000000Z-11111111"
# Any duration of a switch.
SOME = pytest.approx(30, abs=30)

SERVER = """
import http.server, os, socketserver, sys, threading, time
release, path, behaviour = sys.argv[1:]
print("booting", release, flush=True)
if behaviour == "dies":
    sys.exit("Traceback: no database")
if behaviour == "dies later":
    threading.Timer(1.2, lambda: os._exit(1)).start()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if behaviour == "hangs":
            time.sleep(60)
        self.send_response(int(behaviour) if behaviour.isdigit() else 200)
        if behaviour == "301":
            self.send_header("Location", "https://a.org/healthz")
        self.end_headers()
        self.wfile.write(release.encode())
    def log_message(self, *arguments):
        pass
class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
if behaviour == "one by one":
    import signal
    class Server(socketserver.UnixStreamServer):
        request_queue_size = 64
        def process_request(self, *arguments):
            time.sleep(0.2)
            super().process_request(*arguments)
            if stopped:
                os._exit(0)
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
Server(path, Handler).serve_forever()
"""


class Manager:
    """A process manager in memory, with real processes."""

    name = "systemd"

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.enabled: set[str] = set()
        self.behaviour: dict[str, str] = {}
        self.parts_running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self.refuses: str = ""
        self.logs = Path(layout.root)

    def start(self, service: str, instance: str) -> None:
        if self.refuses == "start":
            raise ProcessManagerError("no such unit")
        if service != "shop":
            command = self.behaviour.get(service, "sleep 60")
            self.parts_running[(service, instance)] = subprocess.Popen(["/bin/sh", "-c", f"exec {command}"])
            return
        if instance in self.processes and self.processes[instance].poll() is None:
            return
        path = self.layout.socket(instance)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with open(self.logs / f"{instance}.log", "wb") as log:
            argv = [sys.executable, "-c", SERVER, instance, path, self.behaviour.get(instance, "ok")]
            self.processes[instance] = subprocess.Popen(argv, stdout=log, stderr=log)
        if self.behaviour.get(instance) == "hangs":
            assert wait_for(lambda: os.path.exists(path), 30), "it did not start"

    def state(self, service: str, instance: str) -> str:
        if service != "shop":
            part = self.parts_running.get((service, instance))
            return "absent" if part is None else "running" if part.poll() is None else "failed"
        if instance not in self.processes:
            return "absent"
        return "running" if self.processes[instance].poll() is None else "failed"

    def restarts(self, service: str, instance: str) -> int:
        return 0

    def enable(self, service: str, instance: str) -> None:
        if self.refuses == "enable":
            raise ProcessManagerError("the disk is full")
        self.enabled.add(instance if service == "shop" else f"{service}@{instance}")

    def disable(self, service: str, instance: str) -> None:
        self.enabled.discard(instance if service == "shop" else f"{service}@{instance}")

    def stop(self, service: str, instance: str, timeout: float) -> None:
        was_enabled = set(self.enabled)
        self.forget(service, instance, timeout)
        self.enabled = was_enabled

    def forget(self, service: str, instance: str, timeout: float = 30.0) -> None:
        self.enabled.discard(instance if service == "shop" else f"{service}@{instance}")
        if service == "shop":
            process = self.processes.pop(instance, None)
        else:
            process = self.parts_running.pop((service, instance), None)
        if process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1 if self.behaviour.get(instance) == "one by one" else 0)
            process.kill()
            process.wait()

    def begin_stop(self, service: str, instance: str) -> None:
        self.enabled.discard(instance if service == "shop" else f"{service}@{instance}")
        if self.behaviour.get(instance) == "one by one":
            self.processes[instance].terminate()

    def instances(self, service: str) -> list[str]:
        return [instance for one, instance in self.family(service) if one == service]

    def family(self, service: str) -> list[tuple[str, str]]:
        web = {*self.processes, *(name for name in self.enabled if "@" not in name)}
        return [*((service, instance) for instance in sorted(web)), *sorted(self.parts_running)]

    def parts(self, service: str) -> list[str]:
        return []

    def tidy(self, service: str) -> None:
        pass

    def log(self, service: str, instance: str, lines: int = 20) -> str:
        return f"the log of {service}" if service != "shop" else (self.logs / f"{instance}.log").read_text()


def make_environment(layout: Layout) -> None:
    """The environment of the releases."""
    environment = Path(layout.venvs, "v")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (environment / ".complete").touch()


class Host:
    """One application with an old release that serves and a new one that is built."""

    def __init__(self, root: Path, old: str = "ok") -> None:
        self.layout = Layout("shop", str(root / "s"), str(root / "r"))
        self.manager = Manager(self.layout)
        self.manager.behaviour[OLD] = old
        self.front_status = 0
        # Seconds after its first request during which the front still uses its connections to the old release.
        self.front_kept = self.front_asked = 0.0
        os.makedirs(os.path.dirname(self.layout.socket("x")))
        for identity, state in ((OLD, GOOD), (NEW, BUILT)):
            os.makedirs(self.layout.release(identity))
            write_manifest(self.layout, Manifest(identity, state, {"code": identity}, venv="v"))
        make_environment(self.layout)
        self.manager.start("shop", OLD)
        self.manager.enable("shop", OLD)
        os.symlink(self.layout.socket(OLD), self.layout.current_socket)
        os.symlink(f"releases/{OLD}", self.layout.current)
        self.wait(OLD)
        self.front = self.serve_front()

    def serve_front(self) -> http.server.ThreadingHTTPServer:
        """Stand in for nginx: pass every request to the socket that the link points to."""
        host = self

        class Front(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = ask(Question(unix_socket=host.layout.current_socket))
                host.front_asked = host.front_asked or time.monotonic()
                kept = 200 if time.monotonic() - host.front_asked < host.front_kept else 0
                self.send_response(kept or host.front_status or answer.status or 502)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        return server

    def wait(self, identity: str) -> None:
        assert wait_for(lambda: ask(Question(unix_socket=self.layout.socket(identity))).status is not None, 30)

    @property
    def serving(self) -> str:
        """The release that answers on the socket that nginx uses."""
        return ask(Question(unix_socket=self.layout.current_socket), timeout=10).body

    def switch(self, candidate: str = NEW, **changes: Any) -> Switch:
        spec = {
            "name": "shop",
            "candidate": candidate,
            "process_managers": ["systemd"],
            "stop_timeout": 5,
            "keep": 3,
            "workers": 1,
            "release_commands": [],
            "front_port": self.front.server_address[1],
            "health": {
                "path": "/healthz",
                "host": "a.org",
                "scheme": "http",
                "status": [],
                "timeout": 30,
                "error_timeout": 1,
            },
            **changes,
        }
        return Switch(spec, self.layout, lambda argv: (0, "", ""), "alice@desk")

    def activate(self, candidate: str = NEW, **changes: Any) -> dict[str, Any]:
        one = self.switch(candidate, **changes)
        try:
            one.start()
            return one.finish()
        finally:
            one.close()

    def refuse(self, **changes: Any) -> str:
        """The message of an activation that must fail and leave the old release as it was."""
        with pytest.raises(ReleaseError) as caught:
            self.activate(**changes)
        assert self.serving == OLD
        assert self.layout.current_release() == OLD
        assert os.readlink(self.layout.current_socket) == self.layout.socket(OLD)
        assert not os.path.lexists(self.layout.previous), "the release that serves is not the one before itself"
        assert self.manager.instances("shop") == [OLD]
        assert self.manager.enabled == {OLD}
        bad = read_manifest(self.layout, NEW)
        assert bad is not None
        assert bad.state == BAD
        assert bad.reason
        assert not os.path.exists(self.layout.path(".activating"))
        assert self.history()[-1]["result"] == "failed"
        message = str(caught.value)
        assert f"The release {OLD} still serves" in message
        assert self.layout.release(NEW) in message
        return message

    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Path(self.layout.history).read_text().splitlines()]

    def close(self) -> None:
        self.front.shutdown()
        self.front.server_close()
        for process in (*self.manager.processes.values(), *self.manager.parts_running.values()):
            process.kill()
            process.wait()


def use_manager(patch: pytest.MonkeyPatch, manager: Callable[..., Manager]) -> None:
    for one in (switch, retirement):
        patch.setattr(one, "process_manager", manager)


@pytest.fixture
def make(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Host]]:
    monkeypatch.setattr(probation, "PROBATION", 0.1)
    monkeypatch.setattr(switch, "LINGER", 0.01)
    hosts: list[Host] = []

    def new(**options: Any) -> Host:
        folder = short_path / str(len(hosts))
        folder.mkdir()
        host = Host(folder, **options)
        hosts.append(host)
        use_manager(monkeypatch, lambda name, run: host.manager)
        return host

    yield new
    for host in hosts:
        host.close()


@pytest.fixture
def host(make: Callable[..., Host]) -> Host:
    return make()


def assert_new_serves(host: Host) -> None:
    assert host.serving == NEW
    assert host.layout.current_release() == NEW
    assert os.readlink(host.layout.current_socket) == host.layout.socket(NEW)
    assert os.readlink(host.layout.previous) == f"releases/{OLD}"
    assert host.manager.instances("shop") == [NEW]
    assert host.manager.enabled == {NEW}
    found = read_manifest(host.layout, NEW)
    assert found is not None
    assert found.state == GOOD
    assert not os.path.exists(host.layout.path(".activating"))
    assert [name for name in os.listdir(os.path.dirname(host.layout.socket(NEW))) if OLD in name] == []
    assert [name for name in os.listdir(host.layout.home) if name.endswith(".new")] == []


def test_a_healthy_release_takes_over(host: Host) -> None:
    assert host.activate() == {"name": "shop", "release": NEW, "replaced": OLD, "seconds": SOME}
    assert_new_serves(host)
    last = host.history()[-1]
    assert (last["result"], last["release"], last["replaced"], last["by"]) == ("live", NEW, OLD, "alice@desk")


def test_visitors_are_served_all_along(host: Host) -> None:
    seen: list[str] = []
    done = threading.Event()

    def visit() -> None:
        while not done.is_set():
            seen.append(ask(Question(unix_socket=host.layout.current_socket)).body)

    visitor = threading.Thread(target=visit)
    visitor.start()
    assert wait_for(lambda: OLD in seen, 30)
    host.activate()
    assert wait_for(lambda: NEW in seen, 30)
    done.set()
    visitor.join()
    assert set(seen) == {OLD, NEW}
    assert sorted(seen) == seen


def test_visitors_come_when_half_of_the_workers_are_ready(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Path(f"{host.layout.socket(NEW)}.ready")
    start = host.manager.start

    def start_with_one_worker(service: str, instance: str) -> None:
        start(service, instance)
        notes.write_text("ready 1\n")

    monkeypatch.setattr(host.manager, "start", start_with_one_worker)
    run = threading.Thread(target=host.activate, kwargs={"workers": 4})
    run.start()
    host.wait(NEW)
    assert not wait_for(lambda: host.serving == NEW, 1)
    notes.write_text("ready 1\nready 2\n")
    assert wait_for(lambda: host.serving == NEW, 20)
    run.join()


def test_what_killed_runs_have_left_is_removed(host: Host) -> None:
    programs = Path(host.layout.release(OLD), "bin")
    programs.mkdir()
    left = [Path(host.layout.home, ".lock.0123abcd.new"), Path(host.layout.release(OLD), "env.0123abcd.new")]
    left += [programs / "web.0123abcd.new", Path(host.layout.home, "current.0123abcd.new")]
    for path in left:
        path.touch()
    kept = Path(host.layout.home, "new")
    kept.touch()
    host.activate()
    assert [path for path in left if path.exists()] == []
    assert kept.exists()


# Background processes


def with_worker(host: Host, behaviour: str = "sleep 60") -> None:
    """Both releases have a worker. The old one runs; the new one behaves as ``behaviour`` says."""
    worker = {"service": "shop.worker", "stop_timeout": 5, "start_seconds": 0.3, "exclusive": False}
    for identity, state in ((OLD, GOOD), (NEW, BUILT)):
        write_manifest(host.layout, Manifest(identity, state, {"code": identity}, venv="v", processes=[worker]))
    host.manager.start("shop.worker", OLD)
    host.manager.enable("shop.worker", OLD)
    host.manager.behaviour["shop.worker"] = behaviour


def test_who_waits_at_the_old_release_is_still_served(make: Callable[..., Host]) -> None:
    # Its one worker takes 0.2 seconds per request. At a stop signal, it completes only its current request.
    host = make(old="one by one")
    with contextlib.ExitStack() as stack:
        visitors = [
            stack.enter_context(contextlib.closing(UnixConnection(host.layout.socket(OLD), 30))) for _ in range(8)
        ]
        for visitor in visitors:
            visitor.request("GET", "/")
        host.activate()
        assert [visitor.getresponse().read().decode() for visitor in visitors] == [OLD] * 8
    assert_new_serves(host)


def test_a_switch_of_another_run_is_seen(host: Host) -> None:
    waits = host.switch("", switch="rollback")
    host.activate()
    try:
        waits.start()
        wanted = {"name": "shop", "release": OLD, "replaced": NEW, "skipped": [], "held": NEW, "seconds": SOME}
        assert waits.finish() == wanted
    finally:
        waits.close()


def test_a_release_that_another_run_has_switched_to_is_not_replaced(host: Host) -> None:
    late = "20261122T000000Z-22222222"
    os.makedirs(host.layout.release(late))
    write_manifest(host.layout, Manifest(late, BUILT, {"code": late}, venv="v"))
    host.activate()
    with pytest.raises(ReleaseError, match=f"another run has switched to the release {NEW} since this run began"):
        host.activate(late, expected=OLD)
    assert_new_serves(host)
    # The same release is no conflict, nor is a release that only needs to be started again.
    assert host.activate(NEW, expected=OLD)["release"] == NEW
    assert host.activate("", expected=OLD)["release"] == NEW


def test_a_release_command_may_leave_a_daemon_that_is_ended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "existing_account", lambda name: pwd.getpwuid(0))
    launcher = Path(host.layout.release(NEW), "bin", "run")
    launcher.parent.mkdir()
    launcher.write_text('#!/bin/sh\nexec "$@"\n')
    launcher.chmod(0o755)
    seen = Path(host.layout.home, "seen")
    began = time.monotonic()
    one = host.switch(release_commands=[f"sleep 60 & echo $! >{seen}"])
    try:
        one.prepare()
        run_commands_of(one)
    finally:
        one.close()
    assert time.monotonic() - began < 10
    # A process that has ended may stay a zombie, because this machine has no init; its command line is then empty.
    words = Path("/proc", seen.read_text().strip(), "cmdline")
    until = time.monotonic() + 10
    while words.exists() and words.read_bytes():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert host.serving == OLD


def test_background_processes_go_with_their_release(host: Host) -> None:
    with_worker(host)
    host.activate()
    assert list(host.manager.parts_running) == [("shop.worker", NEW)]
    assert host.manager.enabled == {NEW, f"shop.worker@{NEW}"}


def test_a_release_whose_background_process_ends_never_serves(host: Host) -> None:
    with_worker(host, "true")
    with pytest.raises(ReleaseError) as caught:
        host.activate()
    assert host.serving == OLD
    assert list(host.manager.parts_running) == [("shop.worker", OLD)]
    assert host.manager.enabled == {OLD, f"shop.worker@{OLD}"}
    bad = read_manifest(host.layout, NEW)
    assert bad is not None
    assert bad.state == BAD
    for word in ("background process shop.worker has ended", "the log of shop.worker", f"{OLD} still serves"):
        assert word in str(caught.value)


def test_a_background_process_that_ends_soon_after_takes_the_switch_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probation, "PROBATION", 10)
    with_worker(host, "sleep 0.8")
    with pytest.raises(ReleaseError, match=r"did not stay healthy|has ended"):
        host.activate()
    assert host.serving == OLD
    assert list(host.manager.parts_running) == [("shop.worker", OLD)]


def test_a_release_that_never_answers_starts_no_background_process(host: Host) -> None:
    with_worker(host)
    host.manager.behaviour[NEW] = "500"
    with pytest.raises(ReleaseError):
        host.activate()
    assert list(host.manager.parts_running) == [("shop.worker", OLD)]


@pytest.mark.parametrize(
    ("behaviour", "came_back"),
    [
        ("500", "status 500"),
        ("404", "status 404"),
        ("301", "status 301"),
        ("hangs", "no answer within"),
        ("dies", "there is no socket"),
    ],
)
def test_an_unhealthy_release_never_serves(host: Host, behaviour: str, came_back: str) -> None:
    host.manager.behaviour[NEW] = behaviour
    patience = {"timeout": 2 if behaviour == "hangs" else 30, "error_timeout": 1}
    message = host.refuse(health={"path": "/healthz", "host": "a.org", "scheme": "http", "status": [], **patience})
    assert f"Asked: GET /healthz (Host: a.org) on the socket {host.layout.socket(NEW)}" in message
    assert "Expected: status any 2xx or 3xx, 401 or 403" in message
    assert f"Came back: {came_back}" in message
    assert f"booting {NEW}" in message
    if behaviour == "dies":
        assert "because its process has ended" in message
        assert "Traceback: no database" in message
    if behaviour == "404":
        assert "health.path" in message
    if behaviour == "301":
        assert "sends every visitor to https (https://a.org/healthz)" in message
        assert "health.status: [301]" in message


def test_a_release_that_dies_soon_gives_way_to_the_old_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probation, "PROBATION", 10)
    host.manager.behaviour[NEW] = "dies later"
    assert "failed after the switch, which was undone" in host.refuse()


def test_a_release_that_fails_through_nginx_gives_way(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.front_status = 403
    health = {"path": "/", "host": "a.org", "scheme": "http", "status": [200], "timeout": 30}
    message = host.refuse(health=health)
    assert "through nginx" in message
    assert "Expected: status 200" in message
    assert "Came back: status 403" in message


def test_the_answer_over_a_kept_connection_does_not_speak_for_the_new_release(host: Host) -> None:
    host.front_status, host.front_kept = 403, 0.2
    health = {"path": "/", "host": "a.org", "scheme": "http", "status": [200], "timeout": 30}
    message = host.refuse(health=health, linger=1.2)
    assert "through nginx" in message
    assert "Came back: status 403" in message


@pytest.mark.attack("17", "An application prints its secrets to the log of a failed start")
def test_a_secret_in_the_applications_log_is_not_shown(host: Host) -> None:
    host.manager.behaviour[NEW] = "dies"
    # A part of the server's last output that equals the application's password.
    variables = f"WEBAPP_RELEASE={NEW}\nDATABASE_URL='postgres://shop:database@h/x y'\n"
    (Path(host.layout.release(NEW)) / "env").write_text(variables)
    message = host.refuse()
    assert "Traceback: no ***" in message
    assert f"booting {NEW}" in message


def test_a_full_disk_stops_one_application_and_not_the_others(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(switch, "write", full)
    monkeypatch.setattr(module, "Layout", lambda name, root: host.layout)
    results, problems = module.activate(
        [{**host.switch().spec, "state": "present"}] * 2, "", lambda argv: (0, "", ""), "alice"
    )
    assert results == []
    assert len(problems) == 2
    assert "webapps 'shop': starting its release failed: [Errno 28] No space left on device" in problems[0]
    assert host.serving == OLD


def test_several_take_over_side_by_side_and_one_that_fails_stops_no_other(
    make: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = {name: make() for name in ("first", "second", "third")}
    for name, host in hosts.items():
        write_manifest(host.layout, Manifest(NEW, BUILT, {"code": NEW}, venv="v", process_manager=name))
    hosts["second"].manager.behaviour[NEW] = "dies"
    layouts = iter([host.layout for host in hosts.values()])
    monkeypatch.setattr(probation, "PROBATION", 2.5)
    probations: list[tuple[float, float]] = []
    watch = probation.watch

    def timed(*arguments: Any) -> None:
        began = time.monotonic()
        watch(*arguments)
        probations.append((began, time.monotonic()))

    monkeypatch.setattr(probation, "watch", timed)
    monkeypatch.setattr(module, "Layout", lambda name, root: next(layouts))
    use_manager(monkeypatch, lambda name, run: hosts[name].manager)
    specs = [{**host.switch(process_managers=[name]).spec, "state": "present"} for name, host in hosts.items()]
    results, problems = module.activate(specs, "", lambda argv: (0, "", ""), "alice")
    (one, one_over), (other, other_over) = probations
    assert max(one, other) < min(one_over, other_over), "each has a probation of its own, at the same time"
    assert [(result["release"], result["replaced"]) for result in results] == [(NEW, OLD)] * 2
    assert len(problems) == 1
    assert "Traceback: no database" in problems[0]
    assert [host.serving for host in hosts.values()] == [NEW, OLD, NEW]
    for host in hosts.values():
        with lock(host.layout, "somebody"):
            pass


@pytest.mark.parametrize("removed", [True, False])
def test_a_renamed_application_runs_its_exclusive_process_once(
    host: Host, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    """The removal of the old name comes first, and if it fails, the new one does not start."""
    processes = [{"service": "shop.beat", "exclusive": True, "stop_timeout": 1, "start_seconds": 0.1}]
    write_manifest(host.layout, Manifest(NEW, BUILT, {"code": NEW}, venv="v", processes=processes))

    def remove(spec: dict[str, Any], *_arguments: Any) -> dict[str, Any]:
        assert not host.manager.parts_running
        if not removed:
            raise ReleaseError(spec["name"], "another deployment is under way.")
        return {"name": spec["name"]}

    monkeypatch.setattr(module, "remove", remove)
    monkeypatch.setattr(
        module, "Layout", lambda name, root: host.layout if name == "shop" else Layout(name, "/nowhere")
    )
    specs = [{**host.switch().spec, "state": "present"}, {"name": "store", "state": "absent"}]
    results, problems = module.activate(specs, "", lambda argv: (0, "", ""), "alice")
    assert [result["name"] for result in results] == (["store", "shop"] if removed else [])
    assert bool(problems) is not removed
    assert ("shop.beat", NEW) in host.manager.parts_running if removed else not host.manager.parts_running
    if not removed:
        assert "its exclusive processes could run beside those of store" in problems[1]
        assert host.serving == OLD


@pytest.mark.parametrize("step", ["start", "enable"])
def test_a_process_manager_that_refuses_changes_nothing(host: Host, step: str) -> None:
    host.manager.refuses = step
    assert {"start": "no such unit", "enable": "the disk is full"}[step] in host.refuse()


def test_a_release_that_is_gone_is_named(host: Host) -> None:
    with pytest.raises(ReleaseError, match="the release 20261122T000000Z-22222222 is not there"):
        host.activate("20261122T000000Z-22222222")
    assert host.serving == OLD


def test_the_first_release_that_fails_leaves_no_links(host: Host) -> None:
    host.manager.forget("shop", OLD)
    os.unlink(host.layout.current)
    os.unlink(host.layout.current_socket)
    host.front_status = 500
    with pytest.raises(ReleaseError) as caught:
        host.activate()
    assert "still serves" not in str(caught.value)
    assert not os.path.lexists(host.layout.current)
    assert not os.path.lexists(host.layout.current_socket)


def test_a_live_release_that_does_not_run_is_started_again(host: Host) -> None:
    host.manager.forget("shop", OLD)
    assert host.activate("") == {"name": "shop", "release": OLD, "replaced": "", "seconds": SOME}
    assert host.serving == OLD


def test_an_older_release_is_rolled_back_to(host: Host) -> None:
    host.activate()
    host.activate("", switch="rollback")
    assert host.serving == OLD
    assert host.history()[-1]["action"] == "rollback"


@pytest.mark.parametrize("switch", ["rollback", "restart"])
def test_a_release_that_can_not_run_is_not_switched_to(host: Host, switch: str) -> None:
    host.activate()
    os.unlink(Path(host.layout.venvs, "v", "bin", "python"))
    before = sorted(os.listdir(host.layout.releases))
    with pytest.raises(ReleaseError, match=r"can't run: the interpreter .* is gone.* Nothing was changed"):
        host.activate("", switch=switch)
    assert host.serving == NEW
    assert sorted(os.listdir(host.layout.releases)) == before


def test_what_was_rolled_back_is_not_gone_back_to(host: Host) -> None:
    host.activate()
    host.activate("", switch="rollback")
    newest = "20261122T000000Z-22222222"
    os.makedirs(host.layout.release(newest))
    write_manifest(host.layout, Manifest(newest, BUILT, {"code": newest}, venv="v"))
    host.activate(newest)
    # Go back to the release that served before, not to the newest older one, which was rolled back earlier.
    host.activate("", switch="rollback")
    assert host.serving == OLD
    # It can be activated by name, and then counts as good.
    host.activate("", switch="rollback", release=NEW)
    assert host.serving == NEW
    assert read_manifest(host.layout, NEW).state == GOOD
    assert read_manifest(host.layout, OLD).state == GOOD


class Killed(BaseException):
    """The run ends here, as after kill -9."""


STEPS = (
    (links, "atomic_symlink"),
    *((switch, name) for name in ("atomic_symlink", "write", "write_manifest", "prune", "record")),
)
CALLS = ("start", "enable", "forget", "begin_stop", "family", "state")


def kill_at(host: Host, monkeypatch: pytest.MonkeyPatch, moment: int, before: bool) -> list[str]:
    """End the run before or after the given step; return the steps that were reached."""
    reached: list[str] = []

    def bombed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            reached.append(name)
            now = len(reached) == moment
            if now and before:
                raise Killed
            result = function(*arguments, **options)
            if now:
                raise Killed
            return result

        return step

    for place, name in STEPS:
        monkeypatch.setattr(place, name, bombed(name, getattr(place, name)))
    for name in CALLS:
        monkeypatch.setattr(host.manager, name, bombed(name, getattr(host.manager, name)))
    return reached


@pytest.mark.parametrize(
    ("fails", "before"),
    [
        pytest.param(False, True, id="healthy-before"),
        pytest.param(False, False, id="healthy-after", marks=pytest.mark.matrix),
        pytest.param(True, True, id="unhealthy-before", marks=pytest.mark.matrix),
        pytest.param(True, False, id="unhealthy-after"),
    ],
)
def test_a_run_that_is_killed_anywhere_is_healed_by_the_next(
    make: Callable[..., Host], before: bool, fails: bool
) -> None:
    moments = 0
    while True:
        moments += 1
        host = make()
        with pytest.MonkeyPatch.context() as patch:
            use_manager(patch, lambda name, run, host=host: host.manager)
            patch.setattr(probation, "PROBATION", 0.0)
            patch.setattr(switch, "LINGER", 0.0)
            host.front_status = 500 if fails else 0
            # Wait for a shorter time, because the response through nginx never arrives.
            reached = kill_at(host, patch, moments, before)
            killed = False
            try:
                host.activate()
            except Killed:
                killed = True
            except ReleaseError:
                assert fails
        where = f"killed {'before' if before else 'after'} step {moments} ({reached[-1]}) of {reached}"
        if not killed:
            break
        assert host.serving in (OLD, NEW), where
        # The next run, with the failure fixed, decides as the module webapp_release does.
        host.front_status = 0
        live = host.layout.current_release()
        action, candidate, _ = choose({"code": NEW}, live, manifests(host.layout))
        if action == "build":
            found = read_manifest(host.layout, NEW)
            assert found is not None
            assert found.state == BAD, where
            candidate = NEW
        assert host.serving in (OLD, NEW), where
        host.activate(candidate or "")
        assert_new_serves(host)
        host.close()
    assert moments > 10
