# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The switch of an application that cannot run twice: real processes, of which each takes the same exclusive lock."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
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
from ansible_collections.pyweb.stack.plugins.module_utils.plan.live import is_unhealthy
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import choose
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import hold_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    BUILT,
    GOOD,
    INHERITS_SOCKETS,
    Layout,
    Manifest,
    ReleaseError,
    manifests,
    read_manifest,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching import (
    commands,
    gate,
    held_requests,
    links,
    probation,
    resume,
    stop_first,
    switch,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching.activation import kind_of_switch
from ansible_collections.pyweb.stack.plugins.module_utils.switching.gate import Gate
from ansible_collections.pyweb.stack.plugins.module_utils.switching.held_requests import HeldRequests, Passage, Relay
from ansible_collections.pyweb.stack.plugins.module_utils.switching.stop_first import StopFirst
from killing import end_after

from local.test_activation import NEW, OLD, SOME, Host, Killed, Manager, make_environment, use_manager

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: what a release says of itself belongs to root")

# As a threaded app server with one worker: it ends its requests at SIGTERM, and accepts no other.
SERVER = """
import fcntl, http.server, os, signal, socketserver, sys, threading, time
release, path, behaviour, lock = sys.argv[1:]
store = open(lock, "w")
fcntl.flock(store, fcntl.LOCK_EX | fcntl.LOCK_NB)
if behaviour == "dies":
    sys.exit("Traceback: no database")
if behaviour == "dies later":
    threading.Timer(1.2, lambda: os._exit(1)).start()
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/slow":
            time.sleep(0.5)
        self.send_response(int(behaviour) if behaviour.isdigit() else 200)
        self.end_headers()
        self.wfile.write(f"{release} {len(body)}".encode())
    do_GET = do_POST = answer
    def log_message(self, *arguments):
        pass
class Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 64
    daemon_threads = False
    block_on_close = True
server = Server(path, Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(0.02)
server.server_close()
"""


class Exclusive(Manager):
    """A process manager whose application takes an exclusive lock when it starts."""

    def start(self, service: str, instance: str) -> None:
        if service != "shop":
            super().start(service, instance)
            return
        if self.refuses == "start" and instance == NEW:
            self.refuses = ""
            raise ProcessManagerError("no such unit")
        if instance in self.processes and self.processes[instance].poll() is None:
            return
        path = self.layout.socket(instance)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        arguments = [instance, path, self.behaviour.get(instance, "ok"), str(self.logs / "lock")]
        with open(self.logs / f"{instance}.log", "wb") as log:
            process = subprocess.Popen([sys.executable, "-c", SERVER, *arguments], stdout=log, stderr=log)
        self.processes[instance] = process

    def stop(self, service: str, instance: str, timeout: float) -> None:
        running = self.processes.get(instance) if service == "shop" else self.parts_running.get((service, instance))
        if running:
            running.send_signal(signal.SIGTERM)
            running.wait(timeout)
        if service == "shop":
            # As systemd with RemoveOnStop=.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.layout.socket(instance))

    def forget(self, service: str, instance: str, timeout: float = 30.0) -> None:
        self.stop(service, instance, timeout)
        super().forget(service, instance, timeout)

    def disable(self, service: str, instance: str) -> None:
        self.enabled.discard(instance if service == "shop" else f"{service}@{instance}")


class Shop(Host):
    """An application that cannot run twice, with an old release that serves and a new one that is built."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout("shop", str(root / "s"), str(root / "r"))
        self.front_status = 0
        self.front_kept = self.front_asked = 0.0
        self.manager = Exclusive(self.layout)
        self.killed: list[Any] = []
        os.makedirs(self.layout.sockets)
        os.makedirs(self.layout.runtime)
        for identity, state in ((OLD, GOOD), (NEW, BUILT)):
            os.makedirs(self.layout.release(identity))
            Path(self.layout.release(identity), INHERITS_SOCKETS).touch()
            write_manifest(self.layout, Manifest(identity, state, {"code": identity}, venv="v"))
        make_environment(self.layout)
        self.manager.start("shop", OLD)
        self.manager.enable("shop", OLD)
        os.symlink(self.layout.socket(OLD), self.layout.current_socket)
        os.symlink(f"releases/{OLD}", self.layout.current)
        self.wait(OLD)
        self.front = self.serve_front()

    @property
    def serving(self) -> str:
        return super().serving.partition(" ")[0]

    def switch(self, candidate: str = NEW, **changes: Any) -> StopFirst:
        spec = {**super().switch(candidate).spec, "stop_first": True, **changes}
        kind = kind_of_switch(spec)
        assert kind is StopFirst
        return StopFirst(spec, self.layout, lambda argv: (0, "", ""), "alice@desk")

    def activate(self, candidate: str = NEW, **changes: Any) -> dict[str, Any]:
        one = self.switch(candidate, **changes)
        try:
            one.start()
            return one.finish()
        except Killed:
            # The kernel closes the sockets, and their names stay.
            if one.held is not None and one.held.listener is not None:
                one.held.deadline = 0.0
                if one.held.relay is not None:
                    one.held.relay.join()
                one.held.listener.close()
                one.held = None
            raise
        finally:
            one.close()

    def boot(self) -> str:
        """Boot the host, with an empty /run; return the release that serves then."""
        for instance in list(self.manager.processes):
            process = self.manager.processes.pop(instance)
            process.kill()
            process.wait()
        for name in os.listdir(self.layout.sockets):
            os.unlink(os.path.join(self.layout.sockets, name))
        for instance in sorted(self.manager.enabled):
            self.manager.start("shop", instance)
            self.wait(instance)
        return self.serving


@pytest.fixture
def make(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Shop]]:
    monkeypatch.setattr(probation, "PROBATION", 0.1)
    monkeypatch.setattr(stop_first, "LINGER", 0.05)
    shops: list[Shop] = []

    def new() -> Shop:
        folder = short_path / str(len(shops))
        folder.mkdir()
        shop = Shop(folder)
        shops.append(shop)
        use(monkeypatch, shop)
        return shop

    yield new
    for shop in shops:
        shop.close()


def use(patch: pytest.MonkeyPatch, shop: Shop) -> None:
    use_manager(patch, lambda name, run: shop.manager)
    patch.setattr(stop_first, "process_manager", lambda name, run: shop.manager)


@pytest.fixture
def shop(make: Callable[..., Shop]) -> Shop:
    return make()


@contextlib.contextmanager
def visitors(shop: Shop, count: int = 4) -> Iterator[list[str]]:
    """Uploads on the socket that nginx uses, all along; what they were answered."""
    seen: list[str] = []
    over = threading.Event()
    body = b"x" * 100_000

    def visit() -> None:
        while not over.wait(0.01):
            connection = UnixConnection(shop.layout.current_socket, 30)
            try:
                connection.request("POST", "/", body)
                answer = connection.getresponse()
                seen.append(f"{answer.status} {answer.read().decode()}")
            except (FileNotFoundError, ConnectionRefusedError):
                # Between the end of the old socket and the return of ours; nginx answers with 503 and Retry-After.
                seen.append("unavailable")
            except OSError:
                seen.append("lost")
            finally:
                connection.close()

    threads = [threading.Thread(target=visit) for _ in range(count)]
    for thread in threads:
        thread.start()
    assert wait_for(lambda: len(seen) > count, 10)
    try:
        yield seen
        time.sleep(0.2)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def assert_old_serves(shop: Shop) -> None:
    assert shop.serving == OLD
    assert shop.layout.current_release() == OLD
    assert os.readlink(shop.layout.current_socket) == shop.layout.socket(OLD)
    assert shop.manager.enabled == {OLD}
    assert shop.manager.state("shop", NEW) == "absent"
    left = [name for name in os.listdir(shop.layout.sockets) if name != f"{OLD}.sock"]
    assert left == []


def assert_new_serves(shop: Shop) -> None:
    assert shop.serving == NEW
    assert shop.layout.current_release() == NEW
    assert shop.manager.instances("shop") == [NEW]
    assert shop.manager.enabled == {NEW}
    found = read_manifest(shop.layout, NEW)
    assert found is not None
    assert found.state == GOOD
    assert not os.path.exists(shop.layout.path(".activating"))
    assert os.listdir(shop.layout.sockets) == [f"{NEW}.sock"]


def test_side_by_side_it_could_not_start(shop: Shop) -> None:
    one = switch.Switch(shop.switch().spec | {"stop_first": False}, shop.layout, lambda argv: (0, "", ""), "alice@desk")
    try:
        one.start()
        with pytest.raises(ReleaseError, match="set switch: stop_first"):
            one.finish()
    finally:
        one.close()
    assert shop.serving == OLD


def test_requests_wait_until_the_new_release_serves(shop: Shop) -> None:
    with visitors(shop) as seen:
        result = shop.activate()
        assert wait_for(lambda: f"200 {NEW} 100000" in seen, 30)
    assert_new_serves(shop)
    assert set(seen) - {"unavailable"} == {f"200 {OLD} 100000", f"200 {NEW} 100000"}
    assert seen.count("unavailable") <= len(seen) // 4
    assert 0 < result["without_service"] < 10
    last = shop.history()[-1]
    assert (last["result"], last["without_service"]) == ("live", result["without_service"])


def test_requests_under_way_are_finished_before_the_stop(shop: Shop) -> None:
    slow = UnixConnection(shop.layout.current_socket, 30)
    slow.request("GET", "/slow")
    shop.activate()
    assert slow.getresponse().read().decode() == f"{OLD} 0"
    slow.close()
    assert_new_serves(shop)


@pytest.mark.parametrize("behaviour", ["dies", "500", "dies later"])
def test_a_release_that_fails_gives_way_to_the_old_one(
    shop: Shop, behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if behaviour == "dies later":
        monkeypatch.setattr(probation, "PROBATION", 10)
    shop.manager.behaviour[NEW] = behaviour
    with visitors(shop) as seen, pytest.raises(ReleaseError) as caught:
        shop.activate()
    assert_old_serves(shop)
    message = str(caught.value)
    assert re.search(rf"The release {OLD} serves again, after \d+\.\d seconds without service\.", message)
    assert shop.layout.release(NEW) in message
    bad = read_manifest(shop.layout, NEW)
    assert bad is not None
    assert bad.state == BAD
    last = shop.history()[-1]
    assert last["result"] == "failed"
    assert last["without_service"] > 0
    assert not os.path.exists(shop.layout.path(".activating"))
    if behaviour == "500":
        # It never got a request of a visitor.
        assert set(seen) - {"unavailable"} == {f"200 {OLD} 100000"}


def test_a_process_manager_that_refuses_the_new_release_brings_the_old_one_back(shop: Shop) -> None:
    shop.manager.refuses = "start"
    with pytest.raises(ReleaseError, match=r"no such unit(?s:.)*serves again"):
        shop.activate()
    assert_old_serves(shop)


@pytest.mark.parametrize("place", [(Gate, "await_workers"), (Gate, "await_front"), (commands, "run_as_account")])
def test_a_crash_of_the_run_brings_the_old_release_back(
    shop: Shop, place: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*place, crash)
    ran = ["true"] if place[0] is commands else []
    with pytest.raises(ReleaseError, match=r"No space left on device(?s:.)*serves again"):
        shop.activate(release_commands=ran)
    assert_old_serves(shop)


def test_release_commands_run_while_nothing_runs(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[str] = []

    def command(*arguments: Any) -> subprocess.CompletedProcess[str]:
        states.extend(shop.manager.state("shop", release) for release in (OLD, NEW))
        return subprocess.CompletedProcess([], status, "", "sqlite3.OperationalError: database is locked")

    monkeypatch.setattr(commands, "run_as_account", command)
    status = 1
    with pytest.raises(ReleaseError, match=r"the release command 'migrate' failed(?s:.)*serves again") as caught:
        shop.activate(release_commands=["migrate"])
    assert "a program outside of this application" in str(caught.value)
    assert "running" not in states
    assert_old_serves(shop)
    status = 0
    shop.activate(release_commands=["migrate"])
    assert_new_serves(shop)
    states.clear()
    shop.activate("", switch="rollback", release_commands=["migrate"])
    assert states == [], "a rollback runs no commands"
    assert_old_serves(shop)
    assert hold_in_effect(shop.layout)["release"] == NEW


def test_background_processes_of_the_old_release_stop_too(shop: Shop) -> None:
    worker = {"service": "shop.worker", "stop_timeout": 5, "start_seconds": 0.3, "exclusive": True}
    for identity, state in ((OLD, GOOD), (NEW, BUILT)):
        write_manifest(shop.layout, Manifest(identity, state, {"code": identity}, venv="v", processes=[worker]))
    shop.manager.start("shop.worker", OLD)
    shop.manager.enable("shop.worker", OLD)
    shop.manager.behaviour[NEW] = "500"
    with pytest.raises(ReleaseError):
        shop.activate()
    assert shop.manager.state("shop.worker", OLD) == "running"
    assert shop.manager.enabled == {OLD, f"shop.worker@{OLD}"}
    shop.manager.behaviour[NEW] = "ok"
    shop.activate()
    assert list(shop.manager.parts_running) == [("shop.worker", NEW)]
    assert shop.manager.enabled == {NEW, f"shop.worker@{NEW}"}


def test_a_failed_step_on_the_way_back_does_not_prevent_the_others(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    shop.manager.behaviour[NEW] = "500"
    monkeypatch.setattr(StopFirst, "discard", full)
    with pytest.raises(ReleaseError, match="No space left on device"):
        shop.activate()
    assert shop.serving == OLD
    assert is_unhealthy(shop.layout), "the next run removes the rest"


def test_an_old_release_that_does_not_come_back_is_reported_and_left_to_the_next_run(shop: Shop) -> None:
    shop.manager.behaviour[NEW] = shop.manager.behaviour[OLD] = "dies"
    with pytest.raises(ReleaseError) as caught:
        shop.activate()
    assert f"The release {OLD} was started again, but is not healthy. Look at it now: " in str(caught.value)
    assert is_unhealthy(shop.layout)
    shop.manager.behaviour[OLD] = "ok"
    shop.activate("")
    assert_old_serves(shop)


def test_a_live_release_that_does_not_run_is_started_again(shop: Shop) -> None:
    shop.manager.forget("shop", OLD)
    assert shop.activate("") == {"name": "shop", "release": OLD, "replaced": "", "seconds": SOME}
    assert_old_serves(shop)


STEPS = (
    (links, "atomic_symlink"),
    *((switch, name) for name in ("write_manifest", "prune", "record")),
    *((HeldRequests, name) for name in ("hold", "place", "pass_on")),
)
CALLS = ("start", "enable", "disable", "stop", "forget")


def kill_at(shop: Shop, patch: pytest.MonkeyPatch, moment: int) -> list[str]:
    """End the run after the given step; return the steps that were reached."""
    return end_after(moment, [*STEPS, *((shop.manager, name) for name in CALLS)], patch, Killed)


@pytest.mark.parametrize("fails", [False, True], ids=["healthy", "unhealthy"])
def test_a_run_that_is_killed_anywhere_is_healed(make: Callable[..., Shop], fails: bool) -> None:
    moments = 0
    while True:
        moments += 1
        shop = make()
        # It fails after the links have changed.
        shop.front_status = 500 if fails else 0
        with pytest.MonkeyPatch.context() as patch:
            use(patch, shop)
            patch.setattr(probation, "PROBATION", 0.0)
            patch.setattr(gate, "SECOND_THOUGHT", 0.1)
            reached = kill_at(shop, patch, moments)
            killed = False
            try:
                shop.activate()
            except Killed:
                killed = True
            except ReleaseError:
                assert fails
        if not killed:
            break
        where = f"killed after step {moments} ({reached[-1]}) of {reached}"
        live = shop.layout.current_release()
        assert live in shop.manager.enabled, where
        shop.front_status = 0
        if moments % 3 == 0 and shop.manager.enabled == {live}:
            assert shop.boot() == live, where
        elif moments % 3 == 1 and live == OLD:
            # The inventory was set back to the old release.
            assert is_unhealthy(shop.layout), where
            shop.activate("")
            assert_old_serves(shop)
        _action, candidate, _parts = choose({"code": NEW}, shop.layout.current_release(), manifests(shop.layout))
        shop.activate(candidate or ("" if live == NEW else NEW))
        assert_new_serves(shop)
        shop.close()
    assert moments > 10


@pytest.mark.parametrize("moment", ["hold", "stop", "start", "enable"])
def test_the_next_run_starts_the_live_release_before_it_builds(
    shop: Shop, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        use(patch, shop)
        owner = HeldRequests if moment == "hold" else shop.manager
        step = getattr(owner, moment)

        def last(*arguments: Any, **options: Any) -> None:
            step(*arguments, **options)
            raise Killed

        patch.setattr(owner, moment, last)
        with pytest.raises(Killed):
            shop.activate()
    monkeypatch.setattr(resume, "process_manager", lambda name, run: shop.manager)
    assert resume.resume(shop.layout, lambda argv: (0, "", ""), "bob@desk") == (moment != "hold")
    shop.wait(OLD)
    assert shop.serving == OLD
    assert shop.manager.state("shop", NEW) != "running"
    assert is_unhealthy(shop.layout), "the run completes what was interrupted"
    assert not resume.resume(shop.layout, lambda argv: (0, "", ""), "bob@desk")
    shop.activate()
    assert_new_serves(shop)


# Held requests


@pytest.fixture
def queue(short_path: Path) -> Iterator[HeldRequests]:
    path = str(short_path / "old.sock")
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(path)
    held = HeldRequests(path)
    assert held.hold()
    yield held
    held.close(0)


def serve(path: str, answer: Callable[[socket.socket], None]) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)

    def run() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=answer, args=[connection], daemon=True).start()

    threading.Thread(target=run, daemon=True).start()


def test_a_large_upload_and_a_large_answer_arrive_whole(queue: HeldRequests, short_path: Path) -> None:
    sent = os.urandom(3_000_000)

    def echo(connection: socket.socket) -> None:
        received = bytearray()
        while len(received) < len(sent):
            received += connection.recv(65536)
        connection.sendall(received)
        connection.close()

    visitor = socket.socket(socket.AF_UNIX)
    visitor.settimeout(20)
    visitor.connect(queue.path)
    sender = threading.Thread(target=visitor.sendall, args=[sent])
    sender.start()
    serve(str(short_path / "new.sock"), echo)
    queue.pass_on(str(short_path / "new.sock"))
    received = bytearray()
    while chunk := visitor.recv(65536):
        received += chunk
    sender.join()
    visitor.close()
    assert received == sent


def test_an_answer_before_the_end_of_the_body_arrives(queue: HeldRequests, short_path: Path) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 401 no\r\n\r\n")
        connection.close()

    serve(str(short_path / "new.sock"), refuse)
    queue.pass_on(str(short_path / "new.sock"))
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(10)
        visitor.connect(queue.path)
        visitor.sendall(b"POST / HTTP/1.1\r\n\r\n")
        assert visitor.recv(100).startswith(b"HTTP/1.1 401")


def test_an_answer_arrives_although_the_release_closes_before_it_has_read_the_body(
    queue: HeldRequests, short_path: Path
) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 413 no\r\n\r\n")
        connection.close()

    def send(visitor: socket.socket) -> None:
        with contextlib.suppress(OSError):
            visitor.sendall(bytes(3_000_000))

    serve(str(short_path / "new.sock"), refuse)
    with contextlib.ExitStack() as stack:
        visitors = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(20)]
        for visitor in visitors:
            visitor.settimeout(10)
            visitor.connect(queue.path)
            threading.Thread(target=send, args=[visitor], daemon=True).start()
        queue.pass_on(str(short_path / "new.sock"))
        assert [visitor.recv(100)[:12] for visitor in visitors] == [b"HTTP/1.1 413"] * 20


def test_a_connection_that_both_sides_close_at_once_ends_no_other(queue: HeldRequests) -> None:
    relay = Relay(queue)
    ended, other = ([*socket.socketpair(), *socket.socketpair()] for _ in range(2))
    for _peer, visitor, release, _other_peer in (ended, other):
        visitor.setblocking(False)
        release.setblocking(False)
        passage = Passage(visitor, release)
        relay.passages.add(passage)
        relay.move(passage)
    ended[0].close()
    ended[3].close()
    thread = threading.Thread(target=relay.run)
    thread.start()
    time.sleep(0.1)
    other[0].sendall(b"GET /")
    other[3].settimeout(5)
    assert other[3].recv(10) == b"GET /"
    queue.deadline = time.monotonic()
    thread.join()


def test_applications_that_switch_at_a_time_leave_each_other_files(
    queue: HeldRequests, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_requests, "MOST_OF_ALL", 1)
    serve(str(short_path / "new.sock"), lambda connection: None)
    queue.target = str(short_path / "new.sock")
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(queue.path)
        second.connect(queue.path)
        one, other = Relay(queue), Relay(queue)
        one.accept()
        other.accept()
        assert (len(one.passages), len(other.passages)) == (1, 0)
        one.end(one.passages.pop())
        other.accept()
        assert len(other.passages) == 1
        other.end(other.passages.pop())


def test_a_look_at_the_queue_needs_no_free_file(queue: HeldRequests, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Relay(queue)

    def refuse() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(held_requests.selectors, "DefaultSelector", refuse)
    monkeypatch.setattr(held_requests.selectors, "EpollSelector", refuse)
    assert not relay.is_waiting()
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(queue.path)
        assert relay.is_waiting()


def test_who_waits_stays_in_the_queue_until_a_release_listens(queue: HeldRequests, short_path: Path) -> None:
    path = str(short_path / "late.sock")
    queue.pass_on(path)
    asked: list[str] = []
    visits = [
        threading.Thread(target=lambda: asked.append(ask(Question(unix_socket=queue.path), 20).body)) for _ in range(50)
    ]
    for visit in visits:
        visit.start()
    time.sleep(0.3)
    assert asked == []

    def greet(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        connection.close()

    serve(path, greet)
    for visit in visits:
        visit.join()
    assert asked == ["hello"] * 50


def test_the_queue_is_not_passed_on_to_itself(queue: HeldRequests) -> None:
    queue.pass_on(queue.path)
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(queue.path)
        time.sleep(0.3)
        assert len(os.listdir("/proc/self/fd")) < 100
    assert held_requests.is_answered(queue.path)
