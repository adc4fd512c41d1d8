# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Request bodies and large headers, through a real nginx to real servers: what arrives, and who answers."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building.entry import entry_module
from nginx_instance import Front, needs_nginx, read_all
from serving import GRANIAN, is_sample_of_kinds
from visitors import chunked

pytestmark = [needs_nginx, pytest.mark.sampled(by=is_sample_of_kinds)]

WSGI = """
import hashlib, os
HOP = ("HTTP_TRANSFER_ENCODING", "HTTP_TE", "HTTP_EXPECT", "HTTP_KEEP_ALIVE", "HTTP_UPGRADE", "HTTP_CONNECTION")

class Rows:
    def __init__(self, rows):
        self.rows = rows
    def __iter__(self):
        return iter(self.rows)
    def close(self):
        with open(os.environ["CLOSED"], "a") as stream:
            stream.write("x")

def body(environ):
    digest, size = hashlib.sha256(), 0
    if "HTTP_TRANSFER_ENCODING" in environ:
        return b"0 chunked"  # as werkzeug, which reads nothing of a body that it can't know the end of
    while chunk := environ["wsgi.input"].read(min(65536, int(environ.get("CONTENT_LENGTH") or 0) - size)):
        digest.update(chunk)
        size += len(chunk)
    left = [name for name in HOP if name in environ and environ[name].lower() != "close"]
    return f"{size} {digest.hexdigest()} {' '.join(left)}".strip().encode()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/store":
        said = body(environ)
        start_response("200 OK", [("Content-Length", str(len(said)))])
        return [said]
    if path == "/cookies":
        start_response("200 OK", [("Set-Cookie", f"c{n}=" + "x" * 3990) for n in range(int(environ["QUERY_STRING"]))])
        return [b"ok"]
    if path == "/fail":
        raise RuntimeError("on purpose")
    if path == "/half":
        environ["wsgi.input"].read(1000)
    if path == "/echo":  # reads while it answers
        start_response("200 OK", [])
        read = lambda: environ["wsgi.input"].read(10000)
        return iter(read, b"")
    if path == "/empty":
        start_response("302 Found", [("Location", "/login")])
        return Rows([])
    if path == "/write":
        start_response("401 Unauthorized", [])(b"log in first")
        return []
    if path == "/file":
        start_response("401 Unauthorized", [])
        return environ.get("wsgi.file_wrapper", lambda file, size=0: file)(open(__file__, "rb"))
    start_response("401 Unauthorized", [("Content-Length", "12")] if path == "/length" else [])
    return Rows([b"log in ", b"first"])
"""

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    headers = [(b"content-length", b"12")]
    if scope["path"] == "/cookies":
        headers += [(b"set-cookie", b"c%d=" % n + b"x" * 3990) for n in range(int(scope["query_string"]))]
    await send({"type": "http.response.start", "status": 200 if scope["method"] == "GET" else 401, "headers": headers})
    await send({"type": "http.response.body", "body": b"log in first"})
