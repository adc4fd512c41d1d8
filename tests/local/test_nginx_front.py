# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Requests to the sites of the role nginx: a real nginx on loopback, with an application behind it."""

from __future__ import annotations

import base64
import contextlib
import grp
import gzip
import json
import os
import re
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.logs.report import Wanted, report
from ansible_collections.pyweb.stack.plugins.module_utils.logs.services import from_files
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import has_ipv6
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from nginx_instance import App, Front, Request, free_port, needs_nginx, ok, read_all

pytestmark = needs_nginx


@pytest.fixture
def front(tmp_path: Path, render: Callable[..., Any]) -> Iterator[Front]:
    os.chmod(tmp_path, 0o755)
    instance = Front(tmp_path, render)
    yield instance
    instance.stop()


@pytest.fixture
def app(front: Front) -> Iterator[App]:
    application = App(front.socket)
    yield application
    application.close()


# --- who is served ------------------------------------------------------------------------------------------------


def test_redirects_keep_path_query_port_and_method(front: Front) -> None:
    front.serve([front.site(redirects=["www.shop.example.com"])])
    answer = front.ask("/p?q=1", host=f"www.shop.example.com:{front.port}")
    assert (answer.status, answer.headers["location"]) == (301, f"http://shop.example.com:{front.port}/p?q=1")
    assert front.ask("/p", "POST", host="www.shop.example.com").status == 308


def test_a_host_that_no_site_names_gets_no_answer(front: Front) -> None:
    front.serve([front.site()])
    assert front.raw(b"GET / HTTP/1.1\r\nHost: unknown.example.com\r\n\r\n") == b""


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1"))],
)
def test_visitors_of_both_families_and_all_domains_are_served(front: Front, app: App, address: str) -> None:
    front.serve([front.site(domains=["shop.example.com", "*.shop.example.net"])])
    for host in ("shop.example.com", "eu.shop.example.net"):
        with socket.create_connection((address, front.port), timeout=10) as visitor:
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert read_all(visitor).startswith(b"HTTP/1.1 200 ")
        told = app.asked[-1].headers
        assert (told["Host"], told["X-Forwarded-For"]) == (host, address)


# --- requests that the application receives -----------------------------------------------------------------------


def test_the_path_arrives_as_the_visitor_sent_it(front: Front, app: App) -> None:
    front.serve([front.site()])
    front.raw(b"GET /a%2Fb//c HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
    assert app.asked[0].line == "GET /a%2Fb//c HTTP/1.1"


def test_what_a_visitor_says_about_himself_does_not_arrive(front: Front, app: App) -> None:
    front.serve([front.site()])
    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/x",
        "X-Forwarded-Ssl": "on",
        "X-Real-IP": "6.6.6.6",
        "X-Request-ID": "forged",
        "Forwarded": "for=6.6.6.6",
        "Proxy": "http://6.6.6.6",
        # WSGI can't distinguish these from the headers above.
        "X_Forwarded_For": "6.6.6.6",
        "X_Real_IP": "6.6.6.6",
    }
    assert front.ask("/", headers=forged).status == 200
    told = app.asked[0].headers
    assert "6.6.6.6" not in str(told)
    assert (told["X-Forwarded-For"], told["X-Real-IP"], told["X-Forwarded-Proto"]) == ("127.0.0.1", "127.0.0.1", "http")
    assert len(told["X-Request-ID"]) == 32
    assert not {"X-Forwarded-Prefix", "X-Forwarded-Ssl", "Forwarded", "Proxy"} & set(told)


def test_a_visitor_without_a_host_gets_the_host_s_own_name(front: Front, app: App) -> None:
    front.serve([front.site(domains=[])])
    front.raw(b"GET / HTTP/1.0\r\n\r\n")
    told = app.asked[0].headers
    assert told["Host"] == told["X-Forwarded-Host"] == socket.gethostname().lower()


def test_the_port_that_the_visitor_used_is_told(front: Front, app: App) -> None:
    front.serve([front.site(domains=[])])
    front.ask("/", host="Visitors.example:8080")
    told = app.asked[0].headers
    assert (told["Host"], told["X-Forwarded-Port"]) == ("visitors.example:8080", "8080")


def test_uwsgi_applications_get_the_prefix_apart_from_the_path(front: Front) -> None:
    port = free_port()
    front.serve([front.site(locations=[{"path": "/shop", "upstream": f"uwsgi://127.0.0.1:{port}"}])])
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(10)
        with socket.create_connection(("127.0.0.1", front.port), timeout=10) as visitor:
            visitor.sendall(
                b"GET /shop/a%20b?q=1 HTTP/1.1\r\nHost: shop.example.com\r\nX-Forwarded-For: 6.6.6.6\r\n"
                b"Forwarded: for=6.6.6.6\r\nConnection: close\r\n\r\n"
            )
            connection, _address = server.accept()
            with connection:
                told = uwsgi_variables(connection)
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            assert b" 204 " in visitor.recv(65536)
    assert (told["SCRIPT_NAME"], told["PATH_INFO"], told["QUERY_STRING"]) == ("/shop", "/a b", "q=1")
    assert (told["HTTP_X_FORWARDED_FOR"], told["REMOTE_ADDR"], told["UWSGI_SCHEME"]) == (
        "127.0.0.1",
        "127.0.0.1",
        "http",
    )
    assert told["HTTP_HOST"] == "shop.example.com"
    assert "HTTP_FORWARDED" not in told


def uwsgi_variables(connection: socket.socket) -> dict[str, str]:
    """The variables of a request in the uwsgi protocol: a header of four bytes, then pairs with their lengths."""
    with connection.makefile("rb") as stream:
        size = int.from_bytes(stream.read(4)[1:3], "little")
        data = stream.read(size)
    words = []
    while data:
        length = int.from_bytes(data[:2], "little")
        words.append(data[2 : 2 + length].decode())
        data = data[2 + length :]
    return dict(zip(words[::2], words[1::2], strict=True))


