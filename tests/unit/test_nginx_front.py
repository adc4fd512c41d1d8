# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The sites of the role nginx, asked from outside: a real nginx on loopback, with an application behind it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nginx_instance import App, Front, free_port, needs_nginx

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


# --- what the application is told ---------------------------------------------------------------------------------


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
    }
    assert front.ask("/", headers=forged).status == 200
    told = app.asked[0].headers
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
    """The variables of a request in the uwsgi protocol: a head of four bytes, then pairs with lengths before them."""
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
