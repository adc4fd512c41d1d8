# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Drain a web host with real programs: HAProxy, nginx, and requests that last."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.draining.flag import answers_checks, drain, undrain
from ansible_collections.pyweb.stack.plugins.module_utils.draining.open_requests import (
    at_applications,
    table,
    to_clients,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.modules import webapp_drain
from ansible_collections.pyweb.stack.plugins.modules.balancer_wait import look
from balancing import Fleet, needs_haproxy
from nginx_instance import needs_nginx, ok

pytestmark = [needs_nginx, needs_haproxy]


@pytest.fixture
def fleet(short_path: Path, render: Callable[..., Any]) -> Iterator[Fleet]:
    found = Fleet(short_path, render)
    yield found
    found.end()


def seen(fleet: Fleet, state: str, host: str = "web1") -> dict[str, Any]:
    return look({"run_dir": fleet.edge.run_dir, "host": host, "state": state})


def test_a_drained_host_finishes_its_requests_and_gets_no_others(fleet: Fleet) -> None:
    fleet.serve(health={"path": "/healthz"})
    release, waiting = threading.Event(), threading.Event()
    web1 = fleet.webs[0]

    def slow(request: Any) -> Any:
        if "/slow" in request.line:
            waiting.set()
            release.wait(20)
        return ok(web1.name)

    web1.release = slow
    fleet.await_state("web1", "up")
    fleet.await_state("web2", "up")
    assert seen(fleet, "up")["done"]
    answers: list[bytes] = []
    visitors = [threading.Thread(target=lambda: answers.append(request(fleet, "/slow"))) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    assert waiting.wait(10)
    flag = f"{web1.folder}/drained"
    assert drain("ada@desk", flag)
    try:
        fleet.await_state("web1", "draining")
        drained = seen(fleet, "drained")
        assert (drained["done"], drained["problem"]) == (False, "")
        assert sum(server["sessions"] for server in drained["servers"]) >= 1
        assert at_sockets(web1.socket) >= 1
        before = len(web1.calls)
        assert all(b"web2" in request(fleet, "/") for _ in range(10))
        assert [line for line in web1.calls[before:] if "healthz" not in line] == []
        release.set()
        for visitor in visitors:
            visitor.join(20)
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
        assert len(answers) == 4
        assert wait_for(lambda: bool(seen(fleet, "drained")["done"]), 5)
        assert wait_for(lambda: at_sockets(web1.socket) == 0, 5)
    finally:
        release.set()
        undrain(flag)
    assert wait_for(lambda: bool(seen(fleet, "up")["done"]), 10)


def at_sockets(path: str) -> int:
    """The open connections to the socket of an application of this test."""
    text = table("/proc/net/unix").replace(path, "/run/webapps/shop.sockets/1.sock")
    return at_applications(text, "/run/webapps").get("shop", 0)


def request(fleet: Fleet, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", fleet.edge.port), timeout=30) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


def test_a_balancer_without_haproxy_is_a_problem(tmp_path: Path) -> None:
    found = look({"run_dir": str(tmp_path), "host": "web1", "state": "drained"})
    assert (found["done"], "HAProxy does not answer" in found["problem"]) == (False, True)


def test_a_download_that_a_client_still_receives_is_open(fleet: Fleet) -> None:
    fleet.serve()
    web1 = fleet.webs[0]
    web1.release = lambda _request: ok("x" * 8_000_000)
    with socket.create_connection((web1.address, fleet.port), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
        client.recv(1000)
        assert wait_for(lambda: to_clients(table("/proc/net/tcp"), {fleet.port}) == 1, 5)
        while client.recv(1_000_000):
            pass
    assert wait_for(lambda: to_clients(table("/proc/net/tcp"), {fleet.port}) == 0, 5)


def test_a_health_check_after_the_quiet_looks_is_no_open_request(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [{"shop": 1}, *[{}] * webapp_drain.QUIET, {"": 1}]
    monkeypatch.setattr(webapp_drain, "open_requests", lambda: looks.pop(0))
    assert webapp_drain.wait_until_idle(10) == {}
    assert looks == [{"": 1}]
    assert webapp_drain.wait_until_idle(0) == {"": 1}


def test_a_host_that_serves_balancers_answers_checks(fleet: Fleet) -> None:
    fleet.serve()
    assert answers_checks(f"{fleet.webs[0].conf}/pyweb/current")
    assert not answers_checks(f"{fleet.edge.folder}/none")
