# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The same request and the same answer under every app server, behind our nginx and on the server's own socket.

DIFFERENCES lists the exceptions. docs/guides/servers.md describes those that visitors can notice.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import probes
import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building.entry import entry_module
from nginx_instance import BINARY, free_port, needs_nginx
from serving import GRANIAN, starting
from test_nginx_tls_sites import SecureFront, needs_openssl
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
MEGABYTE = os.urandom(1024 * 1024)


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


FORM = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n\0\xff\r\n--x--\r\n'
PACKED = gzip.compress(b"text " * 1000)
CASES = {
    **{
        f"method {name}": Case(method=name, wanted={"method": name})
        for name in ("GET", "DELETE", "OPTIONS", "PROPFIND")
    },
    "plain path": Case("/echo/a", wanted={"raw": "/shop/echo/a", "path": "/echo/a", "prefix": "/shop", "query": ""}),
    "empty segments": Case("/echo//a///b", wanted={"raw": "/shop/echo//a///b", "path": "/echo//a///b"}),
    "an encoded slash": Case("/echo/a%2Fb", wanted={"raw": "/shop/echo/a%2Fb", "path": "/echo/a/b"}),
    "an encoded percent sign": Case("/echo/a%2541", wanted={"raw": "/shop/echo/a%2541", "path": "/echo/a%41"}),
    "letters beyond ASCII": Case(
        "/echo/gr%C3%BC%C3%9Fe", wanted={"raw": "/shop/echo/gr%C3%BC%C3%9Fe", "path": "/echo/grüße"}
    ),
    "space and plus": Case("/echo/a%20b+c", wanted={"raw": "/shop/echo/a%20b+c", "path": "/echo/a b+c"}),
    "a query": Case("/echo?a=1&b=%20%26&&c=%C3%BC", wanted={"query": "a=1&b=%20%26&&c=%C3%BC", "path": "/echo"}),
    "an empty query": Case("/echo?", wanted={"query": "", "path": "/echo"}),
    "the visitor": Case(wanted={"scheme": "http", "host": HOST, "prefix": PREFIX, "address": "127.0.0.1"}),
    "a header": Case(headers=('X-Tag: a b;c="d"',), wanted={"header x-tag": 'a b;c="d"'}),
    "a repeated header": Case(headers=("X-Tag: a", "X-Tag: b"), wanted={"header x-tag": "a,b"}),
    "cookies": Case(headers=("Cookie: a=1; b=2",), wanted={"header cookie": "a=1; b=2"}),
    "authorization": Case(headers=("Authorization: Basic YTpi",), wanted={"header authorization": "Basic YTpi"}),
    "a header with an underscore": Case(headers=("X_User: evil",), wanted={"header x-user": None}),
    "no body": Case(method="POST", wanted={"size": 0}),
    "a body of 0 bytes": sent(b""),
    "a body of 1 byte": sent(b"x", "Content-Type: text/plain", **{"header content-type": "text/plain"}),
    "a body of 1 MB": sent(MEGABYTE),
    "a body with Expect": sent(MEGABYTE, "Expect: 100-continue"),
    "a packed body": sent(PACKED, "Content-Encoding: gzip", **{"header content-encoding": "gzip"}),
    "a form": sent(
        FORM,
        "Content-Type: multipart/form-data; boundary=x",
        **{"header content-type": "multipart/form-data; boundary=x"},
    ),
    "a chunked body": sent(MEGABYTE, chunk=100_000),
    "a chunked body of 0 bytes": sent(b"", chunk=1),
    "a chunked packed body": sent(PACKED, "Content-Encoding: gzip", chunk=20),
    "a chunked body with trailers": sent(
        MEGABYTE, "TE: trailers", chunk=65_537, trailer="X-Sum: 1", **{"header x-sum": None}
    ),
}

# The cases that every server gets in `make test`, wherever visitors ask.
HARD = ("the visitor", "a repeated header", "cookies", "a form", "a chunked body", "a chunked body with trailers")


def is_sample(stage: str, place: str = "nginx", name: str = "a chunked body", **_others: Any) -> bool:
    """Whether `make test` runs this test. `make test-all` runs all."""
    if place == "nginx" or stage in ("gthread", "uwsgi", "granian-asgi"):
        return True
    return name in HARD


pytestmark = [needs_nginx, needs_openssl, pytest.mark.sampled(by=is_sample)]
NGINX = subprocess.run([BINARY or "false", "-v"], capture_output=True, text=True, check=False).stderr
NGINX_VERSION = tuple(int(number) for number in re.findall(r"\d+", NGINX)[:2])
NOTHING = {"size": 0, "sha": hashlib.sha256(b"").hexdigest()}

# The exceptions, by server, place and case. uWSGI's own HTTP socket is for the health check; visitors don't reach it.
# A header with an underscore does not pass nginx.
DIFFERENCES: dict[tuple[str, str, str], dict[str, Any]] = {
    **{("uwsgi", place, "empty segments"): {"path": "/echo/a/b"} for place in FRONTS},
    **{
        ("uwsgi", place, "a repeated header"): {"header x-tag": "b"} if NGINX_VERSION < (1, 23) else {}
        for place in FRONTS
    },
    ("uwsgi", "socket", "a header with an underscore"): {"header x-user": "evil"},
    ("uwsgi", "socket", "a chunked body"): NOTHING,
    ("uwsgi", "socket", "a chunked packed body"): NOTHING,
    ("uwsgi", "socket", "a chunked body with trailers"): NOTHING,
    # By WSGI, granian passes no path as the visitor sent it: neither RAW_URI nor REQUEST_URI.
    **{
        ("granian", place, name): {"raw": ""}
        for place in PLACES
        for name, case in CASES.items()
        if "raw" in (case.wanted or {})
    },
    ("granian", "socket", "a header with an underscore"): {"header x-user": "evil"},
}


