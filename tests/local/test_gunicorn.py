# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""gunicorn, run with the settings and the start command that the role renders."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.webapps import FilterModule
from ansible_collections.pyweb.stack.plugins.module_utils.switching.workers import worker_crashes, workers_with

gunicorn_files = FilterModule().filters()["gunicorn_files"]

SERVICE: dict[str, Any] = {
    "name": "shop",
    "directory": "/srv/shop/releases/1",
    "bind": "unix:/run/shop.sock",
    "wsgi_app": "shop:create_app('a b')",
    "program": ["/srv/shop/releases/1/bin/run", "gunicorn"],
}


@pytest.fixture
def files(render: Callable[..., Any]) -> Callable[..., dict[str, dict[str, Any]]]:
    def run(**changes: Any) -> dict[str, dict[str, Any]]:
        return {file["path"]: file for file in render("gunicorn", gunicorn_files([{**SERVICE, **changes}]))}

    return run


CRASHER = """
import os, threading, time

def crash():
    ready = f"ready {os.getpid()} "
    while not os.path.exists("s.ready") or ready not in open("s.ready").read():
        time.sleep(0.02)
    os._exit(1)

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]

try:
    os.mkdir("crashed")  # one worker alone can
    threading.Thread(target=crash, daemon=True).start()
except FileExistsError:
    pass
"""


def test_a_crash_is_told_from_an_orderly_end_by_gunicorn_itself(files: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(CRASHER)
    socket = tmp_path / "s"
    program = [sys.executable, "-m", "gunicorn"]
    rendered = files(
        directory=str(tmp_path), bind=f"unix:{socket}", wsgi_app="app:application", program=program, workers=2
    )
    for path, file in rendered.items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(file["content"])
    told = Path(f"{socket}.ready")
    with subprocess.Popen(["sh", f"{tmp_path}/bin/web"], cwd=tmp_path, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (told.exists() and told.read_text().count("ready") >= 3):
            time.sleep(0.05)
        process.terminate()
        process.wait(20)
    # Three workers started. The first crashed; the others got a signal to stop.
    assert [len(workers_with(told.read_text(), what)) for what in ("ready", "gone", "left")] == [3, 3, 2]
    assert worker_crashes(told.read_text()) == 1


def test_the_start_command_keeps_every_word(files: Callable[..., Any], tmp_path: Path) -> None:
    odd = tmp_path / "it's a $HOME folder"
    odd.mkdir()
    program = odd / "run"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$$" "$@"\n')
    program.chmod(0o755)
    file = files(directory=str(odd), program=[str(program), "a b", "", "*"])[f"{odd}/bin/web"]
    assert file["mode"] == "0755"
    web = tmp_path / "web"
    web.write_text(file["content"])
    web.chmod(0o755)
    process = subprocess.Popen([str(web)], stdout=subprocess.PIPE, text=True)
    said = process.communicate()[0].split("\n")
    # The server replaces the shell, so it receives the process manager's signals.
    assert said == [str(process.pid), "a b", "", "*", "--config", f"{odd}/gunicorn.conf.py", ""]


def test_figures_reach_statsd(serve: Callable[..., Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        server = serve("gthread", threads=2, settings={"statsd_host": address, "statsd_prefix": "shop"})
        server.ask()
        while b"shop.gunicorn.request" not in (figures := listener.recv(4096)):
            assert figures.startswith(b"shop.")


def test_the_access_log_is_off_unless_it_is_wanted(serve: Callable[..., Any]) -> None:
    server = serve("gthread", threads=2)
    server.ask("/quiet")
    assert "/quiet" not in server.log.read_text()
    server = serve("gthread", threads=2, settings={"accesslog": "-"})
    server.ask("/loud")
    server.wait(lambda: "/loud" in server.log.read_text())


def test_hooks_are_named_by_their_function(serve: Callable[..., Any]) -> None:
    code = """
        import sys
        def forked(server, worker):
            print("a worker was forked", file=sys.stderr, flush=True)
        def app(environ, start_response):
            start_response("200 OK", [("Content-Length", "0")])
            return []
    """
    server = serve("sync", code=code, settings={"post_fork": "shop.forked"})
    assert "a worker was forked" in server.log.read_text()


BESIDE = """
    import os, sys
    def show(name, pid, *rest):
        noted = open(os.environ["NOTES"]).read() if os.path.exists(os.environ["NOTES"]) else ""
        print(f"own {name} {pid}", *(f"{what} {pid}" in noted for what in rest), file=sys.stderr, flush=True)
    def begun(worker):
        show("post_worker_init", worker.pid, "ready")
    def left(server, worker):
        show("worker_exit", worker.pid, "left")
    def gone(server, worker):
        show("child_exit", worker.pid, "left", "gone")
    def answered(worker, req):
        show("post_request", worker.pid)
    def app(environ, start_response):
        body = str(os.getpid()).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    def fails(*words):
        raise ValueError("this hook fails")
    def fails_at_start(worker):
        fails()
    def fails_at_exit(server, worker):
        fails()
"""


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_hooks_of_ones_own_are_called_beside_ours(serve: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    hooks = {"post_worker_init": "shop.begun", "worker_exit": "shop.left", "child_exit": "shop.gone"}
    notes = {"NOTES": str(tmp_path / "server-0/web.sock.ready")}
    server = serve(kind, code=BESIDE, settings={**hooks, "post_request": "shop.answered"}, env=notes)
    pid = server.ask()
    server.wait(lambda: f"own post_request {pid}" in server.log.read_text())
    server.process.terminate()
    server.process.wait(10)
    said = [line for line in server.log.read_text().split("\n") if line.startswith("own ")]
    # A worker is ready when their hook has succeeded. Its end is noted before their hooks, which may take their time.
    assert said == [
        f"own post_worker_init {pid} False",
        f"own post_request {pid}",
        f"own worker_exit {pid} True",
        f"own child_exit {pid} True True",
    ]


def test_a_hook_that_fails_at_the_start_stops_the_server(serve: Callable[..., Any]) -> None:
    server = serve("sync", code=BESIDE, settings={"post_worker_init": "shop.fails_at_start"}, wait=False)
    assert server.process.wait(10) == 3, "gunicorn's status for a worker that can't boot"
    assert "this hook fails" in server.log.read_text()
    assert server.ready() == 0


@pytest.mark.parametrize("hook", ["worker_exit", "child_exit"])
def test_a_hook_that_fails_at_the_end_is_reported_by_gunicorn(serve: Callable[..., Any], hook: str) -> None:
    server = serve("sync", code=BESIDE, settings={hook: "shop.fails_at_exit"})
    server.process.terminate()
    server.process.wait(10)
    assert "ValueError: this hook fails" in server.log.read_text()
    assert Path(f"{server.socket}.ready").read_text().count("left") == 1


def test_a_hook_of_the_wrong_shape_is_refused_by_gunicorn(serve: Callable[..., Any]) -> None:
    server = serve("sync", code=BESIDE, settings={"child_exit": "shop.begun"}, wait=False)
    assert server.process.wait(10) == 1
    assert "Value must have an arity of: 2" in server.log.read_text()


def test_a_full_disk_costs_a_note_and_no_worker(serve: Callable[..., Any]) -> None:
    server = serve("sync", wait=False, settings={"pre_fork": "shop.forked"}, code=FULL)
    server.wait(lambda: "This is not noted: ready" in server.log.read_text())
    assert server.ask()["pid"]


FULL = """
    import json, os
    def forked(server, worker):
        os.symlink("/dev/full", "web.sock.ready")
    def app(environ, start_response):
        body = json.dumps({"pid": os.getpid()}).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
"""