# --- folders ------------------------------------------------------------------------------------------------------


def test_a_folder_is_served_without_its_dot_files(front: Front) -> None:
    (front.folder / "static/.git").mkdir(parents=True)
    (front.folder / "static/a.css").write_text("css")
    (front.folder / "static/.env").write_text("secret")
    (front.folder / "static/.git/config").write_text("secret")
    folder = {"path": "/static", "alias": str(front.folder / "static"), "immutable": True}
    front.serve([front.site(locations=[folder])])
    answer = front.ask("/static/a.css")
    assert (answer.status, answer.text, answer.headers["server"]) == (200, "css", "nginx")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert front.ask("/static/.env").status == front.ask("/static/.git/config").status == 404


@pytest.fixture
def static(front: Front) -> Path:
    """A folder with a file, and the one of the release before it."""
    for name, files in {"static": {"a.css": "new"}, "before": {"a.css": "old", "b.css": "old b"}}.items():
        (front.folder / name).mkdir()
        for file, text in files.items():
            (front.folder / name / file).write_text(text)
    return front.folder / "static"


def test_files_that_are_no_longer_there_come_from_the_release_before(front: Front, static: Path) -> None:
    (front.folder / "before/.env").write_text("secret")
    folder = {"path": "/static", "alias": str(static), "fallback": [str(front.folder / "before")], "immutable": True}
    front.serve([front.site(locations=[folder])])
    assert [front.ask(f"/static/{name}").text for name in ("a.css", "b.css")] == ["new", "old b"]
    answer = front.ask("/static/b.css")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/css"
    assert [front.ask(f"/static/{name}").status for name in ("c.css", ".env", "")] == [404, 404, 404]


def test_a_file_that_did_not_change_is_not_sent_again(front: Front, static: Path) -> None:
    front.serve([front.site(locations=[{"path": "/static", "alias": str(static)}])])
    answer = front.ask("/static/a.css")
    assert answer.headers["cache-control"] == "no-cache"
    assert front.ask("/static/a.css", headers={"If-None-Match": answer.headers["etag"]}).status == 304


@pytest.mark.parametrize("fallback", [[], ["/nonexistent"]])
def test_compressed_files_are_sent_to_those_who_take_them(front: Front, static: Path, fallback: list[str]) -> None:
    (static / "a.css.gz").write_bytes(gzip.compress(b"compressed before"))
    folder = {"path": "/static", "alias": str(static), "precompressed": True, "fallback": fallback}
    front.serve([front.site(locations=[folder])])
    answer = front.ask("/static/a.css", headers={"Accept-Encoding": "gzip"})
    assert (answer.headers["content-encoding"], gzip.decompress(answer.body)) == ("gzip", b"compressed before")
    assert front.ask("/static/a.css").text == "new"


@pytest.mark.parametrize("fallback", [[], ["/nonexistent"]])
def test_protected_files_are_sent_only_when_the_application_says_so(
    front: Front, static: Path, app: App, fallback: list[str]
) -> None:
    (static / ".env").write_text("secret")
    app.answer = lambda request: ok("", f"X-Accel-Redirect: /private/{request.line.split()[1].rpartition('/')[2]}")
    folder = {"path": "/private", "alias": str(static), "internal": True, "fallback": fallback}
    front.serve([front.site(locations=[*front.site()["locations"], folder])])
    assert (front.ask("/private/a.css").status, front.ask("/private/.env").status) == (404, 404)
    assert (front.ask("/download/a.css").status, front.ask("/download/a.css").text) == (200, "new")
    assert front.ask("/download/.env").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret",
        "/static/%2e%2e/secret",
        "/static/..%2fsecret",
        "/static/%2e%2e%2fsecret",
        "/static../secret",
        "/static/a/../../secret",
        "/static//../secret",
        "/static/..;/secret",
        "/static/%252e%252e/secret",
        "/static/..%5csecret",
        "/static/%c0%ae%c0%ae/secret",
    ],
)
def test_nobody_leaves_a_folder(front: Front, static: Path, path: str) -> None:
    (front.folder / "secret").write_text("secret")
    folders = [
        {"path": "/static", "alias": str(static)},
        {"path": "/other", "alias": str(static), "fallback": [str(static)]},
    ]
    front.serve([front.site(locations=folders)])
    for request in (path, path.replace("/static", "/other")):
        answer = front.raw(f"GET {request} HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n".encode())
        assert answer.split()[1] in (b"400", b"404"), answer
        assert b"secret" not in answer


# --- upstreams ----------------------------------------------------------------------------------------------------


@pytest.fixture
def servers(front: Front) -> Iterator[list[App]]:
    applications = [App(f"{front.folder}/{name}.sock", ok(name)) for name in ("one", "two")]
    yield applications
    for application in applications:
        application.close()


def group(front: Front, *names: str, **keys: Any) -> dict[str, Any]:
    """A site whose requests go to a group of servers."""
    servers = [{"address": f"unix:{front.folder}/{name}.sock", **keys.pop(name, {})} for name in names]
    return front.site(
        upstreams=[{"name": "backend", "servers": servers, **keys}], locations=[{"path": "/", "upstream": "backend"}]
    )


def test_servers_take_turns_by_their_weights(front: Front, servers: list[App]) -> None:
    front.serve([group(front, "one", "two", one={"weight": 3})])
    told = Counter(front.ask("/").text for _ in range(40))
    assert told == {"one": 30, "two": 10}


