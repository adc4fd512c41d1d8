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
    ready = f"ready {os.getpid()}\\n"
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
