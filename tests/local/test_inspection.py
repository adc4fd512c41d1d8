# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The look at certificates that a real server shows."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.certificates import look_at_certificate
from certificate_factory import Made, make

NAMES = ["shop.example.com", "www.shop.example.com"]

# Certificates


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Callable[[Made], int]]:
    """A server on this machine that shows a certificate to all who come, and its port."""
    with contextlib.ExitStack() as stack:

        def serve(made: Made) -> int:
            path = tmp_path / "served.pem"
            path.write_text(made.certificate + made.key)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=answer, args=(listener, context), daemon=True).start()
            return listener.getsockname()[1]

        yield serve


def answer(listener: socket.socket, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError):
        while True:
            plain, _address = listener.accept()
            with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as visitor:
                visitor.recv(1)


def look(folder: Path, port: int, mode: str = "selfsigned") -> dict[str, Any]:
    return look_at_certificate({"name": "shop", "mode": mode, "names": NAMES, "port": port}, str(folder))


def keep(folder: Path, made: Made) -> None:
    (folder / "shop.pem").write_text(made.certificate + made.key)


def test_a_certificate_on_the_disk_that_is_served(tmp_path: Path, secure: Callable[[Made], int]) -> None:
    made = make(NAMES, days=12.5)
    keep(tmp_path, made)
    found = look(tmp_path, secure(made))
    assert found["disk"] == found["shown"]
    assert (found["disk"]["missing"], found["problem"]) == ([], "")
    assert (found["disk"]["ends"] - time.time()) // 86400 == 12


@pytest.mark.parametrize("expired", [False, True])
def test_another_certificate_that_is_served(tmp_path: Path, secure: Callable[[Made], int], expired: bool) -> None:
    keep(tmp_path, make(NAMES))
    found = look(tmp_path, secure(make(NAMES[:1], expired=expired)))
    assert found["disk"]["fingerprint"] != found["shown"]["fingerprint"]
    assert found["shown"]["names"] == NAMES[:1]
    assert found["shown"]["missing"] == NAMES[1:]
    assert (found["shown"]["ends"] < time.time()) is expired


def test_no_certificate_at_all(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = look(tmp_path, port)
    assert (found["disk"], found["problem"], found["shown"], found["key"]) == ({}, "", {}, {})


def test_a_key_of_another_certificate(tmp_path: Path, secure: Callable[[Made], int]) -> None:
    made = make(NAMES)
    keep(tmp_path, Made(made.certificate, make(NAMES).key))
    found = look(tmp_path, secure(made))
    assert (found["disk"], "its key belongs to another certificate" in found["problem"]) == ({}, True)
    assert found["shown"]["missing"] == []