def test_ip_hash_keeps_a_visitor_at_one_server(front: Front, servers: list[App]) -> None:
    front.serve([group(front, "one", "two", balance="ip_hash")])
    assert len({front.ask("/").text for _ in range(20)}) == 1


def test_least_conn_goes_to_the_server_that_is_free(front: Front, servers: list[App]) -> None:
    free = threading.Event()

    def patient(request: Request) -> bytes:
        free.wait(10)
        return ok("one")

    servers[0].answer = patient
    front.serve([group(front, "one", "two", balance="least_conn")])
    with ThreadPoolExecutor(1) as pool:
        # Whichever server is first, one of the first two requests waits at "one".
        waiting = [pool.submit(front.ask, "/")]
        while not servers[0].asked and not waiting[-1].done():
            time.sleep(0.01)
        if waiting[0].done():
            waiting.append(pool.submit(front.ask, "/"))
            while not servers[0].asked:
                time.sleep(0.01)
        assert {front.ask("/").text for _ in range(6)} == {"two"}
        free.set()


def test_a_server_that_is_away_costs_nobody_an_answer(front: Front, servers: list[App]) -> None:
    front.serve([group(front, "one", "two", "gone")])
    assert {front.ask("/", method).status for method in ("GET", "POST") for _ in range(12)} == {200}


def test_a_server_that_fails_is_left_out_for_a_while(front: Front, servers: list[App]) -> None:
    servers[0].answer = b""  # it closes the connection
    front.serve([group(front, "one", "two", one={"max_fails": 2, "fail_timeout": 60})])
    assert {front.ask("/").text for _ in range(20)} == {"two"}
    assert len(servers[0].asked) == 2


def test_a_server_that_failed_is_asked_again_after_a_while(front: Front, servers: list[App]) -> None:
    servers[0].answer = b""  # it closes the connection
    front.serve([group(front, "one", "two", one={"max_fails": 1, "fail_timeout": 1})])
    assert {front.ask("/").text for _ in range(10)} == {"two"}
    servers[0].answer = ok("one")
    assert wait_for(lambda: front.ask("/").text == "one", 20)


def test_a_post_that_a_server_has_seen_is_never_sent_to_another(front: Front, servers: list[App]) -> None:
    for server in servers:
        server.answer = b""
    front.serve([group(front, "one", "two")])
    assert front.ask("/order", "POST", body="x").status == 502
    assert len(servers[0].asked) + len(servers[1].asked) == 1
    assert front.ask("/order", "GET").status == 502
    assert len(servers[0].asked) + len(servers[1].asked) >= 2


def test_what_a_dying_process_left_unanswered_is_asked_again_where_that_is_safe(front: Front) -> None:
    app = App(f"{front.folder}/app.sock", b"")
    app.answer = lambda _request: b"" if len(app.asked) % 2 else ok("another")
    for site in (
        front.site(locations=[{"path": "/", "upstream": f"unix:{front.folder}/app.sock"}]),
        group(front, "app"),
    ):
        app.asked.clear()
        front.serve([site])
        for _ in range(5):  # and nginx never marks the one server as failed
            assert front.ask("/").text == "another"
        assert len(app.asked) == 10
        assert front.ask("/order", "POST", body="x").status == 502
        assert len(app.asked) == 11
    app.close()


def test_without_retries_nothing_is_sent_twice(front: Front, servers: list[App]) -> None:
    for server in servers:
        server.answer = b""
    front.serve([group(front, "one", "two", retries=False)])
    assert front.ask("/").status == 502
    assert len(servers[0].asked) + len(servers[1].asked) == 1


def test_a_backup_is_asked_when_all_others_are_away(front: Front, servers: list[App]) -> None:
    front.serve([group(front, "one", "two", two={"backup": True})])
    assert {front.ask("/").text for _ in range(6)} == {"one"}
    servers[0].close()
    os.unlink(front.folder / "one.sock")
    assert {front.ask("/").text for _ in range(6)} == {"two"}


def test_connections_to_a_server_are_kept(front: Front) -> None:
    app = App(f"{front.folder}/one.sock", keep=True)
    front.serve(
        [group(front, "one", keepalive=4), {**group(front, "one"), "name": "other", "domains": ["other.example.com"]}]
    )
    for _ in range(10):
        assert front.ask("/").status == 200
    assert app.connections <= 2, "one for each worker"
    for _ in range(10):
        assert front.ask("/", host="other.example.com").status == 200
    assert app.connections >= 11
    app.close()


# --- bodies, buffers and times ------------------------------------------------------------------------------------


def test_the_size_of_a_body_is_limited_where_it_is_said(front: Front, app: App) -> None:
    up = {"upstream": f"unix:{front.socket}"}
    front.serve(
        [front.site(max_body_size="1k", locations=[{"path": "/", **up}, {"path": "/up", "max_body_size": "8k", **up}])]
    )
    body = b"x" * 4000
    assert (front.ask("/", "POST", body=body).status, front.ask("/up", "POST", body=body).status) == (413, 200)
    assert len(app.asked) == 1


def test_an_upload_reaches_the_application_at_once_only_where_it_is_said(front: Front, app: App) -> None:
    up = {"upstream": f"unix:{front.socket}"}
    front.serve([front.site(locations=[{"path": "/", **up}, {"path": "/up", "request_buffering": False, **up}])])
    for path, seen in (("/up", True), ("/", False)):
        app.begun.clear()
        with socket.create_connection(("127.0.0.1", front.port), timeout=10) as visitor:
            head = f"POST {path} HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 10\r\nConnection: close\r\n\r\n"
            visitor.sendall(head.encode() + b"12345")
            assert app.begun.wait(5 if seen else 0.3) == seen, path
            visitor.sendall(b"67890")
            assert b" 200 " in read_all(visitor)


