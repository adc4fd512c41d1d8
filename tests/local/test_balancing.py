# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Requests through a balancer: a real nginx and a real HAProxy, and web hosts with nginx that fail in each way."""

from __future__ import annotations

import contextlib
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.balancing import paths, stats
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from balancing import Fleet, WebHost, needs_haproxy
from nginx_instance import Answer, Request, free_port, needs_nginx, ok

pytestmark = [needs_nginx, needs_haproxy]

# Seconds after a fault from which all requests succeed.
NOTICED = 2.0


@pytest.fixture
def fleet(short_path: Path, render: Callable[..., Any]) -> Iterator[Fleet]:
    found = Fleet(short_path, render)
    yield found
    found.end()


def told(fleet: Fleet, number: int, **options: Any) -> Counter[str]:
    """The answers to so many requests."""
    answers = [fleet.edge.ask("/", **options) for _number in range(number)]
    return Counter(answer.text if answer.status == 200 else str(answer.status) for answer in answers)


def start(answers: list[Answer], ask: Callable[[], Answer]) -> threading.Thread:
    """Send a request on a thread of its own, which adds the answer."""
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    return thread


class Under:
    """Requests one after the other on several threads, as long as a block runs: the time and status of each."""

    def __init__(self, fleet: Fleet, method: str = "GET") -> None:
        self.fleet, self.method = fleet, method
        self.seen: list[tuple[float, float, int]] = []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.ask, daemon=True) for _number in range(4)]

    def ask(self) -> None:
        while not self.stopped.wait(0.02):
            begun = time.monotonic()
            try:
                status = self.fleet.edge.ask("/", self.method).status
            except OSError:
                status = 0
            self.seen.append((begun, time.monotonic(), status))

    def __enter__(self) -> Under:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(15)

    def failed_since(self, moment: float) -> list[int]:
        return [status for begun, _ended, status in self.seen if begun >= moment and status != 200]


# --- spreading ----------------------------------------------------------------------------------------------------


