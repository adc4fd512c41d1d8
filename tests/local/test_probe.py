# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Asking an application: every way in which another side can answer, or not, over real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Question, ask

Serve = Callable[[Callable[[socket.socket, bytes], Any]], Question]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A server on a unix socket that treats each connection as the test says."""
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    listeners = []

    def start(behave: Callable[[socket.socket, bytes], Any]) -> Question:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("app.sock")
        listener.listen()
        listeners.append(listener)

        def loop() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    behave(connection, connection.recv(65536))

        threading.Thread(target=loop, daemon=True).start()
        return Question(unix_socket="app.sock", path="/healthz", host="a.org", scheme="https")

    yield start
    for listener in listeners:
        listener.close()


def say(text: str) -> Callable[[socket.socket, bytes], Any]:
    return lambda connection, _request: connection.sendall(text.encode())


def test_an_answer_is_told_with_status_headers_and_body(serve: Serve) -> None:
    answer = ask(serve(say("HTTP/1.1 200 OK\r\nX-Me: 1\r\nContent-Length: 2\r\n\r\nhi")))
    assert (answer.status, answer.headers["x-me"], answer.body, str(answer)) == (200, "1", "hi", "status 200")


def test_the_application_is_asked_as_nginx_would(serve: Serve) -> None:
    seen: list[bytes] = []

    def behave(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    ask(serve(behave))
    text = seen[0].decode()
    assert text.startswith("GET /healthz HTTP/1.1\r\n")
    for line in ("Host: a.org", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.org", "X-Forwarded-For: 127.0.0.1"):
        assert f"\r\n{line}\r\n" in text
    assert text.count("Host: a.org") == 2


@pytest.mark.parametrize(
    ("behave", "timeout", "words"),
    [
        (lambda connection, request: None, 20, "the connection broke"),
        (say("nonsense\r\n\r\n"), 20, "the connection broke"),
        (say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"), 20, "the connection broke"),
        (lambda connection, request: time.sleep(5), 0.5, "no answer within 0.5 seconds"),
    ],
)
def test_no_answer_is_told_in_words(serve: Serve, behave: Any, timeout: float, words: str) -> None:
    answer = ask(serve(behave), timeout=timeout)
    assert answer.status is None
    assert words in str(answer)
    assert not answer.healthy([])


def test_one_that_drips_is_given_up_all_the_same(serve: Serve) -> None:
    def behave(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(50):
            time.sleep(0.1)
            connection.sendall(b"y")

    began = time.monotonic()
    answer = ask(serve(behave), timeout=0.5)
    assert time.monotonic() - began < 2
    assert str(answer) == "no answer within 0.5 seconds"


def test_no_socket_and_nobody_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(ask(Question(unix_socket="app.sock"))) == "there is no socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("app.sock")
    assert str(ask(Question(unix_socket="app.sock"))) == "nothing listens there"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        assert str(ask(Question(port=silent.getsockname()[1]))) == "nothing listens there"


@pytest.mark.parametrize("path", ["/a b", "/ü", "/a\r\nX: y"])
def test_a_path_that_is_none_raises_nothing(serve: Serve, path: str) -> None:
    question = serve(say("HTTP/1.1 200 OK\r\n\r\n"))
    answer = ask(Question(path=path, unix_socket=question.unix_socket), timeout=1)
    assert answer.status is None