def test_events_arrive_as_they_happen(front: Front, app: App) -> None:
    go = threading.Event()

    def events(request: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        yield b"data: one\n\n"
        go.wait(10)
        yield b"data: two\n\n"

    app.answer = events
    front.serve([front.site(locations=[{"path": "/", "upstream": f"unix:{front.socket}", "buffering": False}])])
    with socket.create_connection(("127.0.0.1", front.port), timeout=5) as visitor:
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
        seen = b""
        while b"data: one" not in seen:
            seen += visitor.recv(65536)
        assert b"data: two" not in seen
        go.set()
        assert b"data: two" in read_all(visitor)


def test_a_websocket_is_opened_only_where_it_is_said(front: Front, app: App) -> None:
    app.answer = lambda request: (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello"
        if request.headers.get("Upgrade") == "websocket"
        else ok("no")
    )
    up = {"upstream": f"unix:{front.socket}"}
    front.serve([front.site(locations=[{"path": "/", **up}, {"path": "/ws", "websocket": True, **up}])])
    head = "GET {} HTTP/1.1\r\nHost: shop.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    with socket.create_connection(("127.0.0.1", front.port), timeout=5) as visitor:
        visitor.sendall(head.format("/ws").encode())
        answer = read_all(visitor)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b"hello")
    assert front.ask("/", headers={"Upgrade": "websocket", "Connection": "Upgrade"}).text == "no"
    assert front.ask("/ws").text == "no"


def test_a_websocket_carries_frames_both_ways_for_as_long_as_it_is_open(front: Front) -> None:
    """The handshake and the frames of RFC 6455; the application echoes the data without the mask."""

    def echo(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while stream.readline() != b"\r\n":
                pass
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            )
            while (head := stream.read(2))[:1] == b"\x81":
                mask, data = stream.read(4), stream.read(head[1] & 0x7F)
                text = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
                connection.sendall(bytes([0x81, len(text)]) + text)

    location = {"path": "/", "upstream": f"unix:{front.socket}", "websocket": True, "read_timeout": 3}
    front.serve([front.site(locations=[location])])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(front.socket)
        os.chmod(front.socket, 0o666)
        server.listen()
        threading.Thread(target=lambda: echo(server.accept()[0]), daemon=True).start()
        with (
            socket.create_connection(("127.0.0.1", front.port), timeout=5) as visitor,
            visitor.makefile("rb") as stream,
        ):
            visitor.sendall(
                b"GET /ws HTTP/1.1\r\nHost: shop.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            head = b"".join(iter(stream.readline, b"\r\n"))
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
            # Together they take longer than the time-out, which counts only the time without data.
            for pause, text in ((0, b"one"), (1.2, b"two"), (1.2, b"three"), (1.2, b"four")):
                time.sleep(pause)
                mask = os.urandom(4)
                masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
                visitor.sendall(bytes([0x81, 0x80 | len(text)]) + mask + masked)
                assert stream.read(2 + len(text)) == bytes([0x81, len(text)]) + text


@pytest.mark.parametrize(("size", "done"), [("64k", False), (None, True)])
def test_what_a_slow_reader_leaves_is_written_to_disk_only_as_far_as_it_is_said(
    front: Front, app: App, size: str | None, done: bool
) -> None:
    pieces, sent = 300, []  # of 100 kB each: more than all sockets between hold

    def big(request: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (pieces * 100_000)
        for number in range(pieces):
            yield b"x" * 100_000
            sent.append(number)

    app.answer = big
    keys = {} if size is None else {"max_temp_file_size": size}
    front.serve([front.site(locations=[{"path": "/", "upstream": f"unix:{front.socket}", **keys}])])
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as visitor:
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
        assert wait_for(lambda: len(sent) == pieces, 60 if done else 1) is done
        assert len(read_all(visitor)) > pieces * 100_000, "and it gets all of it in the end"


def test_an_application_that_is_silent_too_long_gives_a_504(front: Front, app: App) -> None:
    app.answer = lambda request: time.sleep(3) or ok("late")  # type: ignore[func-returns-value]
    front.serve([front.site(locations=[{"path": "/", "upstream": f"unix:{front.socket}", "read_timeout": 1}])])
    assert front.ask("/").status == 504


def test_an_application_that_takes_no_connection_in_time_gives_a_504(front: Front) -> None:
    with contextlib.ExitStack() as stack:
        # A queue that holds one connection, and is full: the kernel does not answer the next one.
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = server.getsockname()
        stack.enter_context(socket.create_connection(address))
        up = {"path": "/", "upstream": f"http://127.0.0.1:{address[1]}", "connect_timeout": 1}
        front.serve([front.site(locations=[up])])
        begun = time.monotonic()
        assert front.ask("/").status == 504
        assert time.monotonic() - begun < 5


def test_a_visitor_who_does_not_finish_his_request_is_let_go(front: Front, app: App) -> None:
    front.serve([front.site()])
    head = b"POST / HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 9\r\n"
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", front.port)
        visitors = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(2)]
        for visitor, sent in zip(visitors, (head, head + b"\r\nhalf"), strict=True):
            visitor.sendall(sent)
        assert [read_all(visitor) for visitor in visitors] == [b"", b""]
    assert 9 < time.monotonic() - begun < 15
    assert not app.asked


# --- who may ----------------------------------------------------------------------------------------------------


HASH = "$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g."
ALICE = {"Authorization": "Basic " + base64.b64encode(b"alice:password").decode()}


def test_a_password_is_asked_for_but_where_it_is_not(front: Front, app: App) -> None:
    up = {"upstream": f"unix:{front.socket}"}
    locations = [{"path": "/", **up}, {"path": "/open", "basic_auth": {"users": {}}, **up}]
    auth = {"realm": "Staff only", "users": {"alice": HASH}}
    front.serve([front.site(basic_auth=auth, locations=locations)])
    answer = front.ask("/")
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="Staff only"')
    assert (front.ask("/", headers=ALICE).status, front.ask("/open").status) == (200, 200)
    (file,) = (front.conf / "pyweb/current/secrets").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert grp.getgrgid(file.stat().st_gid).gr_name == "www-data"
    assert app.asked[0].headers["Authorization"] == ALICE["Authorization"]


def test_no_diff_shows_a_hash(front: Front) -> None:
    auth = {"users": {"alice": HASH}}
    first = front.serve([front.site(basic_auth=auth)])
    second = front.serve([front.site(basic_auth={"users": {"bob": HASH}})])
    third = front.serve([front.site()])
    for outcome in (first, second, third):
        assert any("secrets/" in diff["after_header"] for diff in outcome["diff"])
        assert "$6$" not in str(outcome)


def test_addresses_are_let_in_or_kept_out(front: Front, app: App) -> None:
    up = {"upstream": f"unix:{front.socket}"}
    locations = [{"path": "/", **up}, {"path": "/open", "allow": ["all"], **up}]
    front.serve([front.site(allow=["127.0.0.0/8"], deny=["127.0.0.3"], locations=locations)])
    assert [front.ask("/", source=f"127.0.0.{last}").status for last in (2, 3)] == [200, 403]
    assert front.ask("/open", source="127.0.0.3").status == 200
    front.serve([front.site(allow=["10.0.0.0/8"])])
    assert front.ask("/").status == 403


def test_address_or_password_where_either_is_enough(front: Front, app: App) -> None:
    front.serve([front.site(allow=["127.0.0.2"], satisfy="any", basic_auth={"users": {"alice": HASH}})])
    assert front.ask("/", source="127.0.0.2").status == 200
    assert (front.ask("/").status, front.ask("/", headers=ALICE).status) == (401, 200)


def test_a_visitor_who_asks_too_often_gets_a_429(front: Front, app: App) -> None:
    up = {"upstream": f"unix:{front.socket}"}
    slow = {"rate": "1r/m", "burst": 2}
    front.serve([front.site(locations=[{"path": "/", **up}, {"path": "/login", "rate_limit": slow, **up}])])
    for visitor in ("127.0.0.2", "127.0.0.3"):
        assert [front.ask("/login", source=visitor).status for _ in range(4)] == [200, 200, 200, 429]
    assert {front.ask("/", source="127.0.0.2").status for _ in range(6)} == {200}
    assert {front.ask("/login").status for _ in range(6)} == {200}, "the host's own health checks"


def test_a_site_s_rate_counts_all_its_applications_but_no_files(front: Front, app: App, static: Path) -> None:
    up = {"upstream": f"unix:{front.socket}"}
    locations = [{"path": "/", **up}, {"path": "/api", **up}, {"path": "/static", "alias": str(static)}]
    front.serve([front.site(rate_limit={"rate": "1r/m", "burst": 1}, locations=locations)])
    asked = [front.ask(path, source="127.0.0.2").status for path in ("/", "/api", "/", "/static/a.css")]
    assert asked == [200, 200, 429, 200]


def test_a_visitor_with_too_many_requests_at_once_gets_a_429(front: Front, app: App) -> None:
    free = threading.Event()
    app.answer = lambda request: free.wait(10) and ok("late")
    front.serve([front.site(connection_limit=2)])
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(front.ask, "/", source="127.0.0.2") for _ in range(2)]
        while len(app.asked) < 2:
            time.sleep(0.01)
        assert front.ask("/", source="127.0.0.2").status == 429
        free.set()
        assert {one.result().status for one in waiting} == {200}


