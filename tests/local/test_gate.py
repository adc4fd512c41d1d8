# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The messages of the gate: how long a release was really asked, and why that ended."""

from __future__ import annotations

import http.server
import os
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import INHERITS_SOCKETS, Layout
from ansible_collections.pyweb.stack.plugins.module_utils.switching.gate import Gate, Unhealthy


class Manager:
    """A process manager whose process runs."""

    def state(self, _service: str, _instance: str) -> str:
        return "running"

    def restarts(self, _service: str, _instance: str) -> int:
        return 0

    def log(self, _service: str, _instance: str, _lines: int) -> str:
        return "a line"


@contextmanager
def answering(path: str, status: int) -> Iterator[None]:
    """A server on a unix socket that answers every request with one status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
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
        (
            500,
            60,
            "let it answer 503 until then: health.timeout waits for that",
            "within",
        ),
        (503, 2, "on its own socket within 2 seconds (health.timeout).", "after"),
    ],
)
def test_a_refusal_tells_how_long_the_release_was_asked(
    tmp_path: Path, short_path: Path, status: int, timeout: int, words: str, others: str
) -> None:
    layout = Layout("shop", str(short_path), str(short_path))
    health = {"path": "/", "host": "h", "scheme": "http", "status": [], "timeout": timeout}
    os.makedirs(layout.release("1"))
    Path(layout.release("1"), INHERITS_SOCKETS).touch()
    os.mkdir(layout.sockets)
    with answering(layout.socket("1"), status), pytest.raises(Unhealthy) as caught:
        Gate({"name": "shop", "health": health}, layout, "1", Manager(), time.monotonic()).await_healthy()  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert others not in str(caught.value)
