# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Helpers for the tests of attacks on a site: raw requests over HTTP/1.1 and HTTP/2, and an application with uwsgi."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass, field

from nginx_instance import read_all


@dataclass
class Response:
    """The response to a raw request: status 0 where nginx closed the connection without a response."""

    status: int
    body: bytes = b""
    head: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode("latin-1")


def http1(port: int, host: str, target: str, *headers: str, source: str = "127.0.0.1", method: str = "GET") -> Response:
    """A request whose target and headers are sent byte by byte as they are."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if not any(line.lower().startswith("connection:") for line in headers):
        lines.append("Connection: close")
    with socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0)) as visitor:
        visitor.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        head, _empty, body = read_all(visitor).partition(b"\r\n\r\n")
    return Response(int(head.split()[1]) if head else 0, body, head)


def http2(port: int, host: str, target: str, *headers: str) -> Response:
    """The same over HTTP/2. Frames are written by hand, because libraries correct a path."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    fields = [(b"\x04", target), (b"\x01", host)]  # :path and :authority, by their index in the static table
    block = b"\x82\x87" + b"".join(index + text(value) for index, value in fields)  # GET, https
    for header in headers:
        name, value = header.split(": ", 1)
        block += b"\x00" + text(name.lower()) + text(value)
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as visitor,
        contextlib.suppress(ConnectionResetError, ssl.SSLError),
    ):
        assert visitor.selected_alpn_protocol() == "h2"
        visitor.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 5, 1, block))
        return answer_of(visitor.makefile("rb"))
    return Response(0)


def text(value: str) -> bytes:
    return length(len(value)) + value.encode("latin-1")


def length(number: int) -> bytes:
    """An integer of HPACK with a prefix of seven bits."""
    if number < 127:
        return bytes([number])
    found, number = b"\x7f", number - 127
    while number >= 128:
        found, number = found + bytes([number % 128 + 128]), number // 128
    return found + bytes([number])


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


# Statuses in the static table of HPACK. nginx writes the others as text.
STATUSES = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}


def answer_of(stream: object) -> Response:
    status, body = 0, b""
    while len(head := stream.read(9)) == 9:  # type: ignore[attr-defined]
        payload = stream.read(int.from_bytes(head[:3], "big"))  # type: ignore[attr-defined]
        kind, flags = head[3], head[4]
        if kind == 1:
            payload = payload[payload[0] == 0x20 :]  # a change of the size of the table
            status = STATUSES.get(payload[0]) or int(payload[2:5])
        elif kind == 0:
            body += payload
        if kind in (3, 7) or (kind in (0, 1) and flags & 1):
            break
    return Response(status, body)


@dataclass
class UwsgiApp:
    """An application that speaks uwsgi, and records the variables of its requests."""

    address: str
    asked: list[dict[str, str]] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nuwsgi"

    def __post_init__(self) -> None:
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.address)
        self.server.listen(64)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self.server.accept()
                with connection, connection.makefile("rb") as stream:
                    data = stream.read(int.from_bytes(stream.read(4)[1:3], "little"))
                    words = []
                    while data:
                        size = int.from_bytes(data[:2], "little")
                        words.append(data[2 : 2 + size].decode("latin-1"))
                        data = data[2 + size :]
                    names = words[::2]
                    assert len(names) == len(set(names)), f"a variable came twice: {names}"
                    self.asked.append(dict(zip(names, words[1::2], strict=True)))
                    connection.sendall(self.answer)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