class Stage:
    """One server behind an nginx."""

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


@pytest.fixture(scope="module", params=SERVERS)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, render: Any) -> Iterator[Stage]:
    kind = request.param
    protocol, uwsgi = SERVERS[kind]
    folder = tmp_path_factory.mktemp("stage")
    os.chmod(folder, 0o755)
    Path(folder / "nginx").mkdir()
    front = SecureFront(folder / "nginx", render)
    granian = kind in GRANIAN
    under_gunicorn = protocol == "wsgi" and not uwsgi and not granian
    drain = kind in ("uwsgi", "asgi", "granian-asgi")
    prefix = "" if under_gunicorn else PREFIX
    entry = entry_module("shop:app", protocol, True, prefix, drain, visitor=granian)
    code = probes.WSGI if protocol == "wsgi" else probes.ASGI
    env = {"SCRIPT_NAME": PREFIX} if under_gunicorn else {}
    with starting(folder, render) as serve:
        server = serve(kind, code=code, entry=entry, threads=2, workers=2, env=env)
        upstream = f"uwsgi:unix:{server.folder}/web.uwsgi.sock" if uwsgi else f"unix:{server.socket}"
        site = {"max_body_size": "128m", "locations": [{"path": PREFIX, "upstream": upstream}]}
        tls = {"name": "secure", "port": free_port(), "tls": {"mode": "selfsigned", "port": front.tls_port}}
        front.serve([front.site(**site), front.site(**site, **tls)])
        yield Stage(kind, front, server)
        front.stop()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CASES)
def test_the_application_sees_the_request(stage: Stage, place: str, name: str) -> None:
    case, differs = CASES[name], DIFFERENCES.get((stage.kind, place, name), {})
    status, _headers, body = stage.ask(place, case)
    assert status == 200, body[:500]
    seen = json.loads(body)
    found = {
        key: (seen["headers"].get(key.removeprefix("header ")) or "").replace(", ", ",") or None
        if key.startswith("header ")
        else seen[key]
        for key in case.wanted or {}
    }
    wanted = {**(case.wanted or {}), **differs}
    if place in ("https", "h2") and "scheme" in wanted:
        wanted["scheme"] = "https"
    assert found == wanted


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("count", "size"), [(1, 16_000), (20, 1000)])
def test_large_and_many_cookies_reach_the_visitor(stage: Stage, place: str, count: int, size: int) -> None:
    status, headers, body = stage.ask(place, Case(f"/cookies?{count}x{size}"))
    found = [value for name, value in headers if name.lower() == "set-cookie"]
    assert (status, body) == (200, b"ok")
    assert found == [f"c{number}=" + "v" * size for number in range(count)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_headers_of_the_answer_arrive(stage: Stage, place: str, method: str) -> None:
    status, headers, body = stage.ask(place, Case("/headers", method))
    found = {name.lower(): value for name, value in headers}
    wanted = {"etag": '"v1"', "location": "/shop/a?b=c", "x-own": "1", "content-type": "text/plain"}
    assert (status, body) == (200, b"ok" if method == "GET" else b"")
    assert {name: found.get(name) for name in wanted} == wanted
    assert "Cookie" in found["vary"]
    assert found["content-length"] == "2"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_have_none(stage: Stage, place: str, status: int) -> None:
    seen, headers, body = stage.ask(place, Case(f"/status?{status}"))
    assert (seen, body) == (status, b"")
    assert {name.lower(): value for name, value in headers}.get("etag") == '"v1"'


@pytest.mark.parametrize("place", PLACES)
def test_a_range_arrives(stage: Stage, place: str) -> None:
    status, headers, body = stage.ask(place, Case("/range", headers=("Range: bytes=2-4",)))
    assert (status, body) == (206, b"234")
    assert ("Content-Range", "bytes 2-4/10") in [(name.title(), value) for name, value in headers]


@pytest.mark.parametrize("place", PLACES)
def test_a_stream_arrives_whole(stage: Stage, place: str) -> None:
    status, _headers, body = stage.ask(place, Case("/stream"))
    assert (status, body) == (200, b"".join(b"%d," % number for number in range(1000)))


@pytest.mark.parametrize("place", PLACES)
def test_events_arrive_when_they_are_sent(stage: Stage, place: str) -> None:
    began = time.monotonic()
    visitor = stage.visit(place, Case("/events"))
    assert visitor.begin() == 200
    assert visitor.part() == b"data: 0\n\n"
    assert time.monotonic() - began < 1.5
    assert visitor.rest() == b"data: 1\n\n"
    assert time.monotonic() - began > 1.8
    visitor.close()


@pytest.mark.parametrize("place", FRONTS)
@pytest.mark.parametrize("size", [20_000, 1_000_000])
def test_an_answer_before_the_body_is_read_arrives(stage: Stage, place: str, size: int) -> None:
    case = Case("/early", "POST", body=bytes(size))
    for _ in range(4):
        status, _headers, body = stage.ask(place, case)
        assert (status, body) == (401, b"early")


@pytest.mark.parametrize("place", FRONTS)
@pytest.mark.parametrize("chunk", [0, 1_000_000])
def test_a_body_of_100_megabytes_arrives(stage: Stage, place: str, chunk: int) -> None:
    began = time.monotonic()
    case = sent(MEGABYTE * 100, chunk=chunk)
    status, _headers, body = stage.ask(place, case)
    assert status == 200, body[:500]
    seen = json.loads(body)
    assert {key: seen[key] for key in ("size", "sha")} == case.wanted
    assert time.monotonic() - began < 20
