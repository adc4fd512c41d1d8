# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Count requests in the access logs that a real nginx writes, in both formats of the role."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.logs.traffic import Window, count
from nginx_instance import App, Front, Request, needs_nginx, ok

pytestmark = needs_nginx


@pytest.fixture
def front(short_path: Path, render: Callable[..., Any]) -> Iterator[Front]:
    short_path.chmod(0o755)
    instance = Front(short_path, render)
    yield instance
    instance.stop()


@pytest.fixture
def app(front: Front) -> Iterator[App]:
    application = App(front.socket, answer)
    yield application
    application.close()


def answer(request: Request) -> bytes:
    path = request.line.split()[1]
    if "/slow" in path:
        time.sleep(0.3)
    if "/cut" in path:
        return b""
    return ok("x", "Cache-Control: max-age=60", status="500 Oops" if "/broken" in path else "200 OK")


def traffic(front: Front) -> dict[str, Any]:
    time.sleep(1.2)  # nginx flushes its access log every second
    spec = {"name": "shop", "logs": [f"{front.folder}/log/shop.access.log"], "mount": "/", "mounts": ["/"]}
    now = time.time()
    (found,) = count([{**spec, "health": "/healthz"}], Window(now - 30, now))
    return found


@pytest.mark.parametrize("log_format", ["combined", "json"])
def test_requests_that_the_application_answered_are_counted(front: Front, app: App, log_format: str) -> None:
    static = front.folder / "static"
    static.mkdir()
    (static / "a.txt").write_text("a")
    locations = [
        {"path": "/", "upstream": f"unix:{front.socket}"},
        {"path": "/kept", "upstream": f"unix:{front.socket}", "cache": {"valid": 60}},
        {"path": "/static/", "alias": str(static)},
    ]
    front.serve([front.site(log_format=log_format, locations=locations)])
    # The window begins at a whole second, as the times in the log do.
    time.sleep(1.1)
    for _ in range(8):
        assert front.ask("/").status == 200
    paths = {"/slow": 200, '/broken?x="%20': 500, "/cut": 502}
    # nginx answers these alone, and the health check is no visit.
    paths |= {"/static/a.txt": 200, "/static/none": 404, "/../x": 400, "/healthz": 200}
    assert {path: front.ask(path).status for path in paths} == paths
    # The second and the third response come from the cache.
    assert [front.ask("/kept/x").status for _ in range(3)] == [200, 200, 200]
    # The user name is "x [99/Nov/1999:00:00:00 +0000] ", with a quote.
    forged = {"Authorization": "Basic eCBbOTkvTm92LzE5OTk6MDA6MDA6MDAgKzAwMDBdICI6eA=="}
    assert front.ask("/", headers=forged).status == 200
    found = traffic(front)
    assert (found["requests"], found["errors"], found["unread"], found["problems"]) == (13, 2, 0, [])
    assert found["p50"] < 0.1
    assert found["p99"] > 0.25


def test_requests_count_after_a_rotation(front: Front, app: App) -> None:
    front.serve([front.site()])
    log = front.folder / "log/shop.access.log"
    time.sleep(1.1)
    front.ask("/first")
    assert wait_for(lambda: "/first" in log.read_text(), 5)
    log.rename(f"{log}.1")
    os.kill(front.master, signal.SIGUSR1)
    assert wait_for(log.exists, 5)
    front.ask("/second")
    assert traffic(front)["requests"] == 2
