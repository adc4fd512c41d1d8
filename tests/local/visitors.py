# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Visitors that send the same request over HTTP/1.1, TLS and HTTP/2, and read the response in the same way."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterable, Iterator

import h2.config
import h2.connection
import h2.events

SECONDS = 30
PIECE = 65_536


def chunks(body: bytes, size: int, trailer: bytes = b"") -> Iterator[bytes]:
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n" + trailer + b"\r\n"


def chunked(body: bytes, size: int, trailer: bytes = b"") -> bytes:
    return b"".join(chunks(body, size, trailer))


def pieces(body: bytes) -> Iterator[bytes]:
    """Views of the parts of a body, so that a large one is not copied."""
    view = memoryview(body)
    for at in range(0, len(body), PIECE):
        yield view[at : at + PIECE]


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def secure(plain: socket.socket, host: str, protocol: str = "http/1.1") -> ssl.SSLSocket:
    """The connection with TLS. Other tests check the certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    wrapped = context.wrap_socket(plain, server_hostname=host)
    assert wrapped.selected_alpn_protocol() == protocol
    return wrapped


class Refused(Exception):
    """nginx ended the connection or the request with an error."""


class Http1:
    """A request over HTTP/1.1, on a connection that is open: plain, with TLS, or to the socket of a server."""

    def __init__(self, connection: socket.socket, method: str, target: str, host: str, headers: Iterable[str]) -> None:
        self.connection = connection
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n")
        self.response = http.client.HTTPResponse(connection, method=method)

    def send(self, body: Iterable[bytes]) -> None:
        """Send the body. A server may close the connection after an early response."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            for piece in body:
                self.connection.sendall(piece)

    def begin(self) -> int:
        self.response.begin()
        return self.response.status

    def headers(self) -> list[tuple[str, str]]:
        return self.response.getheaders()

    def part(self) -> bytes:
        """The next bytes of the response."""
        return self.response.read1(PIECE)

    def rest(self) -> bytes:
        return self.response.read()

    def close(self) -> None:
        self.response.close()
        self.connection.close()


class Http2:
    """A request over HTTP/2. It sends as much as the windows allow, and reads what arrives in between."""

    def __init__(
        self, connection: ssl.SSLSocket, method: str, target: str, host: str, headers: Iterable[str], ends: bool = False
    ) -> None:
        """With ``ends``, the request has no body."""
        self.connection = connection
        # The headers are sent as they are given, except for the letters' case.
        config = h2.config.H2Configuration(header_encoding="utf-8", validate_outbound_headers=False)
        self.state = h2.connection.H2Connection(config)
        self.state.initiate_connection()
        self.state.increment_flow_control_window(2**24)
        self.fields: list[tuple[str, str]] = []
        self.parts: list[bytes] = []
        self.ended = self.reset = False
        first = [(":method", method), (":scheme", "https"), (":authority", host), (":path", target)]
        own = (line.split(": ", 1) for line in headers)
        self.state.send_headers(1, [*first, *((name.lower(), value) for name, value in own)], end_stream=ends)
        self.flush()

    def flush(self) -> None:
        if data := self.state.data_to_send():
            self.connection.sendall(data)

    def send(self, body: Iterable[bytes], trailers: Iterable[tuple[str, str]] = ()) -> None:
        for piece in body:
            left = memoryview(piece)
            while left and not (self.ended or self.reset):
                room = min(self.state.local_flow_control_window(1), self.state.max_outbound_frame_size)
                if room <= 0:
                    self.receive()
                    continue
                self.state.send_data(1, left[:room].tobytes())
                left = left[room:]
                self.flush()
        if self.ended or self.reset:
            return
        if found := list(trailers):
            self.state.send_headers(1, found, end_stream=True)
        else:
            self.state.end_stream(1)
        self.flush()

    def receive(self) -> None:
        data = self.connection.recv(PIECE)
        if not data:
            raise ConnectionResetError("nginx closed the connection")
        for event in self.state.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.fields = [(str(name), str(value)) for name, value in event.headers]
            elif isinstance(event, h2.events.DataReceived):
                self.parts.append(event.data)
                self.state.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = True
            elif isinstance(event, h2.events.StreamReset):
                # NO_ERROR: the response is complete, and the rest of the request is not needed.
                self.check(event.error_code)
                self.reset = True
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.check(event.error_code)
        self.flush()

    @staticmethod
    def check(code: int | None) -> None:
        if code:
            raise Refused(f"nginx ended it with the error {code}")

    def begin(self) -> int:
        while not self.fields:
            self.receive()
        return int(dict(self.fields)[":status"])

    def headers(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.fields if not name.startswith(":")]

    def part(self) -> bytes:
        while not self.parts and not self.ended:
            self.receive()
        return self.parts.pop(0) if self.parts else b""

    def rest(self) -> bytes:
        return b"".join(iter(self.part, b""))

    def close(self) -> None:
        self.connection.close()
