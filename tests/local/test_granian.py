# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""granian, run with the start file that the role renders."""

from __future__ import annotations

import http.client
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.webapps import FilterModule
from ansible_collections.pyweb.stack.plugins.module_utils.building.entry import entry_module
from ansible_collections.pyweb.stack.plugins.module_utils.switching.workers import worker_crashes

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

ODD = r"""
import time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/write":
        start_response("200 OK", [])(b"written ")
        return [b"and returned"]
    if path in ("/events", "/chat"):
        if path == "/chat":
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        return events(start_response)
    if path == "/error":
        return broken(start_response)
    return generated(environ, start_response)

def generated(environ, start_response):
    start_response("418 I'm a teapot", [("X-Late", "yes")])
    yield b"late"

def events(start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    for number in range(3):
        yield b"data: %d\n\n" % number
        time.sleep(0.5)

def broken(start_response):
    start_response("200 OK", [])
    try:
        raise ValueError("too late?")
    except ValueError:
        start_response("500 Internal Server Error", [])
    yield b"failed"
"""


def test_the_table_is_that_of_the_locked_granian() -> None:
    """After a renewal of the locks: python scripts/granian_settings.py"""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import granian_settings
    finally:
        sys.path.remove(str(SCRIPTS))
    assert granian_settings.table() == granian_settings.TABLE.read_text()


@pytest.fixture
def odd(serve: Callable[..., Any]) -> Any:
    return serve("granian", code=ODD, entry=entry_module("shop:app", "wsgi", False, "", visitor=True))


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [("/", 418, b"late"), ("/write", 200, b"written and returned"), ("/error", 500, b"failed")],
)
@pytest.mark.parametrize("body", [None, b"x" * 300_000])
def test_an_application_may_do_all_that_wsgi_allows(odd: Any, path: str, status: int, text: bytes, body: Any) -> None:
    connection = odd.begin(path, body=body)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (status, text)
    assert answer.headers["X-Late"] == ("yes" if path == "/" else None)
    connection.close()


@pytest.mark.parametrize(("path", "body"), [("/events", None), ("/chat", b"a question" * 30_000)])
def test_events_arrive_one_by_one(odd: Any, path: str, body: Any) -> None:
    began = time.monotonic()
    connection = odd.begin(path, body=body)
    answer = connection.getresponse()
    first = answer.read1(100)
    took = time.monotonic() - began
    assert first.startswith(b"data: 0")
    assert took < 0.4
    assert (first + answer.read()).count(b"data: ") == 3
    connection.close()


WERKZEUG = """
from werkzeug.wrappers import Request, Response

@Request.application
def app(request):
    if request.path == "/form":
        return Response(",".join(f"{key}={len(value)}" for key, value in sorted(request.form.items())))
    return Response(request.get_data())
"""


@pytest.mark.parametrize("chunked", [False, True])
def test_werkzeug_reads_bodies(serve: Callable[..., Any], chunked: bool) -> None:
    server = serve("granian", code=WERKZEUG, entry=entry_module("shop:app", "wsgi", False, "", visitor=True))
    body = os.urandom(200_000)
    connection = server.begin()
    connection.getresponse().read()
    connection.request("POST", "/", iter([body[:70_000], body[70_000:]]) if chunked else body, encode_chunked=chunked)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, body), server.log.read_text()
    form = b"a=" + b"x" * 100_000 + b"&b=y"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/form", iter([form]) if chunked else form, headers, encode_chunked=chunked)
    assert connection.getresponse().read() == b"a=100000,b=1"
    connection.close()


def test_a_worker_that_crashes_is_counted_and_one_that_is_replaced_is_not(serve: Callable[..., Any]) -> None:
    server = serve("granian", workers=2)
    notes = Path(f"{server.socket}.ready")
    os.kill(server.ask()["pid"], signal.SIGKILL)
    server.wait(lambda: server.ready() == 3)
    server.wait(lambda: worker_crashes(notes.read_text()) == 1)
    # HUP replaces all workers, one after the other.
    server.process.send_signal(signal.SIGHUP)
    server.wait(lambda: server.ready() == 5)
    server.wait(lambda: notes.read_text().count("left ") == 2)
    assert worker_crashes(notes.read_text()) == 1


def test_an_application_that_can_not_be_loaded_does_not_serve(serve: Callable[..., Any]) -> None:
    server = serve("granian", wait=False, code="raise RuntimeError('it will not')")
    assert server.process.wait(15) != 0
    assert "it will not" in server.log.read_text()
    assert server.ready() == 0


