# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Ordinary requests and responses through a real nginx to real servers, with the site that the collection plans."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building.entry import entry_module
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from nginx_instance import App, Front, Request, needs_nginx, read_all
from serving import ASGI_KINDS, GRANIAN, WSGI_KINDS, is_sample_of_kinds

pytestmark = [needs_nginx, pytest.mark.sampled(by=is_sample_of_kinds)]

WSGI = """
import time
ROWS = ("text/event-stream", "application/x-ndjson; charset=utf-8")

def app(environ, start_response):
    path = environ["PATH_INFO"]
    tagged = [("Content-Type", "application/json"), ("ETag", '"v1"')]
    if path == "/print":
        print("order", environ["QUERY_STRING"], "came in")
    if path == "/events":
        start_response("200 OK", [("Content-Type", ROWS[int(environ["QUERY_STRING"])])])
        def events():
            for number in range(3):
                yield b"data: %d\\n\\n" % number
                time.sleep(1)
        return events()
    if path == "/tag":
        found = environ.get("HTTP_IF_MATCH")
        status = "200 OK" if found in (None, '"v1"', '"v0", "v1"', "*") else "412 Precondition Failed"
        start_response(status, tagged)
        return [b'{"x": "' + b"long enough" * 200 + b'"}']
    names = ("HTTP_", "X_", "QUERY", "RAW")
    body = repr({key: value for key, value in environ.items() if key.startswith(names)}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

ASGI = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/events":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % number, "more_body": True})
            await asyncio.sleep(1)
        return await send({"type": "http.response.body", "body": b""})
    if scope["path"] == "/print":
        print("order", scope["query_string"].decode(), "came in")
    found = {"HTTP_" + name.decode().upper().replace("-", "_"): value.decode() for name, value in scope["headers"]}
    body = repr({**found, "QUERY_STRING": scope["query_string"].decode()}).encode()
    await send({"type": "http.response.start", "status": 200,
        "headers": [(b"content-length", str(len(body)).encode()), (b"etag", b'"v1"')]})
    await send({"type": "http.response.body", "body": body})
"""

SERVERS = (*WSGI_KINDS, *ASGI_KINDS)


class Stage:
    """An application with its site, as a run plans it: gunicorn's site can also use the uwsgi protocol."""

    def __init__(self, front: Front, server: Any, kind: str, site: dict[str, Any]) -> None:
        self.front, self.server = front, server
        home = front.folder / "apps/shop"
        home.mkdir(parents=True)
        (home / "current.sock").symlink_to(server.socket)
        if kind == "uwsgi":
            (home / "current.uwsgi.sock").symlink_to(server.folder / "web.uwsgi.sock")
            (home / "current.uwsgi").symlink_to("/")
        app = {
            "name": "shop",
            "source": {"path": "x"},
            "wsgi": "a:b",
            "server": "granian" if kind in GRANIAN else "uwsgi" if kind == "uwsgi" else "gunicorn",
            "gunicorn": {} if kind in ("uwsgi", "granian") else {"worker_class": kind.replace("granian-", "")},
            "granian": {"interface": GRANIAN.get(kind, "wsgi")},
            "site": {"port": front.port, **site},
        }
        front.serve(nginx_sites([app], root=f"{front.folder}/apps"))


@pytest.fixture
def stage(short_path: Path, render: Callable[..., Any], serve: Callable[..., Any]) -> Iterator[Callable[..., Stage]]:
    short_path.chmod(0o755)
    front = Front(short_path, render)

    def begin(kind: str, env: Any = None, **site: Any) -> Stage:
        protocol = {"uwsgi": "wsgi", "asgi": "asgi", **GRANIAN}.get(kind)
        drain, visitor = kind != "granian", kind in GRANIAN
        entry = entry_module("shop:app", protocol, False, "", drain, visitor) if protocol else ""
        code = WSGI if kind in WSGI_KINDS else ASGI
        return Stage(front, serve(kind, code=code, entry=entry, threads=2, workers=2, env=env), kind, site)

    yield begin
    front.stop()


@pytest.mark.parametrize("kind", SERVERS)
def test_what_nginx_takes_reaches_the_application(stage: Callable[..., Stage], kind: str) -> None:
    front = stage(kind).front
    for size in (3000, 5000, 7500, 16_000):
        answer = front.ask("/echo?" + "q" * size)
        assert (answer.status, f"'QUERY_STRING': '{'q' * size}'" in answer.text) == (200, True), size
        answer = front.ask("/echo", headers={"Cookie": "c=" + "x" * size})
        assert (answer.status, "x" * size in answer.text) == (200, True), size
    # granian takes 100 headers, and nginx adds some.
    most = 80 if kind in GRANIAN else 200
    many = {f"X-Number-{number}": "x" * 100 for number in range(most)}
    answer = front.ask("/echo", headers=many)
    assert (answer.status, answer.text.count("X_NUMBER")) == (200, most)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_printed_line_is_in_the_log_at_once(stage: Callable[..., Stage], kind: str) -> None:
    here = stage(kind, env={"PYTHONUNBUFFERED": "1"})
    assert here.front.ask("/print?7").status == 200
    here.server.wait(lambda: "order 7 came in" in here.server.log.read_text(), 3)


