# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Visitors of a real nginx while an application switches from one app server to another, without a reload of nginx."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building.entry import entry_module
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.switching.links import switch_links
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from nginx_instance import Front, needs_nginx

pytestmark = needs_nginx

GUNICORN, UWSGI = "20261121T010000Z-aaaaaaaa", "20261121T020000Z-bbbbbbbb"


class Stage:
    """One application with a release of each server behind one nginx."""

    def __init__(self, front: Front, layout: Layout, serve: Callable[..., Any], path: str = "/") -> None:
        self.front, self.layout = front, layout
        os.makedirs(layout.release(UWSGI))
        Path(layout.release(UWSGI), "uwsgi.ini").touch()
        os.makedirs(os.path.dirname(layout.socket(UWSGI)))
        self.gunicorn = serve("gthread", threads=4, workers=2, env={"SCRIPT_NAME": "" if path == "/" else path})
        entry = entry_module("shop:app", "wsgi", False, path) if path != "/" else ""
        self.uwsgi = serve("uwsgi", threads=4, workers=2, entry=entry)
        os.symlink(self.gunicorn.folder / "web.sock", layout.socket(GUNICORN))
        os.symlink(self.uwsgi.folder / "web.sock", layout.socket(UWSGI))
        os.symlink(self.uwsgi.folder / "web.uwsgi.sock", layout.uwsgi_socket(UWSGI))
        location = {"path": path, "upstream": f"unix:{layout.current_socket}"}
        instead = {"exists": layout.current_uwsgi, "upstream": f"uwsgi:unix:{layout.current_uwsgi_socket}"}
        self.swing(GUNICORN)
        front.serve([front.site(locations=[{**location, "instead": instead}])])

    def swing(self, identity: str) -> None:
        switch_links(self.layout, identity)

    def ask(self, path: str = "/", **options: Any) -> dict[str, Any]:
        answer = self.front.ask(path, **options)
        assert answer.status == 200, f"{answer.status}: {answer.text[:200]}"
        return json.loads(answer.text)


@pytest.fixture
def stage(tmp_path: Path, render: Callable[..., Any], serve: Callable[..., Any]) -> Iterator[Callable[..., Stage]]:
    os.chmod(tmp_path, 0o755)
    (tmp_path / "nginx").mkdir()
    front = Front(tmp_path / "nginx", render)
    layout = Layout("shop", str(tmp_path / "srv"), str(tmp_path / "run"))
    yield lambda **options: Stage(front, layout, serve, **options)
    front.stop()


def test_nginx_speaks_the_uwsgi_protocol_to_uwsgi_and_http_to_gunicorn(stage: Callable[..., Stage]) -> None:
    here = stage()
    assert here.ask("/a%20page")["REMOTE_ADDR"] == ""
    here.swing(UWSGI)
    told = here.ask("/a%20page")
    # HTTP over a unix socket has no client address; the uwsgi protocol passes the visitor's.
    assert told["REMOTE_ADDR"] == "127.0.0.1"
    assert told["PATH_INFO"] == "/a page"
    here.swing(GUNICORN)
    assert here.ask()["REMOTE_ADDR"] == ""


def test_a_prefix_reaches_either_server(stage: Callable[..., Stage]) -> None:
    here = stage(path="/shop")
    for release in (GUNICORN, UWSGI):
        here.swing(release)
        told = here.ask("/shop/shop/page")
        assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/shop", "/shop/page")


def test_nobody_notices_that_the_server_changes(stage: Callable[..., Stage]) -> None:
    here = stage()
    wrong: list[str] = []
    seen: set[str] = set()
    asked = [0]
    over = threading.Event()
    body = os.urandom(20_000)

    def visit(number: int) -> None:
        while not over.is_set():
            asked[0] += 1
            try:
                if number % 3 == 0:
                    assert here.front.ask("/body", "POST", body=body).body == body
                elif number % 3 == 1:
                    assert here.front.ask("/slow?0.3").status == 200
                else:
                    told = here.ask()
                    seen.add(told["REMOTE_ADDR"])
                    assert told["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
            except (AssertionError, OSError, ValueError) as error:
                wrong.append(str(error)[:200])

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(9)]
    for visitor in visitors:
        visitor.start()
    for release in (UWSGI, GUNICORN) * 10:
        time.sleep(0.2)
        here.swing(release)
    over.set()
    for visitor in visitors:
        visitor.join()
    assert asked[0] > 100
    # A request that chose HTTP just before a switch may reach uWSGI's HTTP socket, which has no client address either.
    assert {"", "127.0.0.1"} <= seen <= {"", "127.0.0.1", "0.0.0.0"}
    assert wrong == []