def test_only_a_trusted_proxy_is_believed(front: Front, app: App) -> None:
    front.serve([front.site()], trusted_proxies=["127.0.0.2"])
    told = {
        "X-Forwarded-For": "6.6.6.6, 192.0.2.7, 127.0.0.2",
        "X-Forwarded-Proto": "https",
        "X-Request-ID": "from-the-balancer",
    }
    front.ask("/", source="127.0.0.2", headers=told)
    front.ask("/", source="127.0.0.3", headers=told)
    believed, doubted = (request.headers for request in app.asked)
    assert (believed["X-Forwarded-For"], believed["X-Real-IP"]) == ("192.0.2.7", "192.0.2.7")
    assert (believed["X-Forwarded-Proto"], believed["X-Forwarded-Port"]) == ("https", "443")
    assert believed["X-Request-ID"] == "from-the-balancer"
    assert (doubted["X-Forwarded-For"], doubted["X-Forwarded-Proto"]) == ("127.0.0.3", "http")
    assert doubted["X-Request-ID"] != "from-the-balancer"


# --- what comes back ----------------------------------------------------------------------------------------------


def test_answers_are_compressed_unless_it_is_said_otherwise(front: Front, app: App) -> None:
    app.answer = ok("x" * 4000, "Content-Type: application/json")
    up = {"upstream": f"unix:{front.socket}"}
    front.serve([front.site(locations=[{"path": "/", **up}, {"path": "/raw", "gzip": False, **up}])])
    ask = {"headers": {"Accept-Encoding": "gzip", "Via": "1.1 cdn"}}
    answer = front.ask("/", **ask)
    assert (answer.headers["content-encoding"], gzip.decompress(answer.body)) == ("gzip", b"x" * 4000)
    assert answer.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in front.ask("/raw", **ask).headers


