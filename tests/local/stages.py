# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An application under one server, behind an nginx that visitors reach over HTTP/1.1, TLS and HTTP/2."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.entry import entry_module
from nginx_instance import free_port
from serving import GRANIAN, starting
from test_nginx_tls_sites import SecureFront
from visitors import Http1, Http2, chunks, connect, pieces, secure

PREFIX, HOST = "/shop", "shop.example.com"
# A further server is one line: its name in tests/local/serving.py, its protocol, and whether it speaks uwsgi to nginx.
SERVERS = {
    "gthread": ("wsgi", False),
    "sync": ("wsgi", False),
    "gevent": ("wsgi", False),
    "asgi": ("asgi", False),
    "uvicorn_worker.UvicornWorker": ("asgi", False),
    "uwsgi": ("wsgi", True),
    "granian": ("wsgi", False),
    "granian-asgi": ("asgi", False),
}
# Where visitors ask. "socket" is the server's own socket, the reference.
FRONTS = ("nginx", "https", "h2")
PLACES = (*FRONTS, "socket")


@dataclass
class Case:
    """A request, and the description of it that the application must give."""

    target: str = "/echo"
    method: str = "GET"
    headers: tuple[str, ...] = ()
    body: bytes | None = None
    wanted: dict[str, Any] | None = None
    chunk: int = 0
    trailer: str = ""


def sent(body: bytes, *headers: str, chunk: int = 0, trailer: str = "", **wanted: Any) -> Case:
    """A POST whose body must arrive whole. With ``chunk``, its length is not known at the start."""
    whole = {"size": len(body), "sha": hashlib.sha256(body).hexdigest(), **wanted}
    return Case("/echo", "POST", headers, body, whole, chunk, trailer)


class Stage:
    """One server behind an nginx. ``buffered``: nginx stores the bodies of requests first. ``data`` is for its test."""

    buffered = True
    data = Path("/nonexistent")

    def __init__(self, kind: str, front: SecureFront, server: Any) -> None:
        self.kind, self.front, self.server = kind, front, server

    def visit(self, place: str, case: Case) -> Http1 | Http2:
        """Send a request, and return the visitor, who may read the response."""
        target, headers = PREFIX + case.target, list(case.headers)
        if case.body is not None and not case.chunk:
            headers.insert(0, f"Content-Length: {len(case.body)}")
        if place == "h2":
            connection = secure(connect(self.front.tls_port), HOST, "h2")
            newer = Http2(connection, case.method, target, HOST, headers, ends=case.body is None)
            if case.body is not None:
                newer.send(pieces(case.body), [tuple(case.trailer.lower().split(": "))] if case.trailer else [])
            return newer
        if place == "socket":  # as nginx sends them
            own = {"For": "127.0.0.1", "Proto": "http", "Host": HOST, "Prefix": PREFIX}
            headers += [f"X-Forwarded-{name}: {value}" for name, value in own.items()]
        if case.chunk:
            headers.insert(0, "Transfer-Encoding: chunked")
        visitor = Http1(self.connect(place), case.method, target, HOST, headers)
        if case.chunk:
            visitor.send(chunks(case.body or b"", case.chunk, f"{case.trailer}\r\n".encode() if case.trailer else b""))
        elif case.body:
            visitor.send(pieces(case.body))
        return visitor

    def connect(self, place: str) -> socket.socket:
        if place != "socket":
            plain = connect(self.front.port if place == "nginx" else self.front.tls_port)
            return plain if place == "nginx" else secure(plain, HOST)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect(self.server.socket)
        return connection

    def ask(self, place: str, case: Case) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body of the answer."""
        visitor = self.visit(place, case)
        try:
            return visitor.begin(), visitor.headers(), visitor.rest()
        finally:
            visitor.close()


@contextlib.contextmanager
def staged(
    folder: Path,
    render: Callable[..., Any],
    kind: str,
    codes: tuple[str, str],
    *,
    settings: dict[str, Any] | None = None,
    env: dict[str, str] | None = None,
    **location: Any,
) -> Iterator[Stage]:
    """The stage of a server, for the WSGI or the ASGI application of ``codes``."""
    protocol, uwsgi = SERVERS[kind]
    (folder / "nginx").mkdir()
    front = SecureFront(folder / "nginx", render)
    granian = kind in GRANIAN
    under_gunicorn = protocol == "wsgi" and not uwsgi and not granian
    drain = kind in ("uwsgi", "asgi", "granian-asgi")
    prefix = "" if under_gunicorn else PREFIX
    entry = entry_module("shop:app", protocol, True, prefix, drain, visitor=granian)
    env = {**(env or {}), **({"SCRIPT_NAME": PREFIX} if under_gunicorn else {})}
    with starting(folder, render) as serve:
        code = codes[protocol == "asgi"]
        server = serve(kind, code=code, entry=entry, threads=2, workers=2, env=env, settings=settings or {})
        upstream = f"uwsgi:unix:{server.folder}/web.uwsgi.sock" if uwsgi else f"unix:{server.socket}"
        site = {"max_body_size": "128m", "locations": [{"path": PREFIX, "upstream": upstream, **location}]}
        tls = {"name": "secure", "port": free_port(), "tls": {"mode": "selfsigned", "port": front.tls_port}}
        front.serve([front.site(**site), front.site(**site, **tls)])
        try:
            yield Stage(kind, front, server)
        finally:
            front.stop()