def test_requests_are_spread_and_tell_who_the_visitor_is(fleet: Fleet) -> None:
    fleet.serve()
    found = told(fleet, 20)
    assert set(found) == {"web1", "web2"}
    assert min(found.values()) >= 5
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example.com"}
    forged |= {"X-Real-IP": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X-Request-ID": "forged-0123456789"}
    assert fleet.edge.ask("/", source="127.0.0.5", headers=forged).status == 200
    (request,) = [web.app.asked[-1] for web in fleet.webs if "127.0.0.5" in str(web.app.asked[-1].headers)]
    seen = request.headers
    assert (seen["X-Forwarded-For"], seen["X-Real-IP"]) == ("127.0.0.5", "127.0.0.5")
    assert (seen["X-Forwarded-Proto"], seen["Host"]) == ("http", "shop.example.com")
    assert "6.6.6.6" not in str(seen)
    assert "evil" not in str(seen)
    assert len(seen["X-Request-ID"]) == 32


def test_the_path_and_large_headers_arrive_as_the_visitor_sent_them(fleet: Fleet) -> None:
    fleet.serve()
    path = b"/a%2Fb//c;x=1?q=\xc3\xa9&r=%00[]"
    large = b"".join(b"X-Large-%d: %s\r\n" % (number, b"x" * 15_000) for number in range(3))
    answer = fleet.edge.raw(
        b"GET " + path + b" HTTP/1.1\r\nHost: shop.example.com\r\n" + large + b"Connection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
    lines = [request.line.encode("latin-1") for web in fleet.webs for request in web.app.asked]
    assert b"GET " + path + b" HTTP/1.1" in lines


def test_responses_of_the_application_pass_unchanged(fleet: Fleet) -> None:
    fleet.serve()
    for status in ("502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout", "404 Not Found"):
        for web in fleet.webs:
            web.release = lambda request, status=status: (
                ok("mine", "Retry-After: 7", status=status) if request.line.startswith("GET /mine") else ok("up")
            )
        answer = fleet.edge.ask("/mine")
        assert (answer.status, answer.text, answer.headers["retry-after"]) == (int(status[:3]), "mine", "7")


def test_the_visitor_gets_a_page_while_no_web_host_is_up(fleet: Fleet) -> None:
    fleet.serve()
    for web in fleet.webs:
        web.signal(signal.SIGKILL)
    fleet.await_state("web1", "down")
    fleet.await_state("web2", "down")
    answer = fleet.edge.ask("/")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert "try again" in answer.text
    assert fleet.edge.ask("/", "POST").status == 503


# --- faults -------------------------------------------------------------------------------------------------------


def killed(web: WebHost) -> None:
    web.signal(signal.SIGKILL)


def frozen(web: WebHost) -> None:
    web.signal(signal.SIGSTOP)


def hanging(web: WebHost) -> None:
    web.release = lambda _request: (time.sleep(30), b"")[1]


@pytest.mark.parametrize("fault", [killed, frozen, hanging])
def test_two_seconds_after_a_fault_no_request_fails(fleet: Fleet, fault: Callable[[WebHost], None]) -> None:
    fleet.serve()
    with Under(fleet) as reading, Under(fleet, "POST") as writing:
        time.sleep(0.3)
        fault(fleet.webs[0])
        begun = time.monotonic()
        time.sleep(NOTICED + 1)
    assert len(reading.seen) > 50
    assert not reading.failed_since(begun + NOTICED)
    assert not writing.failed_since(begun + NOTICED)
    assert fleet.edge.state() == {"web1": "down", "web2": "up"}
    if fault is not hanging:
        # A request that was under way is repeated.
        assert not reading.failed_since(0)


def test_a_web_host_comes_back_by_itself(fleet: Fleet) -> None:
    fleet.serve()
    fleet.webs[0].signal(signal.SIGSTOP)
    fleet.await_state("web1", "down")
    fleet.webs[0].signal(signal.SIGCONT)
    assert fleet.await_state("web1", "up") < 5
    assert told(fleet, 10)["web1"]


def test_applications_and_hosts_join_and_move_while_it_runs(fleet: Fleet) -> None:
    fleet.serve()
    first, second = fleet.hosts
    (shop,) = fleet.apps

    fleet.edge.spread([{**shop, "name": "blog"}], [first])
    fleet.edge.spread([shop], [first])
    assert wait_for(lambda: fleet.edge.state() == {"web1": "up"}, 5), fleet.edge.state()
    fleet.edge.spread([shop], [first, second])
    assert wait_for(lambda: fleet.edge.state() == {"web1": "up", "web2": "up"}, 5), fleet.edge.state()
    fleet.edge.spread([shop], [replace(first, port=free_port()), second])
    assert wait_for(lambda: fleet.edge.state() == {"web1": "down", "web2": "up"}, 5), fleet.edge.state()
    fleet.edge.spread([shop], [first, replace(second, address="127.0.0.13")])
    assert wait_for(lambda: fleet.edge.state() == {"web1": "up", "web2": "down"}, 5), fleet.edge.state()
    assert told(fleet, 5) == {"web1": 5}


def test_a_get_under_way_is_asked_again_and_a_post_is_not(fleet: Fleet) -> None:
    fleet.serve()
    begun = threading.Event()

    def slow(request: Request) -> bytes:
        if " /slow" in request.line:
            begun.set()
            time.sleep(8)
        return ok("slow")

    for method, executions in (("GET", 2), ("POST", 1)):
        begun.clear()
        for web in fleet.webs:
            web.calls.clear()
            web.release = slow
        answers: list[Answer] = []
        asking = start(answers, lambda method=method: fleet.edge.ask("/slow", method))
        assert begun.wait(5)
        (web,) = [web for web in fleet.webs if web.executions(f"{method} /slow")]
        (other,) = [one for one in fleet.webs if one is not web]
        other.release = lambda _request: ok("other")
        web.signal(signal.SIGSTOP)
        fleet.await_state(web.name, "down")
        # Only its own host can end a POST.
        asking.join(2 if method == "GET" else 1)
        assert asking.is_alive() == (method == "POST")
        web.signal(signal.SIGCONT)
        asking.join(10)
        assert answers[0].status == 200
        assert sum(one.executions(f"{method} /slow") for one in fleet.webs) == executions
        fleet.await_state(web.name, "up")


def test_a_post_outlives_the_checks_that_a_busy_host_misses(fleet: Fleet) -> None:
    fleet.serve()
    begun = threading.Event()

    def busy(request: Request) -> bytes:
        if " /order" in request.line:
            begun.set()
        time.sleep(3)
        return ok("busy")

    for web in fleet.webs:
        web.release = busy
    answers: list[Answer] = []
    asking = start(answers, lambda: fleet.edge.ask("/order", "POST"))
    assert begun.wait(5)
    for web in fleet.webs:
        fleet.await_state(web.name, "down")
    asking.join(10)
    assert answers[0].status == 200
    assert sum(web.executions("POST /order") for web in fleet.webs) == 1


def test_an_application_that_hangs_everywhere_is_still_asked(fleet: Fleet) -> None:
    """A slow application is slow, and not gone."""
    fleet.serve()

    def slow(_request: Request) -> bytes:
        time.sleep(0.8)
        return ok("slow")

    for web in fleet.webs:
        web.release = slow
    for web in fleet.webs:
        fleet.await_state(web.name, "down")
    assert told(fleet, 2) == {"slow": 2}
    assert fleet.edge.ask(paths.HEALTH_URL, host="192.0.2.1").status == 503


# --- drain --------------------------------------------------------------------------------------------------------


def test_a_drained_host_finishes_its_requests_and_gets_no_others(fleet: Fleet) -> None:
    fleet.serve()
    release = threading.Event()
    web = fleet.webs[0]
    web.release = lambda request: (release.wait(10), ok("late"))[1] if " /late" in request.line else ok("web1")
    answers: list[Answer] = []
    asking = []
    while not web.executions("GET /late"):
        asking.append(start(answers, lambda: fleet.edge.ask("/late")))
        time.sleep(0.1)
    (web.folder / "drained").touch()
    assert fleet.await_state("web1", "draining") < NOTICED
    assert told(fleet, 10) == {"web2": 10}
    (app,) = stats.applications(f"{fleet.edge.run_dir}/_admin.sock")
    assert [server["sessions"] for server in app["servers"] if server["host"] == "web1"] == [1]
    release.set()
    for thread in asking:
        thread.join(5)
    assert {answer.status for answer in answers} == {200}
    assert "late" in {answer.text for answer in answers}
    (web.folder / "drained").unlink()
    fleet.await_state("web1", "up")


# --- sticky -------------------------------------------------------------------------------------------------------


def test_a_visitor_stays_on_a_host_by_a_cookie(fleet: Fleet) -> None:
    fleet.serve({"sticky": "cookie"})
    first = fleet.edge.ask("/")
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert first.headers["set-cookie"].startswith("pyweb_shop=")
    assert "HttpOnly" in first.headers["set-cookie"]
    assert "web" not in cookie.partition("=")[2]
    assert told(fleet, 10, headers={"Cookie": cookie}) == {first.text: 10}
    # The cookie does not reach the application.
    (web,) = [web for web in fleet.webs if web.name == first.text]
    assert not [request for request in web.app.asked if "cookie" in request.headers]
    # Neither a drained host nor one that is down keeps its visitors.
    (web.folder / "drained").touch()
    fleet.await_state(web.name, "draining")
    time.sleep(1)
    moved = fleet.edge.ask("/moved", headers={"Cookie": f"a=b; {cookie}; c=d"})
    (request,) = [request for web in fleet.webs for request in web.app.asked if " /moved " in request.line]
    # HAProxy writes names of headers in lower case.
    assert request.headers["cookie"] == "a=b; c=d"
    assert moved.text != first.text
    assert moved.headers["set-cookie"].startswith("pyweb_shop=")


@pytest.mark.attack("17.3", "A visitor writes the cookie of stickiness, to choose a host or to break the balancer.")
def test_a_forged_cookie_leads_nowhere_else(fleet: Fleet) -> None:
    fleet.serve({"sticky": "cookie"})
    for value in ("web1", "x" * 3000, "../etc", '"', "web1%0d%0aX: y", ""):
        answer = fleet.edge.ask("/", headers={"Cookie": f"pyweb_shop={value}"})
        assert answer.status == 200
        assert answer.headers["set-cookie"].startswith("pyweb_shop=")
        assert value not in answer.headers["set-cookie"] or not value


def test_a_visitor_stays_on_a_host_by_its_address(fleet: Fleet) -> None:
    fleet.serve({"sticky": "address"})
    for number in range(2, 8):
        assert len(told(fleet, 4, source=f"127.0.0.{number}")) == 1
    seen = {next(iter(told(fleet, 1, source=f"127.0.0.{number}"))) for number in range(2, 40)}
    assert seen == {"web1", "web2"}
    # Only nginx passes the address on.
    forged = [fleet.edge.ask("/", source="127.0.0.9", headers={"X-Real-IP": f"6.6.6.{n}"}).text for n in range(8)]
    assert len(set(forged)) == 1


# --- streams ------------------------------------------------------------------------------------------------------


def test_a_websocket_and_a_stream_pass(fleet: Fleet) -> None:
    fleet.serve({"websocket": True})

    def stream(request: Request) -> Iterator[bytes]:
        if "Upgrade" in request.headers:
            # The answer to the key below.
            accept = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
            yield b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + accept
            yield b"\r\n"
            yield b"hello"
            time.sleep(0.5)
            yield b"again"
            return
        if " /events" not in request.line:
            yield ok("up")
            return
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n\r\ndata: 1\n\n"
        time.sleep(2)
        yield b"data: 2\n\n"

    for web in fleet.webs:
        web.release = stream
    with socket.create_connection(("127.0.0.1", fleet.edge.port), timeout=5) as visitor:
        visitor.sendall(
            b"GET /ws HTTP/1.1\r\nHost: shop.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert until(visitor, b"again").startswith(b"HTTP/1.1 101 ")
    with socket.create_connection(("127.0.0.1", fleet.edge.port), timeout=5) as visitor:
        begun = time.monotonic()
        visitor.sendall(b"GET /events HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
        until(visitor, b"data: 1")
        assert time.monotonic() - begun < 1


def until(connection: socket.socket, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        piece = connection.recv(65536)
        assert piece, seen
        seen += piece
    return seen


# --- health page --------------------------------------------------------------------------------------------------


def test_the_health_page_needs_no_name_and_knows_each_application(fleet: Fleet) -> None:
    fleet.serve()
    for path, status in ((paths.HEALTH_URL, 200), (paths.health_url("shop"), 200), (paths.health_url("none"), 503)):
        for host in ("192.0.2.1", "shop.example.com"):
            assert fleet.edge.ask(path, host=host).status == status
    assert fleet.edge.raw(b"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n") == b""
    for web in fleet.webs:
        web.signal(signal.SIGKILL)
    for web in fleet.webs:
        fleet.await_state(web.name, "down")
    assert fleet.edge.ask(paths.HEALTH_URL, host="192.0.2.1").status == 503


@pytest.mark.attack("17.3", "A visitor requests the URLs of health checks through the balancer.")
def test_no_visitor_reaches_the_checks_of_web_hosts(fleet: Fleet) -> None:
    fleet.serve({"basic_auth": {"users": {"a": "$1$x$x"}}})
    for web in fleet.webs:
        web.calls.clear()
    for path in (
        "/.well-known/pyweb/health/shop/",
        "/.well-known/pyweb%2Fhealth/shop",
        "//.well-known/pyweb/health/shop",
    ):
        answer = fleet.edge.ask(path)
        assert answer.status in (400, 401, 404, 503), (path, answer.status)
    time.sleep(0.6)
    # Only the balancer's own checks.
    assert {line for web in fleet.webs for line in web.calls} == {"GET / HTTP/1.1"}


# --- attacks ------------------------------------------------------------------------------------------------------

HEAD = b"POST /first HTTP/1.1\r\nHost: shop.example.com\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: shop.example.com\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"


@pytest.mark.attack("17.3", "A visitor hides a second request in a first one, for one of the three servers on the way.")
@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(SMUGGLED)) + SMUGGLED,
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
        HEAD + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        HEAD + b"Content-Length: +%d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        HEAD + b"X: y\rContent-Length: 0\r\n\r\n" + SMUGGLED,
        HEAD + b"X: y\n\nGET /smuggled HTTP/1.1\r\nHost: shop.example.com\r\n\r\n",
        b"GET /first%0d%0aX:y HTTP/1.1\r\nHost: shop.example.com\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
        + SMUGGLED,
    ],
)
def test_the_request_after_a_first_one_is_the_visitor_s_own(hardened: Fleet, request_: bytes) -> None:
    for web in hardened.webs:
        web.app.asked.clear()
    with socket.create_connection(("127.0.0.1", hardened.edge.port), timeout=5) as visitor:
        visitor.sendall(request_)
        visitor.settimeout(0.5)
        seen = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := visitor.recv(65536):
                seen += piece
    asked = [request for web in hardened.webs for request in web.app.asked if "/smuggled" in request.line]
    # nginx may take the rest as a request of its own. Then it comes with the visitor's own address, and has an answer.
    assert seen.count(b"HTTP/1.1 200 ") >= len(asked)
    assert all(request.headers["X-Forwarded-For"] == "127.0.0.1" for request in asked)
    assert hardened.edge.ask("/after").status == 200


@pytest.fixture(scope="module")
def hardened(tmp_path_factory: pytest.TempPathFactory, render: Callable[..., Any]) -> Iterator[Fleet]:
    """One fleet for all attacks."""
    with tempfile.TemporaryDirectory(prefix="pyweb-") as folder:
        found = Fleet(Path(folder), render)
        yield found.serve()
        found.end()


@pytest.mark.attack("17.3", "A visitor requests another site, or none, by the header Host.")
def test_a_host_that_no_site_names_reaches_no_web_host(hardened: Fleet) -> None:
    for web in hardened.webs:
        web.app.asked.clear()
    for host in ("evil.example.com", "127.0.0.11", "shop.example.com.evil.com"):
        raw = f"GET /evil HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: shop.example.com\r\n\r\n".encode()
        assert hardened.edge.raw(raw) == b""
    assert not [request for web in hardened.webs for request in web.app.asked if "/evil" in request.line]
