# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The answers of a real nginx to visitors while an application is stopped for a deployment."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.switching.held_requests import HeldRequests
from nginx_instance import Front, needs_nginx

pytestmark = needs_nginx


class Application:
    """A socket that an application has listened on."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)

    def serve(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok") -> None:
        self.socket.listen(64)

        def run() -> None:
            while True:
                connection, _ = self.socket.accept()
                connection.recv(65536)
                if answer:
                    connection.sendall(answer)
                connection.close()

        threading.Thread(target=run, daemon=True).start()


@pytest.fixture
def front(tmp_path: Path, render: Callable[..., Any]) -> Iterator[Front]:
    os.chmod(tmp_path, 0o755)
    (tmp_path / "nginx").mkdir()
    front = Front(tmp_path / "nginx", render)
    yield front
    front.stop()


def location(path: Path, **more: Any) -> dict[str, Any]:
    return {"path": "/", "upstream": f"unix:{path}", "retry_after": 5, **more}


@pytest.mark.parametrize("state", ["refused", "missing", "lost"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_application_that_is_stopped_is_answered_for_with_503(
    front: Front, tmp_path: Path, state: str, method: str
) -> None:
    path = tmp_path / "app.sock"
    if state != "missing":
        application = Application(path)
        if state == "lost":
            application.serve(answer=b"")
    front.serve([front.site(locations=[location(path)])])
    answer = front.ask("/", method=method, body=b"x" * 1000 if method == "POST" else None)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert "try again" in answer.text


def test_an_application_that_is_silent_for_too_long_is_answered_for_with_503(front: Front, tmp_path: Path) -> None:
    application = Application(tmp_path / "app.sock")
    application.socket.listen(8)
    front.serve([front.site(locations=[location(tmp_path / "app.sock", read_timeout=1)])])
    answer = front.ask("/")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


def test_an_answer_of_the_application_itself_stays_as_it_is(front: Front, tmp_path: Path) -> None:
    Application(tmp_path / "app.sock").serve(b"HTTP/1.1 502 mine\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmine")
    front.serve([front.site(locations=[location(tmp_path / "app.sock")])])
    answer = front.ask("/")
    assert (answer.status, answer.text) == (502, "mine")
    assert "retry-after" not in answer.headers


def test_the_page_of_the_site_comes_with_503(front: Front, tmp_path: Path) -> None:
    page = tmp_path / "busy.html"
    page.write_text("come back later")
    page.chmod(0o644)
    pages = [{"status": [502], "page": str(page)}]
    front.serve([front.site(locations=[location(tmp_path / "app.sock")], error_pages=pages)])
    answer = front.ask("/")
    assert (answer.status, answer.headers["retry-after"], answer.text) == (503, "5", "come back later")


def test_requests_wait_through_nginx_until_a_release_serves(front: Front, tmp_path: Path) -> None:
    old, new = tmp_path / "old.sock", tmp_path / "new.sock"
    Application(old)
    held = HeldRequests(str(old))
    assert held.hold()
    front.serve([front.site(locations=[location(old)])])
    seen: list[int] = []
    visits = [
        threading.Thread(target=lambda: seen.append(front.ask("/", method="POST", body=b"x" * 50_000).status))
        for _ in range(5)
    ]
    for visit in visits:
        visit.start()
    visits[0].join(0.5)
    assert seen == []
    Application(new).serve()
    held.pass_on(str(new))
    for visit in visits:
        visit.join()
    held.close(5)
    assert seen == [200] * 5
