# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""uWSGI, run with the options that the role renders."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import ask_uwsgi

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_the_table_is_that_of_the_locked_uwsgi() -> None:
    """After a renewal of the locks: python scripts/uwsgi_options.py"""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import uwsgi_options
    finally:
        sys.path.remove(str(SCRIPTS))
    assert uwsgi_options.table() == uwsgi_options.TABLE.read_text()


def test_an_odd_folder_is_entered(serve: Callable[..., Any], tmp_path: Path) -> None:
    odd = tmp_path / "it's %n 100%"
    odd.mkdir()
    assert serve("uwsgi", chdir=str(odd)).ask()["folder"] == str(odd)


def test_an_unknown_option_does_not_start(serve: Callable[..., Any], tmp_path: Path) -> None:
    more = tmp_path / "more.ini"
    more.write_text("[uwsgi]\nno-such-option = 1\n")
    server = serve("uwsgi", wait=False, settings={"ini": str(more)})
    assert server.process.wait(10) != 0
    assert "no-such-option" in server.log.read_text()


def test_an_application_that_can_not_be_loaded_does_not_serve(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi", wait=False, code="raise RuntimeError('it will not')")
    server.wait(lambda: "it will not" in server.log.read_text())
    time.sleep(0.5)
    assert server.ready() == 0


def test_the_stats_socket_tells_of_every_worker(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi", workers=2)

    def requests() -> list[int]:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server.folder / "web.stats.sock"))
            told = json.loads(b"".join(iter(lambda: client.recv(65536), b"")))
        return sorted(worker["requests"] for worker in told["workers"])

    assert requests() == [0, 0]
    server.ask()
    server.wait(lambda: requests() == [0, 1])  # a worker counts a request after its response


def test_who_speaks_http_is_told_that_the_connection_ends(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi")
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(server.folder / "web.sock"))
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        answer = b"".join(iter(lambda: visitor.recv(65536), b""))
    assert b"\r\nConnection: close\r\n" in answer.partition(b"\r\n\r\n")[0] + b"\r\n"


def test_a_request_that_takes_too_long_costs_its_worker(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi", timeout=1)
    with pytest.raises((OSError, http.client.HTTPException)):
        server.ask("/slow?20")
    server.wait(lambda: server.ready() == 2)
    assert server.ask()["pid"]


def test_the_uwsgi_protocol_is_spoken_on_the_other_socket(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi")
    given = {"PATH_INFO": "/page", "REQUEST_URI": "/page", "REMOTE_ADDR": "192.0.2.7"}
    told = ask_uwsgi(server.folder / "web.uwsgi.sock", given)
    assert told["REMOTE_ADDR"] == "192.0.2.7"
    assert told["PATH_INFO"] == "/page"


def test_workers_tell_their_own_numbers(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi", workers=2, threads=2)
    told = sorted(Path(f"{server.socket}.ready").read_text().split()[1::3])
    # The shell that reported the last worker ends a moment later.
    server.wait(lambda: told == sorted(str(pid) for pid in server.children()))


def test_two_releases_share_the_ports_of_this_machine(serve: Callable[..., Any]) -> None:
    """During a switch, the old and the new release run side by side."""
    first, second, third = (free_port() for _ in range(3))
    given = {
        "socket": f"127.0.0.1:{first}",
        "http-socket": f"127.0.0.1:{second}",
        "stats": f"127.0.0.1:{third}",
        "stats-http": True,
    }
    old = serve("uwsgi", settings=given)
    new = serve("uwsgi", settings=given)
    assert new.ask()["pid"]
    old.process.terminate()
    old.process.wait(10)
    for port in (second, third):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        assert json.loads(connection.getresponse().read())
    with socket.create_connection(("127.0.0.1", first), timeout=10):
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