"""

WSGI_SERVERS = ("uwsgi", "gthread", "sync", "gevent", "granian")
SERVERS = (*WSGI_SERVERS, "asgi", "uvicorn_worker.UvicornWorker", "granian-asgi")


class Stage:
    def __init__(self, front: Front, server: Any, kind: str, **location: Any) -> None:
        self.front, self.server = front, server
        speaks = f"uwsgi:unix:{server.folder}/web.uwsgi.sock" if kind == "uwsgi" else f"unix:{server.socket}"
        front.serve([front.site(max_body_size="64m", locations=[{"path": "/", "upstream": speaks, **location}])])

    def post(self, path: str, body: bytes, *headers: str, framed: bool = True) -> tuple[int, bytes]:
        """Status and body of the answer; ``framed`` adds the length."""
        length = [f"Content-Length: {len(body)}"] if framed else []
        head = [f"POST {path} HTTP/1.1", "Host: shop.example.com", "Connection: close", *length, *headers]
        with socket.create_connection(("127.0.0.1", self.front.port), timeout=30) as visitor:
            visitor.sendall("\r\n".join(head).encode() + b"\r\n\r\n")
            if "Expect: 100-continue" in headers:
                assert visitor.recv(25).startswith(b"HTTP/1.1 100 ")
            visitor.sendall(body)
            answer = read_all(visitor)
        head_, _, said = answer.partition(b"\r\n\r\n")
        return int(head_.split()[1]), said


@pytest.fixture
def stage(tmp_path: Path, render: Callable[..., Any], serve: Callable[..., Any]) -> Iterator[Callable[..., Stage]]:
    os.chmod(tmp_path, 0o755)
    (tmp_path / "nginx").mkdir()
    front = Front(tmp_path / "nginx", render)

    def begin(kind: str, **location: Any) -> Stage:
        protocol = {"uwsgi": "wsgi", "asgi": "asgi", **GRANIAN}.get(kind)
        own = kind in GRANIAN
        entry = entry_module("shop:app", protocol, False, "", drain=kind != "granian", visitor=own) if protocol else ""
        code = WSGI if kind in WSGI_SERVERS else ASGI
        env = {"CLOSED": str(tmp_path / "closed")}
        return Stage(front, serve(kind, code=code, entry=entry, threads=2, workers=2, env=env), kind, **location)

    yield begin
    front.stop()


@pytest.mark.parametrize("request_buffering", [None, False])
@pytest.mark.parametrize("kind", WSGI_SERVERS)
def test_every_body_that_nginx_accepts_arrives_whole(
    stage: Callable[..., Stage], kind: str, request_buffering: Any
) -> None:
    here = stage(kind, request_buffering=request_buffering)
    hop = ("TE: trailers", "Trailer: X-Sum", "Keep-Alive: timeout=5", "Upgrade: h2c")
    for body in (b"", b"1", os.urandom(9_000), os.urandom(20_000_000)):
        wanted = (200, f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode())
        assert here.post("/store", body, "Content-Encoding: gzip", *hop) == wanted
        assert here.post("/store", body, "Expect: 100-continue") == wanted
        if kind != "uwsgi" and request_buffering is False:
            continue  # the application gets the chunks themselves, as HTTP/1.1 has them
        assert here.post("/store", chunked(body, 100_000), "Transfer-Encoding: chunked", *hop, framed=False) == wanted
        trailed = chunked(body, 65_537, b"X-Sum: 1\r\n")
        assert here.post("/store", trailed, "Transfer-Encoding: chunked", framed=False) == wanted


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("buffering", [None, False])
def test_large_response_headers_pass(stage: Callable[..., Stage], kind: str, buffering: Any) -> None:
    here = stage(kind, buffering=buffering, cache={"valid": 10} if buffering is None else None)
    for count in (1, 4, 8):
        assert here.front.ask(f"/cookies?{count}").status == 200


@pytest.mark.parametrize("kind", WSGI_SERVERS)
def test_every_kind_of_answer_survives_an_unread_body(stage: Callable[..., Stage], tmp_path: Path, kind: str) -> None:
    here = stage(kind)
    failed = here.front.ask("/fail").status  # uWSGI itself closes the connection
    wanted = {"/empty": 302, "/write": 401, "/file": 401, "/half": 401, "/fail": failed, "/other": 401, "/echo": 200}
    for path, status in wanted.items():
        # nginx sends nothing more of a body once it has the headers of the response.
        body = bytes(50_000 if path == "/echo" else 3_000_000)
        for _ in range(4):
            began = time.monotonic()
            answer = here.front.ask(path, "POST", body=body)
            assert time.monotonic() - began < 3, f"{path} held its worker"
            assert answer.status == status, f"{path}\n{here.server.log.read_text()[-3000:]}"
            assert path != "/echo" or answer.body == body
            assert path != "/file" or b"hashlib" in answer.body
    assert here.front.ask("/other", "HEAD", body=body).status == 401
    # The client may have its answer before the server closes the response.
    here.server.wait(lambda: (tmp_path / "closed").read_text() == "x" * 13)


@pytest.mark.parametrize("kind", WSGI_SERVERS)
def test_a_slow_client_does_not_hold_a_worker_that_has_answered(stage: Callable[..., Stage], kind: str) -> None:
    here = stage(kind, request_buffering=False)
    head = b"POST / HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 1000000\r\n\r\n" + bytes(10_000)
    visitors = [socket.create_connection(("127.0.0.1", here.front.port), timeout=10) for _ in range(8)]
    for visitor in visitors:
        visitor.sendall(head)
    began = time.monotonic()
    assert here.front.ask("/").status == 401
    assert time.monotonic() - began < 3
    for visitor in visitors:
        assert visitor.recv(100).startswith(b"HTTP/1.1 401 ")
        visitor.close()


@pytest.mark.parametrize("size", ["8k", "16k", "64k"])
def test_a_site_may_set_its_own_buffer_size(stage: Callable[..., Stage], size: str) -> None:
    here = stage("gthread")
    upstream = f"unix:{here.server.socket}"
    extra = f"proxy_buffer_size {size};\nuwsgi_buffer_size {size};"
    here.front.serve([here.front.site(extra=extra, locations=[{"path": "/", "upstream": upstream}])])
    assert here.front.ask("/cookies?8").status == (200 if size == "64k" else 502)
