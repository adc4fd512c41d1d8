# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Real application servers, started as the roles start them: the behaviour that all of them share."""

from __future__ import annotations

import functools
import http.client
import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building.entry import entry_module
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.processes import DEATH
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import await_turn
from ansible_collections.pyweb.stack.plugins.module_utils.release.worker_notes import summary
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import releases
from serving import ASGI, ASGI_KINDS, BEGUN, GRANIAN, KINDS, WSGI, WSGI_KINDS, ask_uwsgi, is_sample_of_kinds

pytestmark = pytest.mark.sampled(by=is_sample_of_kinds)

CONTAINER = """
class Board:
    def __init__(self):
        self.server, self.inner = app, self

board = Board()

def make(name):
    return Board()
"""

TRICKY = {
    "TOLD_QUOTES": 'it\'s "quoted" \\ `id`',
    "TOLD_SPACES": "  two  spaces  ",
    "TOLD_PERCENT": "100% %i %(x)s %% %n",
    "TOLD_DOLLAR": "$HOME ${HOME} $(id) $$",
    "TOLD_HASH": "# no ; comment",
    "TOLD_LINES": "one\ntwo\n",
    "TOLD_LETTERS": "Grüße, 日本 😀",
    "TOLD_NOTHING": "",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_worker_tells_that_it_is_ready(serve: Callable[..., Any], kind: str) -> None:
    server = serve(kind, workers=3)
    time.sleep(0.3)
    assert server.ready() == 3, "and no more often"
    seen = set()

    def another() -> bool:
        seen.add(server.ask()["pid"])
        return len(seen) > 1

    server.wait(another)


@pytest.mark.parametrize("kind", KINDS)
def test_environment_values_arrive_exactly(serve: Callable[..., Any], kind: str) -> None:
    assert serve(kind, env=TRICKY).ask()["env"] == TRICKY


@pytest.mark.parametrize(("kind", "threads"), [*((kind, 4) for kind in KINDS), ("uwsgi", 1)])
def test_requests_under_way_are_answered_at_a_stop(serve: Callable[..., Any], kind: str, threads: int) -> None:
    server = serve(kind, workers=2, threads=threads, timeout=10)
    concurrent = 2 if kind == "sync" or threads == 1 else 6
    visitors = server.begin_slow(1.5, concurrent)
    with ThreadPoolExecutor(concurrent) as pool:
        answers = pool.map(server.answer, visitors)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert all(json.loads(answer)["pid"] for answer in answers)
    server.process.wait(8)
    assert time.monotonic() - began < 6
    server.wait(lambda: not server.children())
    assert [path.name for path in server.folder.glob("*.sock")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_in_the_queue_is_answered_before_a_stop(serve: Callable[..., Any], kind: str) -> None:
    server = serve(kind, timeout=20)
    visitors = [server.begin("/slow?0.4") for _ in range(5)]
    # The clients read in parallel, because a client that does not read its response blocks a worker.
    with ThreadPoolExecutor(len(visitors)) as pool:
        answers = pool.map(server.answer, visitors)
        await_turn(server.socket, time.monotonic() + 20)
        server.process.send_signal(signal.SIGTERM)
        assert all(json.loads(answer)["pid"] for answer in answers)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_in_the_queue_is_nobody_to_wait_for(serve: Callable[..., Any], kind: str) -> None:
    server = serve(kind)
    told = server.log.read_text()
    began = time.monotonic()
    for path in [server.socket, *([f"{server.folder}/web.uwsgi.sock"] if kind == "uwsgi" else [])]:
        await_turn(path, began + 20)
    await_turn(f"{server.folder}/no.sock", began + 20)
    assert time.monotonic() - began < 3
    assert server.ask()["pid"]
    later = server.log.read_text().removeprefix(told).lower()
    assert not any(word in later for word in ("error", "warn", "invalid")), later


# uWSGI waits on; the process manager ends it.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "uwsgi"])
def test_a_stop_ends_when_the_time_of_the_requests_is_over(serve: Callable[..., Any], kind: str) -> None:
    server = serve(kind, timeout=2)
    (visitor,) = server.begin_slow(30)
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(2 + 5)
    # Its workers were killed as the last thing that it did.
    server.wait(lambda: not server.children())
    with pytest.raises((OSError, http.client.HTTPException)):
        server.answer(visitor)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_worker_is_back_within_a_second(serve: Callable[..., Any], kind: str) -> None:
    server = serve(kind, workers=2)
    victim = server.ask()["pid"]
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    server.wait(lambda: server.ready() == 3, 3)
    took = time.monotonic() - began
    print(f"{kind}: a killed worker was back after {took:.2f} s")
    assert took < 1.5  # one second on an idle machine
    assert server.ask()["pid"]
    assert kind == "uwsgi" or told_deaths(server, kind)["count"] == 1


DYING = """
import os, signal, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/exit":
        os._exit(1)
    if path == "/segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(30)  # another thread may get the signal
    if path in ("/hang", "/wait"):
        time.sleep(30 if path == "/hang" else 0.3)
    body = b'{"pid": %d}' % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def death_server(serve: Callable[..., Any], kind: str, **changes: Any) -> Any:
    entry = entry_module("shop:app", "wsgi", False, "", True) if kind == "uwsgi" else ""
    return serve(kind, code=DYING, entry=entry, **changes)


def told_deaths(server: Any, kind: str) -> Any:
    notes = Path(f"{server.socket}.ready").read_text()
    return summary(notes, kind == "uwsgi", time.time())


@pytest.mark.parametrize("kind", WSGI_KINDS)
@pytest.mark.parametrize("path", ["/exit", "/segfault", "/hang"])
def test_workers_that_die_are_counted(serve: Callable[..., Any], kind: str, path: str) -> None:
    if path == "/hang" and kind in ("gthread", "gevent", "granian"):
        pytest.skip("timeout limits no request there")  # so a request that hangs never costs a worker
    server = death_server(serve, kind, timeout=1 if path == "/hang" else 30)
    for number in range(2):
        with pytest.raises((OSError, http.client.HTTPException, AssertionError)):
            server.ask(path)
        server.wait(lambda number=number: server.ready() >= number + 2)
    server.wait(lambda: told_deaths(server, kind)["count"] == 2)
    assert told_deaths(server, kind)["recent"] == 2
    assert DEATH.search(server.log.read_text())


# granian replaces workers by their age and memory only: see test_granian.py.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in GRANIAN])
def test_workers_that_are_recycled_are_not_counted_as_dead(serve: Callable[..., Any], kind: str) -> None:
    limit = {"max-requests": 2, "min-worker-lifetime": 0} if kind == "uwsgi" else {"max_requests": 2}
    begin = serve if kind in ASGI_KINDS else functools.partial(death_server, serve)
    server = begin(kind, workers=2, settings=limit)
    until = time.monotonic() + 20
    while server.ready() < 6 and time.monotonic() < until:
        server.ask()
        time.sleep(0.1)
    assert server.ready() >= 5
    server.process.terminate()
    server.process.wait(20)
    told = told_deaths(server, kind)
    assert (told["count"], told["recent"]) == (0, 0), Path(f"{server.socket}.ready").read_text()


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            {"cheaper": 1, "cheaper-algo": "spare", "cheaper-overload": 1, "idle": 0},
            id="cheaper",
            marks=pytest.mark.matrix,
        ),
        pytest.param({"max-worker-lifetime": 1, "min-worker-lifetime": 0}, id="lifetime"),
        pytest.param({"reload-on-rss": 1, "min-worker-lifetime": 0}, id="memory", marks=pytest.mark.matrix),
        pytest.param(
            {"lazy-apps": False, "max-worker-lifetime": 1, "min-worker-lifetime": 0},
            id="preforked",
            marks=pytest.mark.matrix,
        ),
        pytest.param(
            {"threads": 4, "max-requests": 10, "min-worker-lifetime": 0}, id="threads", marks=pytest.mark.matrix
        ),
    ],
)
def test_workers_that_uwsgi_ends_itself_are_not_counted_as_dead(serve: Callable[..., Any], settings: Any) -> None:
    threads = {"threads": settings.pop("threads")} if "threads" in settings else {}
    server = death_server(serve, "uwsgi", workers=3, settings=settings, wait=False, **threads)
    server.wait(lambda: server.ready() >= 1)
    until = time.monotonic() + 12
    while time.monotonic() < until:
        if time.monotonic() < until - 8:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda _number: server.ask("/wait"), range(16)))
        time.sleep(0.2)
    notes = Path(f"{server.socket}.ready").read_text()
    assert notes.count("left") >= 1, notes + server.log.read_text()
    assert told_deaths(server, "uwsgi")["count"] == 0, notes + server.log.read_text()


def test_workers_of_uwsgi_with_greenlets_are_not_counted(serve: Callable[..., Any]) -> None:
    """There, uWSGI lets no worker note its orderly end."""
    settings = {"gevent": 10, "max-requests": 5, "min-worker-lifetime": 0}
    server = death_server(serve, "uwsgi", workers=2, settings=settings)
    for _ in range(30):
        server.ask()
    server.wait(lambda: server.ready() > 2)
    assert told_deaths(server, "uwsgi") is None


@pytest.mark.parametrize("kind", ["sync", "uwsgi"])
def test_the_notes_about_workers_stay_short(serve: Callable[..., Any], kind: str) -> None:
    server = death_server(serve, kind)
    notes = Path(f"{server.socket}.ready")
    with notes.open("a") as stream:
        stream.write(f"left 4000001 {int(time.time())}\n" * 20_000)
    os.kill(server.ask()["pid"], signal.SIGKILL)
    server.wait(lambda: notes.stat().st_size < 100_000)
    server.wait(lambda: notes.read_text().count("ready") >= 1)
    assert server.ask()["pid"]


def answered_together(server: Any, count: int) -> int:
    """The number of requests that are answered within one and a half times their own second, of as many at once."""

    def seconds(_number: int) -> float:
        began = time.monotonic()
        server.ask("/slow?1")
        return time.monotonic() - began

    with ThreadPoolExecutor(count) as pool:
        return sum(one < 1.6 for one in pool.map(seconds, range(count)))


@pytest.mark.parametrize(
    ("kind", "workers", "threads", "least"), [("gthread", 5, 4, 15), ("uwsgi", 3, 8, 24), ("granian", 3, 8, 24)]
)
def test_no_request_waits_for_a_busy_worker_beside_an_idle_one(
    serve: Callable[..., Any], kind: str, workers: int, threads: int, least: int
) -> None:
    """A worker of gunicorn accepts one more than it serves. Without a limit, one worker may accept all."""
    server = serve(kind, workers=workers, threads=threads)
    assert answered_together(server, workers * threads) >= least


STREAM = """

plain = app

def app(environ, start_response):
    if environ["PATH_INFO"] != "/stream":
        return plain(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    def events():
        print(BEGUN, file=sys.stderr, flush=True)
        for _ in range(60):
            yield b"data: x"
            time.sleep(0.1)
    return events()
"""


@pytest.mark.parametrize("path", ["/slow?12", "/stream"])
@pytest.mark.parametrize("kind", ["gthread", "uwsgi", "granian"])
def test_slow_requests_leave_the_other_threads_to_others(serve: Callable[..., Any], kind: str, path: str) -> None:
    """The default number of threads is the number of requests that a worker serves at a time."""
    code = WSGI + f"\nBEGUN = {BEGUN!r}" + STREAM
    server = serve(kind, code=code, threads=8)
    slow = [server.begin(path) for _ in range(7)]
    # None of them has ended then, even on a busy machine.
    server.wait(lambda: server.log.read_text().count(BEGUN) >= 7, 10)
    began = time.monotonic()
    for _ in range(20):
        assert server.ask()["pid"]
    assert time.monotonic() - began < 2
    for connection in slow:
        connection.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_master_leaves_no_worker_behind(serve: Callable[..., Any], kind: str) -> None:
    server = serve(kind, workers=2)
    assert len(server.children()) >= 2
    server.process.kill()
    server.process.wait()
    server.wait(lambda: not server.children(), 5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wsgi", ["shop:board.server", "shop:make(name='x').inner.server"])
def test_a_callable_may_be_an_attribute_on_every_server(serve: Callable[..., Any], kind: str, wsgi: str) -> None:
    """As planned for a release: where a server can't read the expression, it gets our module."""
    own = {"granian": {"interface": GRANIAN[kind]}} if kind in GRANIAN else {"gunicorn": {"worker_class": kind}}
    server = "uwsgi" if kind == "uwsgi" else next(iter(own))
    planned = {"name": "shop", "wsgi": wsgi, "source": {"path": "shop"}, "threads": 1, "server": server}
    planned |= {} if kind == "uwsgi" else own
    (release,) = releases([planned], {"init": "systemd", "cpus": 2, "memory_bytes": 2**32, "supervisor": False})
    code = (ASGI if kind in ASGI_KINDS else WSGI) + CONTAINER
    entry = release["entry"]
    server = serve(kind, code=code, entry=entry and entry_module(wsgi, **entry), application="" if entry else wsgi)
    assert server.ask()["pid"]


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_to_the_master_ends_all_within_seconds(serve: Callable[..., Any], kind: str, name: str) -> None:
    """The process manager starts a new master then. Until the old workers have ended, visitors get no answer."""
    if kind == "uwsgi" and name != "TERM":
        pytest.skip("the signals have other meanings for uWSGI")  # they reload it or kill it at once
    # No request goes before: on SIGINT, a gthread worker that still hands one to its threads waits for its own lock
    # until gunicorn kills it after graceful_timeout. The process managers send SIGTERM, which takes no lock.
    server = serve(kind, workers=2, timeout=15)
    began = time.monotonic()
    server.process.send_signal(getattr(signal, f"SIG{name}"))
    server.process.wait(10)
    server.wait(lambda: not server.children())
    assert time.monotonic() - began < 3


def test_gunicorn_knows_the_prefix(serve: Callable[..., Any]) -> None:
    told = serve("gthread", threads=2, env={"SCRIPT_NAME": "/shop"}).ask("/shop/page")
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/shop", "/page")


def test_uwsgi_is_told_the_prefix(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi", entry=entry_module("shop:app", "wsgi", False, "/shop"))
    for path, wanted in (
        ("/shop/page", ("/shop", "/page")),
        ("/shop", ("/shop", "")),
        ("/shop/shop/page", ("/shop", "/shop/page")),
        ("/shopping", ("", "/shopping")),
    ):
        told = server.ask(path)
        assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == wanted
        # By its own protocol the two come apart.
        name, rest = wanted
        told = ask_uwsgi(
            server.folder / "web.uwsgi.sock", {"SCRIPT_NAME": name, "PATH_INFO": rest, "REQUEST_URI": path}
        )
        assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == wanted


@pytest.mark.parametrize("kind", ["gthread", "uwsgi", "granian"])
def test_a_factory_is_called(serve: Callable[..., Any], kind: str) -> None:
    assert serve(kind, application="shop:create_app()").ask()["SERVER_NAME"] == "factory"


VISITOR = {
    "Host": "inner",
    "X-Forwarded-For": "192.0.2.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "shop.example.com",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Prefix": "/shop",
}


@pytest.mark.parametrize("kind", ["gthread", "uwsgi", "granian"])
def test_the_visitor_of_an_application_that_knows_nothing_of_proxies(serve: Callable[..., Any], kind: str) -> None:
    prefix = "" if kind == "gthread" else "/shop"
    entry = entry_module("shop:create_app('x')", "wsgi", True, prefix, visitor=kind in GRANIAN)
    server = serve(kind, entry=entry, env={"SCRIPT_NAME": "/shop"})
    told = server.ask("/shop/page", VISITOR)
    assert told["wsgi.url_scheme"] == "https"
    assert told["HTTP_HOST"] == "shop.example.com"
    assert told["REMOTE_ADDR"] == "192.0.2.7"
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/shop", "/page")


@pytest.mark.parametrize("kind", ASGI_KINDS)
@pytest.mark.parametrize("fixed", [True, False])
def test_the_visitor_of_an_asgi_application(serve: Callable[..., Any], kind: str, fixed: bool) -> None:
    server = serve(kind, entry=entry_module("shop:app", "asgi", fixed, "/shop", visitor=kind in GRANIAN))
    told = server.wait(lambda: server.ask("/shop/page", VISITOR))
    assert (told["root_path"], told["path"]) == ("/shop", "/shop/page")
    # The server sets the scheme from the header, because it trusts every process that can open the socket.
    assert told["scheme"] == "https"
    if fixed:
        assert told["host"] == "shop.example.com"
        assert told["client"] == ["192.0.2.7", 0]
        assert told["server"] == ["shop.example.com", 443]
    else:
        assert told["host"] == "inner"


@pytest.mark.parametrize("kind", WSGI_KINDS)
def test_a_large_body_and_large_headers_pass(serve: Callable[..., Any], kind: str) -> None:
    server = serve(kind)
    body = os.urandom(300_000)
    assert server.ask("/body", {"Cookie": "c" * 8000, "X-More": "m" * 8000}, body) == body


@pytest.mark.attack("low", "A visitor forges the scheme by a header")
def test_another_header_can_not_forge_the_scheme(serve: Callable[..., Any]) -> None:
    server = serve("gthread", threads=2)
    assert server.ask("/", {"X-Forwarded-Ssl": "on", "X-Forwarded-Protocol": "ssl"})["wsgi.url_scheme"] == "http"
    assert server.ask("/", {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"})["wsgi.url_scheme"] == "https"


@pytest.mark.parametrize("kind", ["gthread", "uwsgi"])
def test_every_worker_loads_the_application_unless_it_is_preloaded(
    serve: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    early = {"lazy-apps": False} if kind == "uwsgi" else {"preload_app": True}
    for settings, times in (({}, 3), (early, 1)):
        loaded = tmp_path / f"loaded-{times}"
        serve(kind, workers=3, threads=2, env={"LOADED": str(loaded)}, settings=settings)
        assert loaded.read_text().count("x") == times


@pytest.mark.parametrize("kind", ["gthread", "uwsgi"])
def test_a_worker_is_replaced_after_its_requests(serve: Callable[..., Any], kind: str) -> None:
    settings = {"max-requests": 5, "min-worker-lifetime": 1} if kind == "uwsgi" else {"max_requests": 5}
    server = serve(kind, threads=2, settings=settings)
    seen = set()

    def another() -> bool:
        seen.add(server.ask()["pid"])
        return len(seen) > 1

    server.wait(another)


@pytest.mark.parametrize("arguments", ["worker, req", "worker, req, environ", "worker, req, environ, resp"])
def test_a_hook_of_the_user_after_a_request_still_runs(serve: Callable[..., Any], arguments: str) -> None:
    code = f"""
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"{{}}"]

def after({arguments}):
    print("the hook of the user ran", flush=True)
"""
    server = serve("gthread", code=code, settings={"post_request": "shop.after"})
    server.ask()
    server.wait(lambda: "the hook of the user ran" in server.log.read_text(), 5)
    assert "Exception in post_request hook" not in server.log.read_text()
