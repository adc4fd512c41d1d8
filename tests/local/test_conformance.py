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
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import probes
import pytest
from nginx_instance import BINARY, needs_nginx
from serving import FEW_KINDS
from stages import FRONTS, HOST, PLACES, PREFIX, SERVERS, Case, Stage, sent, staged
from test_nginx_tls_sites import needs_openssl
from visitors import Refused

FORM = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n\0\xff\r\n--x--\r\n'
PACKED = gzip.compress(b"text " * 1000)
MEGABYTE = os.urandom(1024 * 1024)
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


def is_sample(stage: str = "", place: str = "nginx", name: str = "", kind: str = "uwsgi", **_others: Any) -> bool:
    """Whether `make test` runs this test. `make test-all` runs all."""
    if kind not in ("uwsgi", "granian", "gthread"):
        return False
    if stage and stage not in FEW_KINDS:
        return name in HARD and place == "nginx"
    return place == "nginx" or name in HARD


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
    # By WSGI, granian passes only the decoded path. nginx adds the original one.
    ("granian", "socket", "an encoded slash"): {"raw": "/shop/echo/a/b"},
    ("granian", "socket", "a header with an underscore"): {"header x-user": "evil"},
}


@pytest.fixture(scope="module", params=SERVERS)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, render: Any) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    os.chmod(folder, 0o755)
    with staged(folder, render, request.param, (probes.WSGI, probes.ASGI)) as stage:
        yield stage


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CASES)
def test_the_application_sees_the_request(stage: Stage, place: str, name: str) -> None:
    case, differs = CASES[name], DIFFERENCES.get((stage.kind, place, name), {})
    if place == "h2" and case.trailer:
        with pytest.raises(Refused):  # by nginx, as an error of the protocol
            stage.ask(place, case)
        return
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


def is_sample_of_events(stage: str, place: str) -> bool:
    """The others are only in the full matrix, because each takes two seconds. curl reads the events of every server."""
    return place == "nginx" and stage in ("gthread", "uwsgi", "granian-asgi")


@pytest.mark.sampled(by=is_sample_of_events)
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


@pytest.mark.parametrize("kind", SERVERS)
def test_a_body_arrives_whole_without_request_buffering(tmp_path: Path, render: Any, kind: str) -> None:
    """Under uWSGI, nginx stores a body without a length nevertheless, because the protocol has no chunks."""
    tmp_path.chmod(0o755)
    with staged(tmp_path, render, kind, (probes.WSGI, probes.ASGI), request_buffering=False) as stage:
        for place in FRONTS:
            for case in (sent(MEGABYTE), sent(MEGABYTE, chunk=100_000), sent(b"", chunk=1), sent(PACKED, chunk=20)):
                status, _headers, body = stage.ask(place, case)
                assert status == 200, body[:500]
                seen = json.loads(body)
                assert {key: seen[key] for key in ("size", "sha")} == case.wanted, (place, case.chunk)