def test_what_is_kept_for_a_moment_is_asked_for_once(front: Front, app: App) -> None:
    up = {"upstream": f"unix:{front.socket}", "cache": {"valid": 60}}
    front.serve([front.site(locations=[{"path": "/", **up}])])
    assert [front.ask("/page").headers["x-cache-status"] for _ in range(3)] == ["MISS", "HIT", "HIT"]
    assert front.ask("/page", "HEAD").headers["x-cache-status"] == "HIT"
    assert len(app.asked) == 1
    front.ask("/page?q=1")
    front.ask("/page", headers={"Cookie": "session=1"})
    front.ask("/page", headers=ALICE)
    front.ask("/page", "POST")
    assert len(app.asked) == 5


def test_what_is_meant_for_one_visitor_is_not_kept(front: Front, app: App) -> None:
    up = {"upstream": f"unix:{front.socket}", "cache": {"valid": 60}}
    front.serve([front.site(locations=[{"path": "/", **up}])])
    for number, header in enumerate(("Set-Cookie: session=1", "Cache-Control: private", "Cache-Control: no-store")):
        app.answer = ok("mine", header)
        assert {front.ask(f"/{number}").headers["x-cache-status"] for _ in range(2)} == {"MISS"}


def test_only_the_cookies_that_are_named_pass_the_cache(front: Front, app: App) -> None:
    cache = {"valid": 60, "bypass_cookies": ["shop", "cart*"]}
    front.serve([front.site(locations=[{"path": "/", "upstream": f"unix:{front.socket}", "cache": cache}])])
    front.ask("/")
    for cookie in ("theme=dark", "workshop=1", "x=shop=1", "a=cart=1; shopping=1"):
        assert front.ask("/", headers={"Cookie": cookie}).headers["x-cache-status"] == "HIT", cookie
    for cookie in ("shop=1", "shop=0", "a=b; shop=1", "a=b;cart_2=x", "theme=dark; cart=1"):
        assert front.ask("/", headers={"Cookie": cookie}).headers["x-cache-status"] == "BYPASS", cookie
    assert front.ask("/", headers=ALICE).headers["x-cache-status"] == "BYPASS"


LOGINS = ["sessionid", "connect_session", "remember_token", "wordpress_logged_in_1", "_identity", "Jwt"]


@pytest.mark.attack(
    "13.low", "A visitor gets from the cache what another one got with a login cookie that is not named"
)
@pytest.mark.parametrize("name", LOGINS)
def test_a_cookie_of_a_login_passes_the_cache_though_it_is_not_named(front: Front, app: App, name: str) -> None:
    cache = {"valid": 60, "bypass_cookies": ["currency"]}
    front.serve([front.site(locations=[{"path": "/", "upstream": f"unix:{front.socket}", "cache": cache}])])
    app.answer = ok("of alice")
    assert front.ask("/", headers={"Cookie": f"theme=dark; {name}=1"}).headers["x-cache-status"] == "BYPASS"
    app.answer = ok("of all")
    assert front.ask("/").text == "of all"


def test_an_old_answer_is_better_than_none(front: Front, app: App) -> None:
    front.serve([front.site(locations=[{"path": "/", "upstream": f"unix:{front.socket}", "cache": {"valid": 1}}])])
    app.answer = ok("first")
    assert front.ask("/").text == "first"
    go = threading.Event()
    app.answer = lambda request: go.wait(20) and ok("second")
    time.sleep(2.1)  # nginx counts whole seconds
    answer = front.ask("/")  # no visitor waits for the application
    assert (answer.text, answer.headers["x-cache-status"]) == ("first", "STALE")
    go.set()
    assert wait_for(lambda: front.ask("/").text == "second", 20)
    app.answer = ok("", status="500 Internal Server Error")
    time.sleep(2.1)
    assert front.ask("/").text == "second"


def test_a_page_of_one_s_own_takes_the_place_of_an_error(front: Front) -> None:
    page = front.folder / "sorry.html"
    page.write_text("sorry")
    pages = [{"status": [502, 404], "page": str(page)}]
    front.serve([front.site(error_pages=pages, allow=["127.0.0.1"])])
    answer = front.ask("/")
    assert (answer.status, answer.text, answer.headers["content-type"]) == (502, "sorry", "text/html")
    assert front.ask("/", "POST", body="x").text == "sorry"
    assert front.ask("/.pyweb/1.html").text == "sorry", "a 502 of the application, not the page itself"


def test_the_application_s_own_errors_stay_unless_it_is_said_otherwise(front: Front, app: App) -> None:
    (front.folder / "sorry.html").write_text("sorry")
    app.answer = ok("own", status="404 Not Found")
    pages = {"error_pages": [{"status": [404], "page": f"{front.folder}/sorry.html"}]}
    up = {"upstream": f"unix:{front.socket}"}
    front.serve(
        [front.site(locations=[{"path": "/", **up}, {"path": "/all", "intercept_errors": True, **up}], **pages)]
    )
    assert (front.ask("/").text, front.ask("/all").text) == ("own", "sorry")


def test_maintenance_shows_a_page_to_all_but_those_who_may_pass(front: Front, app: App, static: Path) -> None:
    up = {"upstream": f"unix:{front.socket}"}
    locations = [{"path": "/", **up}, {"path": "/static", "alias": str(static)}]
    maintenance = {"retry_after": 600, "allow": ["127.0.0.2"], "open_paths": ["/healthz"]}
    front.serve([front.site(maintenance=maintenance, locations=locations)])
    for method in ("GET", "POST"):
        answer = front.ask("/p", method)
        assert (answer.status, answer.headers["retry-after"]) == (503, "600")
        assert "Back soon" in answer.text
    assert not app.asked
    assert (front.ask("/healthz").text, front.ask("/p", source="127.0.0.2").text) == ("app", "app")
    answer = front.ask("/static/a.css")
    assert (answer.text, "retry-after" in answer.headers) == ("new", False)
    front.serve([front.site(maintenance={"enabled": False})])
    assert front.ask("/p").text == "app"