@pytest.mark.parametrize(("kind", "query"), [*((kind, "0") for kind in SERVERS), ("uwsgi", "1"), ("granian", "1")])
def test_the_first_event_arrives_at_once(stage: Callable[..., Stage], kind: str, query: str) -> None:
    front = stage(kind).front
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as visitor:
        began = time.monotonic()
        visitor.sendall(f"GET /events?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        seen = b""
        while b"data: 0" not in seen:
            piece = visitor.recv(65536)
            assert piece, seen
            seen += piece
        assert time.monotonic() - began < 1, "the first event waited for the others"
        seen += read_all(visitor)
    assert b"data: 2" in seen
    assert b"x-accel" not in seen.lower()


@pytest.mark.parametrize("kind", WSGI_KINDS)
def test_a_tag_that_compression_weakened_matches_again(stage: Callable[..., Stage], kind: str) -> None:
    front = stage(kind).front
    packed = front.ask("/tag", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["etag"] == 'W/"v1"'
    assert gzip.decompress(packed.body).startswith(b'{"x"')
    tags = ('"v1"', 'W/"v1"', 'W/"v0", W/"v1"', '"v0" ,W/"v1"', "*")
    assert [front.ask("/tag", "PUT", headers={"If-Match": tag}).status for tag in tags] == [200] * 5
    assert [front.ask("/tag", "PUT", headers={"If-Match": tag}).status for tag in ('"v2"', 'W/"v2"', "odd")] == [
        412
    ] * 3


@pytest.mark.parametrize("kind", WSGI_KINDS)
def test_without_compression_a_tag_arrives_as_it_was_sent(stage: Callable[..., Stage], kind: str) -> None:
    front = stage(kind, gzip=False).front
    assert front.ask("/tag", "PUT", headers={"If-Match": 'W/"v1"'}).status == 412
    assert "etag" in front.ask("/tag", headers={"Accept-Encoding": "gzip"}).headers


@pytest.mark.parametrize("kind", SERVERS)
def test_a_header_for_the_whole_site_reaches_the_application(stage: Callable[..., Stage], kind: str) -> None:
    extra = "proxy_set_header X-Tenant 'dark blue';\nproxy_set_header X-Remote-User $arg_user;\n"
    own = [{"path": "/own/", "extra": "proxy_set_header X-Tenant green;"}]
    front = stage(kind, extra=extra, locations=own).front
    told = front.ask("/x?user=ann", headers={"X-Tenant": "forged", "X-Remote-User": "forged"}).text
    assert "'HTTP_X_TENANT': 'dark blue'" in told
    assert "'HTTP_X_REMOTE_USER': 'ann'" in told
    assert "forged" not in told
    assert "'HTTP_X_TENANT': 'green'" in front.ask("/own/x").text
    assert "X_REMOTE_USER" not in front.ask("/x", headers={"X-Remote-User": "forged"}).text


@pytest.mark.parametrize("settings", [{"websocket": True}, {"locations": [{"path": "/live/", "websocket": True}]}])
def test_a_websocket_may_be_quiet_for_longer_than_a_request(short_path: Path, render: Any, settings: Any) -> None:
    """The usual time without data is six seconds here."""
    short_path.chmod(0o755)
    front = Front(short_path, render)
    home = short_path / "apps/shop"
    home.mkdir(parents=True)

    def talk(request: Request) -> Iterator[bytes]:
        assert request.headers["Upgrade"] == "websocket"
        yield b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\none"
        time.sleep(7.5)
        yield b"two"

    application = App(str(home / "current.sock"), talk)
    app = {"name": "shop", "source": {"path": "x"}, "wsgi": "a:b", "timeout": 1}
    try:
        front.serve(nginx_sites([{**app, "site": {"port": front.port, **settings}}], root=f"{short_path}/apps"))
        head = "GET /live/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        assert front.raw(head.encode()).endswith(b"onetwo")
    finally:
        application.close()
        front.stop()


@pytest.mark.attack("14.1", "A visitor sends the header in which nginx passes the path of a request to granian")
@pytest.mark.parametrize("kind", WSGI_KINDS)
def test_a_visitor_cannot_forge_the_path_of_a_request(stage: Callable[..., Stage], kind: str) -> None:
    told = stage(kind).front.ask("/x", headers={"X-Pyweb-URI": "/evil"}).text
    assert "evil" not in told


def test_a_variable_for_the_whole_site_reaches_an_application_under_uwsgi(stage: Callable[..., Stage]) -> None:
    front = stage("uwsgi", extra="uwsgi_param X_TENANT blue;").front
    assert "'X_TENANT': 'blue'" in front.ask("/x").text


@pytest.mark.attack("14.3", "A request that does not fit into a packet for uWSGI loses the variables at its end")
def test_a_request_that_is_too_large_for_uwsgi_is_refused_as_a_whole(stage: Callable[..., Stage]) -> None:
    front = stage("uwsgi").front
    seen = set()
    for size in range(15_000, 16_300, 100):
        many = {f"X-{number}": "x" * size for number in range(2)}
        answer = front.ask("/echo?" + "q" * size, headers=many)
        seen.add(answer.status)
        assert answer.status != 200 or ("'QUERY_STRING'" in answer.text and "HTTP_X_1" in answer.text), size
    tiny = {f"x{number}": "" for number in range(7000)}
    seen.add(front.ask("/echo", headers=tiny).status)
    assert seen <= {200, 400, 500}