def test_an_upload_that_began_before_the_switch_arrives(stage: Callable[..., Stage]) -> None:
    here = stage()
    for before, after in ((GUNICORN, UWSGI), (UWSGI, GUNICORN)):
        here.swing(before)
        with socket.create_connection(("127.0.0.1", here.front.port), timeout=10) as visitor:
            head = "POST /body HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 8\r\nConnection: close\r\n\r\n"
            visitor.sendall(head.encode() + b"half")
            time.sleep(0.3)
            here.swing(after)
            time.sleep(0.3)
            visitor.sendall(b"full")
            answer = b"".join(iter(lambda: visitor.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"halffull")


@pytest.mark.attack("low", "A visitor forges variables of the uwsgi protocol by headers")
def test_a_visitor_can_forge_nothing_by_the_uwsgi_protocol(stage: Callable[..., Stage]) -> None:
    here = stage()
    here.swing(UWSGI)
    forged = {"X-Forwarded-Prefix": "/evil", "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.9"}
    told = here.ask("/page", headers={**forged, "Script-Name": "/evil", "X-Forwarded-Ssl": "on"})
    assert (told["SCRIPT_NAME"], told["wsgi.url_scheme"], told["REMOTE_ADDR"]) == ("", "http", "127.0.0.1")
    assert told["HTTP_X_FORWARDED_PREFIX"] is None


# The settings of an application in the inventory at first, and after each change.
ASGI = {"gunicorn": {"worker_class": "asgi"}, "granian": {"interface": "asgi"}}
QUIET_CHANGES: dict[str, list[dict[str, Any]]] = {
    "WSGI": [{}, {"server": "uwsgi"}, {"server": "granian"}, {"server": "uwsgi"}, {}, {"server": "granian"}],
    "WSGI, one thread": [{}, {"threads": 1}, {"threads": 1, "server": "uwsgi"}, {"workers": 3}],
    "WSGI, settings": [{}, {"server": "uwsgi", "uwsgi": {"max-requests": 9}}, {"gunicorn": {"statsd_prefix": "a"}}],
    "ASGI": [ASGI, {**ASGI, "server": "granian"}, {**ASGI, "workers": 2}, {**ASGI, "server": "granian", "workers": 1}],
    "code": [{}, {"env": {"A": "b"}}, {"proxy_fix": True}, {"commands": {"build": ["true"]}}, {"shared": ["data"]}],
}
# gunicorn's class asgi can't keep connections. nginx's configuration has the kept connections and the time-out.
LOUD_CHANGES: dict[str, list[dict[str, Any]]] = {
    "the other key goes": [{"gunicorn": ASGI["gunicorn"]}, {"server": "granian", "granian": ASGI["granian"]}],
    "recycled workers": [{}, {"gunicorn": {"max_requests": 1000}}],
    "a longer time-out": [{}, {"timeout": 60}],
}


def reloads(front: Front, changes: list[dict[str, Any]]) -> int:
    """How often nginx got new workers while the application changed in this way."""
    application = {"name": "shop", "source": {"path": "x"}, "wsgi": "a:b", "site": {"port": front.port}}
    workers, seen = front.transaction().nginx.workers, 0
    for number, change in enumerate(changes):
        before = workers(front.master) if number else set()
        actions = front.serve(nginx_sites([{**application, **change}], root=f"{front.folder}/apps"))["actions"]
        assert (actions == []) == (workers(front.master) == before)
        seen += bool(number and actions)
    return seen


@pytest.mark.parametrize("changes", QUIET_CHANGES.values(), ids=QUIET_CHANGES)
def test_a_switch_to_another_server_does_not_reload_nginx(
    tmp_path: Path, render: Callable[..., Any], changes: list[dict[str, Any]]
) -> None:
    front = Front(tmp_path, render)
    try:
        assert reloads(front, changes) == 0
    finally:
        front.stop()


@pytest.mark.parametrize("changes", LOUD_CHANGES.values(), ids=LOUD_CHANGES)
def test_a_change_of_the_site_reloads_nginx_once(
    tmp_path: Path, render: Callable[..., Any], changes: list[dict[str, Any]]
) -> None:
    front = Front(tmp_path, render)
    try:
        assert reloads(front, changes) == 1
    finally:
        front.stop()
