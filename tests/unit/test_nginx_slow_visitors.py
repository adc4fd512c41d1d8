# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Thousands of visitors who send a byte now and then, on loopback: the others must not notice."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nginx_instance import App, Front, needs_nginx

pytestmark = needs_nginx

VISITORS = 3000  # of each kind
SECONDS = 12.0  # longer than the 10 s that nginx waits for a request's head, so that some are thrown out
DESCRIPTORS = 20_000

HEAD = b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nX-Slow: "
BODY = b"POST / HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 100000\r\n\r\n"


@pytest.fixture
def front(tmp_path: Path, render: Callable[..., Any]) -> Iterator[Front]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        reason = f"this account may open {hard} files; {DESCRIPTORS} are needed (ulimit -Hn)"
        pytest.skip(reason)  # only root may raise it: Debian's own default is far above, a container's may not be
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    os.chmod(tmp_path, 0o755)
    instance = Front(tmp_path, render)
    yield instance
    instance.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Slow:
    """Visitors of one kind: each sends the begin of a request, then a byte now and then; one thrown out comes again."""

    def __init__(self, port: int, begin: bytes) -> None:
        self.port, self.begin = port, begin
        self.connections = [self.connect() for _ in range(VISITORS)]
        self.thrown_out = 0

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(self.begin)
        connection.setblocking(False)
        return connection

    def byte(self, number: int) -> None:
        try:
            self.connections[number].send(b"x")
            if self.connections[number].recv(4096) == b"":
                raise ConnectionResetError
        except BlockingIOError:
            return
        except OSError:
            self.thrown_out += 1
            self.connections[number].close()
            self.connections[number] = self.connect()

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


def test_three_thousand_slow_heads_and_bodies_stop_nobody(front: Front) -> None:
    app = App(front.socket)
    # As many connections as the limit of open files here allows for; the role's own number is higher.
    front.serve([front.site()], worker_connections=6000, worker_processes="2")
    heads, bodies = Slow(front.port, HEAD), Slow(front.port, BODY)
    with contextlib.closing(app), contextlib.closing(heads), contextlib.closing(bodies):
        begun, times, turn = time.monotonic(), [], 0
        while time.monotonic() < begun + SECONDS:
            for number in range(turn % 40, VISITORS, 40):
                heads.byte(number)
                bodies.byte(number)
            turn += 1
            asked = time.monotonic()
            assert front.ask("/").status == 200
            times.append(time.monotonic() - asked)
        assert heads.thrown_out > VISITORS / 2, "none was thrown out: were they slow at all?"
        assert len(app.asked) == len(times), "a slow body must not keep a worker of the application"
    assert len(times) > 50
    assert max(times) < 1.0, f"somebody waited {max(times):.1f} s"
