# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Three applications of different shapes, each under the app server and process manager that the inventory names."""

from __future__ import annotations

import base64
import os
import re
import socket

import pytest
import requests
from conftest import PATHS, served_by

# The inventory's own values, written again: a mistake in reading them there must not be made here, too.
TOLD = {
    "TOLD_QUOTES": 'it\'s "quoted" \\ `id`',
    "TOLD_SPACES": "  two  spaces  ",
    "TOLD_PERCENT": "100% %i %(x)s %% %n",
    "TOLD_DOLLAR": "$HOME ${HOME} $(id) $$",
    "TOLD_HASH": "# no ; comment",
    "TOLD_LINES": "one\ntwo\n",
    "TOLD_LETTERS": "Grüße, 日本 😀",
    "TOLD_NOTHING": "",
    "TOLD_LONG": "long " * 20000,
}


@pytest.mark.parametrize("app", PATHS)
def test_the_application_runs_under_what_was_named(host, visit, facts, app):
    server, manager = served_by(facts, app)
    told = visit(app).json()
    assert (told["env"]["WEBAPP_SERVER"], told["env"]["WEBAPP_PROCESS_MANAGER"]) == (server, manager)
    assert f"/bin/{server}" in host.check_output(f"ps -o args= -p {told['pid']}")
    release = told["env"]["WEBAPP_RELEASE"]
    if manager == "systemd":
        assert host.service(f"{app}@{release}").is_running
    else:
        assert "RUNNING" in host.check_output(f"supervisorctl status {app}-{release}")


@pytest.mark.parametrize("app", PATHS)
def test_environment_values_arrive_exactly(visit, app):
    told = visit(app).json()["env"]
    assert {key: value for key, value in told.items() if key.startswith("TOLD_")} == TOLD


def test_a_visitor_registers_and_writes(visit, url):
    name = f"visitor-{os.urandom(4).hex()}"
    session = requests.Session()
    session.trust_env = False
    session.headers["Host"] = "board.example.com"
    form = {"username": name, "password": "let me in"}
    assert session.post(f"{url}/auth/register", form, timeout=10, allow_redirects=False).status_code == 302
    assert session.post(f"{url}/auth/register", form, timeout=10, allow_redirects=False).status_code == 409
    answer = session.post(f"{url}/auth/login", form, timeout=10, allow_redirects=False)
    cookies = {"session": answer.cookies["session"]}
    form = {"title": f"Words of {name}"}
    assert session.post(f"{url}/create", form, timeout=10, allow_redirects=False, cookies=cookies).status_code == 302
    assert f"Words of {name} by {name}" in visit("board", "/").text


def test_static_files_of_a_package_come_from_nginx(visit):
    answer = visit("board", "/static/style.css")
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (200, "text/css")
    assert "X-Release" not in answer.headers


def test_the_migrated_database_keeps_what_is_written(visit):
    title = f"Book {os.urandom(4).hex()}"
    assert title in visit("catalogue", "/books/", "POST", data={"title": title}).json()["books"]
    assert title in visit("catalogue", "/books/").json()["books"]


def test_collected_static_files_are_what_the_pages_ask_for(visit):
    page = visit("catalogue", "/admin/login/")
    assert page.status_code == 200
    style = re.search(r'href="(/static/admin/css/base\.css)"', page.text)
    assert visit("catalogue", style[1]).headers["Content-Type"].split(";")[0] == "text/css"


def test_an_asgi_application_was_started_and_knows_its_visitor(visit):
    told = visit("ticker").json()
    assert told["started"]
    scheme, host, client, prefix = told["visitor"]
    assert (scheme, host, prefix) == ("http", "ticker.example.com", "/live")
    assert re.fullmatch(r"[0-9.]+", client)


def test_an_application_behind_proxy_fix_knows_its_visitor(visit):
    scheme, host, client, prefix = visit("board").json()["visitor"]
    assert (scheme, host, prefix) == ("http", "board.example.com", "")
    assert re.fullmatch(r"[0-9.]+", client)
    assert client not in ("127.0.0.1", "0.0.0.0")


def test_nginx_speaks_the_uwsgi_protocol_to_uwsgi(visit, facts):
    """It carries the visitor's address to whoever knows nothing of proxies; HTTP over a unix socket does not."""
    address = visit("catalogue").json()["visitor"][2]
    if served_by(facts, "catalogue")[0] == "uwsgi":
        assert re.fullmatch(r"[0-9.]+", address)
        assert address != "0.0.0.0"
    else:
        assert address == ""


def test_an_asgi_application_streams(visit):
    assert visit("ticker", "/live/ticks").text == "tick 0\ntick 1\ntick 2\n"


def test_an_asgi_application_speaks_websocket(facts):
    """As far as RFC 6455 is needed for one word: a handshake, one masked frame, and one back."""
    with socket.create_connection((facts.address, 80), timeout=10) as visitor:
        key = base64.b64encode(os.urandom(16)).decode()
        visitor.sendall(
            "GET /live/echo HTTP/1.1\r\nHost: ticker.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        mask = os.urandom(4)
        word = bytes(letter ^ mask[place % 4] for place, letter in enumerate(b"hello"))
        answer = visitor.recv(65536)
        assert answer.startswith(b"HTTP/1.1 101")
        visitor.sendall(bytes([0x81, 0x80 | len(word)]) + mask + word)
        frame = answer.partition(b"\r\n\r\n")[2] or visitor.recv(65536)
        assert frame[:7] == b"\x81\x05hello"
