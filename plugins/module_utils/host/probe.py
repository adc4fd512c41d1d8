# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Ask an application over HTTP, on its unix socket or through the web server, and judge the answer."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

# What counts as healthy where nothing else is said: an answer, a redirect, a log-in. Not 404: an application whose
# routes were never
# registered gives it for everything.
HEALTHY = (*range(200, 400), 401, 403)


@dataclass(frozen=True)
class Question:
    """One HTTP request: where, and as which visitor."""

    path: str = "/"
    host: str = "localhost"
    scheme: str = "http"
    unix_socket: str | None = None
    port: int = 80
    address: str = "127.0.0.1"

    @property
    def tls(self) -> bool:
        """Whether it is asked over TLS. On the application's own socket the scheme is what nginx would say."""
        return self.scheme == "https" and self.unix_socket is None

    def __str__(self) -> str:
        where = f"the socket {self.unix_socket}" if self.unix_socket else f"port {self.port} of {self.address}"
        where += " over TLS" if self.tls else ""
        return f"GET {self.path} (Host: {self.host}) on {where}"


@dataclass(frozen=True)
class Answer:
    """What came back: a status, or an error in words."""

    status: int | None = None
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    def __str__(self) -> str:
        return f"status {self.status}" if self.status is not None else self.error

    def healthy(self, statuses: list[int]) -> bool:
        return self.status in (statuses or HEALTHY)

    @property
    def leads_to_https(self) -> bool:
        """Whether it is a redirect to a secure address."""
        return self.status in range(300, 400) and self.headers.get("location", "").startswith("https://")

    def told(self, names: Iterable[str] = ()) -> dict[str, Any]:
        """The answer as plain data: of its headers those that conclusions are drawn from, of its body nothing."""
        wanted = ("location", "server", "retry-after", *(name.lower() for name in names))
        headers = {name: self.headers[name] for name in wanted if name in self.headers}
        return {"status": self.status, "error": self.error, "headers": headers}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class SecureConnection(http.client.HTTPConnection):
    """HTTP over TLS. Whose certificate it shows is not the question: nginx_config has seen to that."""

    def __init__(self, address: str, port: int, name: str, timeout: float) -> None:
        super().__init__(address, port, timeout=timeout)
        self._name = name

    def connect(self) -> None:
        super().connect()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock, server_hostname=self._name)


def ask(question: Question, timeout: float = 5.0) -> Answer:
    """Ask once. Never raises for what the other side does."""
    if question.unix_socket:
        connection: http.client.HTTPConnection = UnixConnection(question.unix_socket, timeout)
    elif question.tls:
        connection = SecureConnection(question.address, question.port, question.host.partition(":")[0], timeout)
    else:
        connection = http.client.HTTPConnection(question.address, question.port, timeout=timeout)
    headers = {"Host": question.host, "User-Agent": "pyweb-health", "Connection": "close"}
    if question.unix_socket:
        # What nginx would say of a visitor; through nginx it says so itself.
        headers |= {
            "X-Forwarded-Proto": question.scheme,
            "X-Forwarded-For": "127.0.0.1",
            "X-Forwarded-Host": question.host,
        }
    # The connection's own limit counts from byte to byte: who sends one now and then would never be given up.
    hung_up = threading.Event()
    late = threading.Timer(timeout, hang_up, [connection, hung_up])
    late.daemon = True
    late.start()
    try:
        connection.request("GET", question.path, headers=headers)
        response = connection.getresponse()
        data = response.read(4096)
        if hung_up.is_set() or (response.length and len(data) < 4096):
            raise http.client.IncompleteRead(data)
        body = data.decode(errors="replace")
        return Answer(response.status, headers={key.lower(): value for key, value in response.getheaders()}, body=body)
    except FileNotFoundError:
        return Answer(error="there is no socket")
    except ConnectionRefusedError:
        return Answer(error="nobody listens there")
    except TimeoutError:
        return Answer(error=f"no answer within {timeout:.1f} seconds")
    except (http.client.HTTPException, OSError, ValueError) as error:
        if hung_up.is_set():
            return Answer(error=f"no answer within {timeout:.1f} seconds")
        return Answer(error=f"the connection broke ({error or type(error).__name__})")
    finally:
        late.cancel()
        connection.close()


def hang_up(connection: http.client.HTTPConnection, hung_up: threading.Event) -> None:
    # First: whoever reads from the connection has to know why it ends.
    hung_up.set()
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def await_turn(path: str, deadline: float) -> None:
    """Join the queue of a unix socket, and wait until its server has come to us: it has then accepted all before us.

    Nothing is asked: the server reads the end of the connection, and closes it.
    """
    while True:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                client.connect(path)
                client.shutdown(socket.SHUT_WR)
                client.recv(1)
                return
            except BlockingIOError:
                # The queue is full: not even this finds a place in it.
                if time.monotonic() > deadline:
                    return
            except OSError:
                # Nobody listens, or the time is over.
                return
        time.sleep(0.05)