def test_maintenance_of_one_application_leaves_the_others_alone(front: Front, app: App) -> None:
    (front.folder / "closed.html").write_text("closed")
    (front.folder / "sorry.html").write_text("sorry")
    up = {"upstream": f"unix:{front.socket}"}
    closed = {"path": "/shop", "maintenance": {"page": f"{front.folder}/closed.html"}, **up}
    gone = {"path": "/gone", "upstream": "unix:/nonexistent.sock"}
    pages = [{"status": [502], "page": f"{front.folder}/sorry.html"}]
    front.serve([front.site(locations=[{"path": "/", **up}, closed, gone], error_pages=pages)])
    assert (front.ask("/").text, front.ask("/shop/p").text, front.ask("/gone").text) == ("app", "closed", "sorry")


def test_headers_are_added_unless_the_application_sends_its_own(front: Front, app: App, static: Path) -> None:
    app.answer = lambda request: ok("", *(["X-Frame-Options: ALLOW"] if "own" in request.line else []))
    up = {"upstream": f"unix:{front.socket}"}
    locations = [
        {"path": "/", **up},
        {"path": "/embed", "headers": {"X-Frame-Options": "", "X-Own": 'a "b"; c'}, **up},
        {"path": "/static", "alias": str(static), "fallback": [str(static)], "headers": {"X-Own": "file"}},
    ]
    front.serve([front.site(header_preset="strict", locations=locations)])
    headers = front.ask("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert (headers["x-frame-options"], "x-own" in headers) == ("DENY", False)
    assert "default-src" in headers["content-security-policy-report-only"]
    assert "strict-transport-security" not in headers, "it would be a lie without TLS"
    assert front.ask("/own").headers["x-frame-options"] == "ALLOW"
    embedded = front.ask("/embed").headers
    assert ("x-frame-options" in embedded, embedded["x-own"]) == (False, 'a "b"; c')
    answer = front.ask("/static/a.css")
    assert (answer.headers["x-own"], answer.headers["cache-control"]) == ("file", "no-cache")
    assert front.ask("/static/none").headers["x-frame-options"] == "DENY"


# --- what is written down -------------------------------------------------------------------------------------------


def test_the_log_has_the_times_and_the_id_that_the_application_was_told(front: Front, app: App) -> None:
    front.serve([front.site()])
    front.ask("/p?q=1", headers={"User-Agent": 'a "b"'})
    line = front.log("shop.access.log")
    request_id = app.asked[0].headers["X-Request-ID"]
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[.*\] "GET /p\?q=1 HTTP/1.1" 200 3 "-" "a \\x22b\\x22" '
        rf"rt=\d\.\d+ uct=\d\.\d+ uht=\d\.\d+ urt=\d\.\d+ cache=- id={request_id} conn=\d+\n",
        line,
    )


@pytest.mark.parametrize(("proxies", "logged"), [([], "-"), (["127.0.0.1"], "from-the-balancer")])
def test_the_log_has_no_made_up_id_of_what_nginx_answers_itself(front: Front, proxies: list[str], logged: str) -> None:
    page = {"path": "/static/", "alias": f"{front.folder}/static"}
    front.serve([front.site(locations=[page])], trusted_proxies=proxies)
    front.ask("/static/none", headers={"X-Request-ID": "from-the-balancer"})
    assert re.search(rf"cache=- id={logged} conn=\d+\n$", front.log("shop.access.log"))


@pytest.mark.parametrize("log_format", ["combined", "json"])
def test_a_request_is_followed_from_the_access_log_to_the_error_log(front: Front, app: App, log_format: str) -> None:
    app.answer = b""
    front.serve([front.site(log_format=log_format)])
    for path in ("/first", "/second"):
        assert front.ask(path).status == 502
    assert wait_for(lambda: "/second" in front.log("shop.access.log"), 5)
    access = from_files("access", [str(front.folder / "log/shop.access.log")], 10**6)
    errors = from_files("errors", [str(front.folder / "log/shop.error.log")], 10**6)
    identity = app.asked[-1].headers["X-Request-ID"]
    told = report(Wanted(50, request=identity), [], [errors], [access])
    assert [line for line in told if "/second" in line and "[error]" in line]
    assert len([line for line in told if "/second" in line and "502" in line]) == 1
    assert [line for line in told if "/first" in line] == []


def test_the_log_is_json_where_it_is_said(front: Front, app: App) -> None:
    front.serve([front.site(log_format="json")])
    front.ask('/p?q="1"', headers={"User-Agent": 'a "b" \\ ü'.encode()})
    (line,) = front.log("shop.access.log").splitlines()
    entry = json.loads(line)
    assert (entry["status"], entry["uri"], entry["user_agent"]) == (200, '/p?q="1"', 'a "b" \\ ü')
    assert entry["request_id"] == app.asked[0].headers["X-Request-ID"]
    assert float(entry["upstream_response_time"]) >= 0


def test_a_log_is_where_it_is_said_or_nowhere(front: Front, app: App) -> None:
    own, other = front.folder / "own.log", {"name": "other", "domains": ["other.example.com"], "access_log": "off"}
    front.serve([front.site(access_log=str(own)), {**front.site(), **other}])
    front.ask("/kept-no-where", host="other.example.com")
    front.ask("/kept-here")
    assert wait_for(lambda: "/kept-here" in own.read_text(), 20)
    assert "kept" not in "".join(log.read_text() for log in (front.folder / "log").iterdir())


def test_counters_are_there_for_this_host_alone(front: Front) -> None:
    port = free_port()
    front.serve([front.site()], status_port=port)
    assert "Active connections" in front.ask("/status", port=port).text
    assert front.ask("/", port=port).status == 404