def test_an_inherited_socket_is_used_and_left(serve: Callable[..., Any], tmp_path: Path) -> None:
    # Only its files are needed.
    folder = serve("granian", wait=False).folder
    path = tmp_path / "given.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(100)
        # As a process manager does for a service with a socket.
        exec_ = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True)"
        exec_ += "; os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); os.execv(sys.argv[2], sys.argv[2:])"
        start = [sys.executable, "-c", exec_, str(listener.fileno()), str(folder / "bin/web")]
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        process = subprocess.Popen(start, cwd=folder, env=environment, pass_fds=[listener.fileno()])
    try:
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(path))
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200
        assert b"LISTEN" not in answer.read()
    finally:
        process.terminate()
        # A busy machine needs its time.
        assert process.wait(60) == 0
    assert path.is_socket()


def test_no_signal_is_lost(serve: Callable[..., Any]) -> None:
    server = serve("granian", wait=False)
    start = runpy.run_path(str(server.folder / "granian/start.py"))
    stopping = False
    wakeup = start["Wakeup"](lambda: stopping)
    wakeup.set()
    wakeup.wait()
    wakeup.wait()
    old = signal.signal(signal.SIGALRM, lambda *_: wakeup.set())
    try:
        for number in range(100):
            wakeup.clear()
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + number % 50))
            wakeup.wait()
    finally:
        signal.signal(signal.SIGALRM, old)
    # It arrives just before granian clears the earlier ones, to replace a worker.
    stopping = True
    wakeup.clear()
    wakeup.wait()


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_worker_that_loads_the_application_ends_at_once(serve: Callable[..., Any], name: str) -> None:
    loading = "print('loading', flush=True)\nimport time\ntime.sleep(60)\n"
    server = serve("granian", code=loading, workers=2, wait=False)
    server.wait(lambda: server.log.read_text().count("loading") >= 2, 10)
    server.process.send_signal(getattr(signal, f"SIG{name}"))
    server.process.wait(10)
    server.wait(lambda: not server.children())


def test_a_kept_connection_gives_its_place_to_one_that_waits(serve: Callable[..., Any]) -> None:
    server = serve("granian", threads=4)

    def closes(connection: http.client.HTTPConnection) -> bool:
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
        return answer.getheader("Connection") == "close"

    kept = []
    for _ in range(4):
        kept.append(server.begin())
        assert not closes(kept[-1])
    waiting = server.begin()
    time.sleep(0.2)
    kept[0].request("GET", "/")
    assert closes(kept[0])
    assert server.answer(waiting)
    for connection in kept:
        connection.close()


@pytest.mark.parametrize(
    ("threads", "settings", "kept"), [(1, {}, False), (4, {}, True), (1, {"backpressure": 9}, True)]
)
def test_a_worker_with_few_threads_keeps_no_connection(
    serve: Callable[..., Any], threads: int, settings: dict[str, Any], kept: bool
) -> None:
    connection = serve("granian", threads=threads, settings=settings).begin()
    assert (connection.getresponse().getheader("Connection") != "close") is kept
    connection.close()


@pytest.mark.parametrize("inherited", ["", "/opt/lib"])
def test_the_start_command_imports_from_its_folder(tmp_path: Path, render: Callable[..., Any], inherited: str) -> None:
    """As gunicorn and uWSGI do. The start file is in another folder, which Python would import from instead."""
    code, script = tmp_path / "the code", tmp_path / "script" / "show.py"
    for folder in (code, script.parent):
        folder.mkdir()
    (code / "own_shop.py").write_text("")
    script.write_text("import os, own_shop\nprint(own_shop.__file__, os.environ['PYTHONPATH'])\n")
    service = {"name": "shop", "directory": str(tmp_path), "target": "own_shop:app", "bind": "127.0.0.1:8000"}
    service |= {"chdir": str(code), "program": [sys.executable, str(script)]}
    web = tmp_path / "web"
    web.write_text(render("granian", FilterModule().filters()["granian_files"]([service]))[1]["content"])
    environment = {"PATH": os.environ["PATH"], **({"PYTHONPATH": inherited} if inherited else {})}
    shown = subprocess.run(["/bin/sh", str(web)], env=environment, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == f"{code}/own_shop.py {code}{':' if inherited else ''}{inherited}"
