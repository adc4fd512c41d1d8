# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Send HTTP requests to an application, on its unix socket or through the web server, and judge the answers."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.connections import SecureConnection, UnixConnection

# Statuses that are healthy by default: success, a redirect, a request to log in. 404 is not, because an application
# whose routes were never registered answers every request with it.
HEALTHY = (*range(200, 400), 401, 403)


@dataclass(frozen=True)
class Question:
    """One HTTP request: its target, and the client it stands for."""

    path: str = "/"
    host: str = "localhost"
    scheme: str = "http"
    unix_socket: str | None = None
    port: int = 80
    address: str = "127.0.0.1"

    @property
    def tls(self) -> bool:
        """Whether to connect over TLS. On the application's own socket, the scheme only goes into a header."""
        return self.scheme == "https" and self.unix_socket is None

    def __str__(self) -> str:
        where = f"the socket {self.unix_socket}" if self.unix_socket else f"port {self.port} of {self.address}"
        where += " over TLS" if self.tls else ""
        return f"GET {self.path} (Host: {self.host}) on {where}"


@dataclass(frozen=True)
class Answer:
    """The response: a status, or an error in words."""

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
        """Whether the answer redirects to HTTPS."""
        return self.status in range(300, 400) and self.headers.get("location", "").startswith("https://")

    def as_dict(self, names: Iterable[str] = ()) -> dict[str, Any]:
        """The answer as plain data: the headers that checks use and those named, but no body."""
        wanted = ("location", "server", "retry-after", *(name.lower() for name in names))
        headers = {name: self.headers[name] for name in wanted if name in self.headers}
        return {"status": self.status, "error": self.error, "headers": headers}


def ask(question: Question, timeout: float = 5.0) -> Answer:
    """Send one request. Whatever the server does, this returns an answer and raises nothing."""
    if question.unix_socket:
        connection: http.client.HTTPConnection = UnixConnection(question.unix_socket, timeout)
    elif question.tls:
        connection = SecureConnection(question.address, question.port, question.host.partition(":")[0], timeout)
    else:
        connection = http.client.HTTPConnection(question.address, question.port, timeout=timeout)
    headers = {"Host": question.host, "User-Agent": "pyweb-health", "Connection": "close"}
    if question.unix_socket:
        # The headers that nginx would add for a client.
        headers |= {
            "X-Forwarded-Proto": question.scheme,
            "X-Forwarded-For": "127.0.0.1",
            "X-Forwarded-Host": question.host,
        }
    # The connection's own timeout covers one read. A server that sends a byte now and then would never reach it.
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
        return Answer(error="nothing listens there")
    except TimeoutError:
        return Answer(error=f"no answer within {timeout:.1f} seconds")
    except (http.client.HTTPException, OSError, ValueError) as error:
        if hung_up.is_set():
            return Answer(error=f"no answer within {timeout:.1f} seconds")
        return Answer(error=f"the connection broke ({str(error) or type(error).__name__})")
    finally:
        late.cancel()
        connection.close()


def hang_up(connection: http.client.HTTPConnection, hung_up: threading.Event) -> None:
    # Set the event first: the reader checks it to learn why the connection ended.
    hung_up.set()
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def await_turn(path: str, deadline: float) -> None:
    """Wait until the server of a unix socket has accepted every connection that was queued before this call.

    This queues a connection that sends nothing. The server reads its end and closes it.
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
                # The queue is full, so this connection has no place in it yet.
                if time.monotonic() > deadline:
                    return
            except OSError:
                # No server listens, or the deadline has passed.
                return
        time.sleep(0.05)
