# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The messages of the gate: how long a release was really asked, and why that ended."""

from __future__ import annotations

import http.server
import os
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import INHERITS_SOCKETS, Layout
from ansible_collections.pyweb.stack.plugins.module_utils.switching.gate import SECOND_THOUGHT, Gate, Unhealthy


class Manager:
    """A process manager whose process runs."""

    def state(self, _service: str, _instance: str) -> str:
        return "running"

    def restarts(self, _service: str, _instance: str) -> int:
        return 0

    def log(self, _service: str, _instance: str, _lines: int) -> str:
        return "a line"


@contextmanager
def answering(path: str, status: int | Callable[[], int]) -> Iterator[None]:
    """A server on a unix socket that answers every request with one status, or with the one of the moment."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status() if callable(status) else status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_words: object) -> None:
            pass

    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "timeout", "words", "others"),
    [
        (500, 60, "on its own socket after 1.", "within 60 seconds"),
        (400, 60, "on its own socket after 1.", "within 60 seconds"),
        (404, 60, "let it answer 503 until then: health.timeout waits for that", "within"),
        (
            429,
            60,
            "seconds of errors. If it needs longer to warm up, set health.timeout",
            "wrong",
        ),
        (503, 2, "on its own socket within 2 seconds (health.timeout).", "after"),
    ],
)
def test_a_refusal_tells_how_long_the_release_was_asked(
    tmp_path: Path, short_path: Path, status: int, timeout: int, words: str, others: str
) -> None:
    layout = Layout("shop", str(short_path), str(short_path))
    health = {
        "path": "/",
        "host": "h",
        "scheme": "http",
        "status": [],
        "timeout": timeout,
        "error_timeout": min(timeout, 1),
    }
    os.makedirs(layout.release("1"))
    Path(layout.release("1"), INHERITS_SOCKETS).touch()
    os.mkdir(layout.sockets)
    with answering(layout.socket("1"), status), pytest.raises(Unhealthy) as caught:
        Gate({"name": "shop", "health": health}, layout, "1", Manager(), time.monotonic()).await_healthy()  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert others not in str(caught.value)


@pytest.mark.parametrize("status", [500, 501, 429])
def test_a_release_that_warms_up_with_errors_is_waited_for(short_path: Path, status: int) -> None:
    """It answers with an error for longer than a release whose answer does not change may."""
    layout = Layout("shop", str(short_path), str(short_path))
    health = {"path": "/", "host": "h", "scheme": "http", "status": [], "timeout": 20, "error_timeout": 20}
    os.makedirs(layout.release("1"))
    Path(layout.release("1"), INHERITS_SOCKETS).touch()
    os.mkdir(layout.sockets)
    until = time.monotonic() + SECOND_THOUGHT + 0.5
    with answering(layout.socket("1"), lambda: status if time.monotonic() < until else 200):
        Gate({"name": "shop", "health": health}, layout, "1", Manager(), time.monotonic()).await_healthy()  # type: ignore[arg-type]
    assert time.monotonic() > until


def test_the_whole_health_timeout_is_waited_for_where_it_is_set(short_path: Path) -> None:
    layout = Layout("shop", str(short_path), str(short_path))
    health = {"path": "/", "host": "h", "scheme": "http", "status": [], "timeout": 2, "error_timeout": 2}
    os.makedirs(layout.release("1"))
    Path(layout.release("1"), INHERITS_SOCKETS).touch()
    os.mkdir(layout.sockets)
    began = time.monotonic()
    with answering(layout.socket("1"), 500), pytest.raises(Unhealthy, match=r"within 2 seconds \(health.timeout\)"):
        Gate({"name": "shop", "health": health}, layout, "1", Manager(), began).await_healthy()  # type: ignore[arg-type]
    assert time.monotonic() - began >= 2