# --- the user's own directives --------------------------------------------------------------------------------------


def test_directives_of_the_user_stand_at_every_level(front: Front, app: App) -> None:
    site = front.site(
        extra='location = /own {\n    return 200 "server $pyweb_own";\n}\n',
        locations=[{"path": "/", "upstream": f"unix:{front.socket}", "extra": "proxy_set_header X-Own location;"}],
    )
    front.serve([site], extra='map $host $pyweb_own {\n    default "and http";\n}\n')
    assert front.ask("/own").text == "server and http"
    front.ask("/")
    assert app.asked[0].headers["X-Own"] == "location"


@pytest.mark.parametrize(
    ("keys", "settings", "words"),
    [
        ({"extra": "gzip on;\nfoo bar;\n"}, {}, "site 'shop', line 2 of extra, 'foo bar;'"),
        (
            {"locations": [{"path": "/api", "upstream": "http://127.0.0.1:1", "extra": "\n\nfoo bar;"}]},
            {},
            "site 'shop', line 3 of extra of location /api, 'foo bar;'",
        ),
        ({}, {"extra": "foo bar;"}, "nginx.conf, line 1 of nginx_extra, 'foo bar;'"),
    ],
)
def test_a_bad_directive_is_told_by_the_site_and_the_user_s_line(
    front: Front, keys: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(NginxError) as caught:
        front.serve([front.site(**keys)], **settings)
    assert words in str(caught.value)
    assert 'unknown directive "foo"' in str(caught.value)


# --- applications of the model --------------------------------------------------------------------------------------


@pytest.fixture
def releases(front: Front) -> Iterator[dict[str, App]]:
    """Two applications after an activation: a live release, and the previous one."""
    apps = {}
    for name in ("shop", "blog"):
        home = front.folder / "apps" / name
        for release, style in (("current", "new"), ("previous", "old")):
            (home / release / "src/static").mkdir(parents=True)
            (home / release / f"src/static/{style}.css").write_text(style)
            (home / release / "src/sorry.html").write_text(f"sorry from {name}")
        apps[name] = App(str(home / "current.sock"), ok(name))
    yield apps
    for application in apps.values():
        application.close()


def serve(front: Front, *webapps: dict[str, Any]) -> None:
    own = {"source": {"path": "x"}, "wsgi": "a:b"}
    apps = [{**own, **app, "site": {"port": front.port, **app.get("site", {})}} for app in webapps]
    front.serve(nginx_sites(apps, root=f"{front.folder}/apps"))


def test_applications_share_a_domain_by_path_and_each_keeps_to_itself(front: Front, releases: dict[str, App]) -> None:
    domains = ["shop.example.com"]
    pages = [{"status": [502], "page": "sorry.html"}]
    shop = {
        "domains": domains,
        "header_preset": "basic",
        "error_pages": pages,
        "basic_auth": {"users": {"alice": HASH}},
    }
    blog = {"domains": domains, "path": "/blog", "error_pages": pages, "headers": {"X-Blog": "yes"}}
    serve(front, {"name": "shop", "site": shop}, {"name": "blog", "site": blog})
    assert (front.ask("/").status, front.ask("/blog/p").text, front.ask("/blogger").status) == (401, "blog", 401)
    assert releases["blog"].asked[0].line == "GET /blog/p HTTP/1.1"
    assert releases["blog"].asked[0].headers["X-Forwarded-Prefix"] == "/blog"
    shop_headers, blog_headers = (front.ask(path, headers=ALICE).headers for path in ("/", "/blog"))
    assert ("x-frame-options" in shop_headers, "x-blog" in shop_headers) == (True, False)
    assert ("x-frame-options" in blog_headers, "x-blog" in blog_headers) == (False, True)
    for app in releases.values():
        app.close()
    assert front.ask("/", headers=ALICE).text == "sorry from shop"
    assert front.ask("/blog").text == "sorry from blog"


def test_pages_loaded_before_a_switch_still_find_their_files(front: Front, releases: dict[str, App]) -> None:
    static = [{"url": "/static/", "path": "static", "immutable": True}]
    serve(front, {"name": "shop", "site": {"static": static}})
    assert [front.ask(f"/static/{name}.css").text for name in ("new", "old")] == ["new", "old"]
    assert front.ask("/static/none.css").status == 404
    serve(front, {"name": "shop", "site": {"static": [{**static[0], "previous_release": False}]}})
    assert front.ask("/static/old.css").status == 404


def test_maintenance_of_an_application_keeps_its_health_url_green(front: Front, releases: dict[str, App]) -> None:
    serve(front, {"name": "shop", "health": {"path": "/healthz"}, "site": {"maintenance": {}}})
    assert (front.ask("/").status, front.ask("/healthz").text) == (503, "shop")


def test_a_path_of_an_application_has_its_own_say(front: Front, releases: dict[str, App]) -> None:
    paths = [{"path": "/login", "rate_limit": {"rate": "1r/m", "burst": 0}}]
    serve(front, {"name": "shop", "site": {"locations": paths}})
    assert [front.ask("/login", source="127.0.0.2").status for _ in range(2)] == [200, 429]
    assert front.ask("/", source="127.0.0.2").status == 200


def test_a_bad_directive_of_one_of_several_applications_is_told_by_its_own_line(
    front: Front, releases: dict[str, App]
) -> None:
    with pytest.raises(NginxError, match="line 2 of extra of blog"):
        serve(
            front,
            {"name": "shop", "site": {"extra": "gzip on;\n"}},
            {"name": "blog", "site": {"path": "/blog", "extra": "# mine\nfoo bar;"}},
        )
