# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A response to an upload that the application has not read reaches the visitor, and the upload leaves nothing on disk.

TRIES sets the number of uploads of each size. The requirement is 100, and none of them may get a 502.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nginx_instance import needs_nginx
from serving import FEW_KINDS
from stages import HOST, PREFIX, SERVERS, Case, Stage, staged
from test_nginx_tls_sites import needs_openssl
from visitors import Http1, chunked, connect

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a file system is mounted")
TRIES = int(os.environ.get("TRIES", "5"))
SIZES = (20_000, 1_000_000, 5_000_000, 20_000_000)
PAGE = 300_000  # more than the buffers of nginx

WSGI = """
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/redirect":
        start_response("302 Found", [("Location", "/login")])
        return []
    if path == "/single":
        start_response("403 Forbidden", [])
        return [b"log in first"]
    if path == "/page":
        start_response("403 Forbidden", [("Content-Type", "text/html")])
        return [b"p" * 100_000] * 3
    if path == "/plain":
        start_response("401 Unauthorized", [])
        return iter([b"log in ", b"first"])
    start_response("413 Content Too Large", [("Content-Length", "12")])
    return [b"log in first"]
"""

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    status, headers, pieces = {
        "/redirect": (302, [(b"location", b"/login")], [b""]),
        "/single": (403, [], [b"log in first"]),
        "/page": (403, [(b"content-type", b"text/html")], [b"p" * 100_000] * 3),
        "/plain": (401, [], [b"log in ", b"first"]),
    }.get(scope["path"].removeprefix("/shop"), (413, [(b"content-length", b"12")], [b"log in first"]))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for number, piece in enumerate(pieces, 1):
        await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})
"""

ANSWERS = {
    "/length": (413, 12),
    "/plain": (401, 12),
    "/single": (403, 12),
    "/redirect": (302, 0),
    "/page": (403, PAGE),
}


def is_sample(stage: tuple[str, Any], place: str = "nginx", **_others: Any) -> bool:
    kind, buffering = stage
    if place != "nginx":
        return kind in ("gthread", "granian-asgi") and buffering is None
    return kind in (FEW_KINDS if buffering is None else ("gthread", "granian-asgi"))


pytestmark = [needs_nginx, needs_openssl, pytest.mark.sampled(by=is_sample)]


@pytest.fixture(
    scope="module",
    params=[(kind, buffering) for kind in SERVERS for buffering in (None, False)],
    ids=lambda param: f"{param[0]}{'' if param[1] is None else '-unbuffered'}",
)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, render: Any) -> Iterator[Stage]:
    kind, buffering = request.param
    folder = tmp_path_factory.mktemp("stage")
    folder.chmod(0o755)
    with staged(folder, render, kind, (WSGI, ASGI), request_buffering=buffering) as found:
        found.buffered = buffering is not False
        yield found


def files_of_uploads(stage: Stage) -> list[str]:
    """Files in nginx's folder for bodies, and open files of nginx and of the server that have no name."""
    found = [str(path) for path in (stage.front.folder / "client_body").rglob("*") if path.is_file()]
    master = stage.front.master
    workers = [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]
    for pid in [master, *workers, stage.server.process.pid, *stage.server.children()]:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.readlink(link)
                    if target.endswith(" (deleted)") and link.stat().st_size >= 10_000:
                        found.append(f"{pid}/fd/{link.name}: {target}")
    return found


def open_sizes(stage: Stage) -> list[int]:
    return [Path(f"/proc/{name.partition(': ')[0]}").stat().st_size for name in files_of_uploads(stage)]


def wait_until(condition: Any, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not (good := condition()) and time.monotonic() < until:
        time.sleep(0.02)
    return bool(good)


@pytest.mark.parametrize("place", ["nginx", "https", "h2"])
@pytest.mark.parametrize("size", SIZES)
def test_an_upload_refused_unread_gets_the_answer_of_the_application(stage: Stage, place: str, size: int) -> None:
    body, seen = bytes(size), Counter[Any]()
    for number in range(TRIES):
        path = list(ANSWERS)[number % len(ANSWERS)]
        began = time.monotonic()
        status, _headers, found = stage.ask(place, Case(path, "POST", body=body))
        seen[(status, len(found)) == ANSWERS[path] or (path, status, len(found))] += 1
        assert time.monotonic() - began < 3, f"{path} waited for the end of a drain"
    assert seen == {True: TRIES}, stage.server.log.read_text()[-2000:]
    assert wait_until(lambda: not files_of_uploads(stage), 1), files_of_uploads(stage)


HEAD = f"POST {PREFIX}/length HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2000000\r\n\r\n".encode()


def test_a_refused_upload_leaves_no_file_while_its_visitor_stays(stage: Stage) -> None:
    with connect(stage.front.port) as visitor:
        visitor.sendall(HEAD + bytes(2_000_000))
        assert visitor.recv(100).startswith(b"HTTP/1.1 413 ")
        assert wait_until(lambda: not files_of_uploads(stage), 1), files_of_uploads(stage)


def test_an_upload_that_its_visitor_abandons_leaves_no_file(stage: Stage) -> None:
    with connect(stage.front.port) as visitor:
        visitor.sendall(HEAD + bytes(1_000_000))
        assert wait_until(lambda: stage.buffered == bool(files_of_uploads(stage)), 5)
    assert wait_until(lambda: not files_of_uploads(stage), 1), files_of_uploads(stage)


def test_uwsgi_may_store_bodies_itself(tmp_path: Path, render: Any) -> None:
    """With post-buffering, uWSGI reads the whole body before it calls the application."""
    tmp_path.chmod(0o755)
    with staged(tmp_path, render, "uwsgi", (WSGI, ASGI), settings={"post-buffering": 65536}) as stage:
        for path, wanted in ANSWERS.items():
            status, _headers, found = stage.ask("nginx", Case(path, "POST", body=bytes(5_000_000)))
            assert (status, len(found)) == wanted
        assert wait_until(lambda: not files_of_uploads(stage), 1), files_of_uploads(stage)


def test_uploads_of_a_client_take_its_connections_times_the_largest_body(tmp_path: Path, render: Any) -> None:
    """The bound that the documentation names. Loopback has no limit, so the client has another address."""
    tmp_path.chmod(0o755)
    limits = {"max_body_size": "1m", "connection_limit": 3}
    with staged(tmp_path, render, "gthread", (WSGI, ASGI), **limits) as stage, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", stage.front.port)
        statuses = []
        for _ in range(6):
            visitor = socket.create_connection(address, timeout=5, source_address=("127.0.0.2", 0))
            stack.callback(visitor.close)
            visit = Http1(visitor, "POST", f"{PREFIX}/length", HOST, ["Transfer-Encoding: chunked"])
            # All but the end, which has five bytes.
            visit.send([chunked(bytes(1_000_000), 100_000)[:-5]])
            visitor.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                statuses.append(visit.begin())
        assert statuses == [429] * 3
        assert len(files_of_uploads(stage)) == 3
        assert sum(open_sizes(stage)) <= 3 * 1024 * 1024


@needs_root
def test_a_full_disk_refuses_the_uploads_that_do_not_fit(tmp_path: Path, render: Any) -> None:
    """On a file system of its own, as the documentation proposes. Other requests work."""
    tmp_path.chmod(0o755)
    with staged(tmp_path, render, "gthread", (WSGI, ASGI)) as stage:
        folder = str(stage.front.folder / "client_body")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "tmpfs", folder], check=True)
        try:
            for size, wanted in ((1_000_000, 413), (5_000_000, 500), (1000, 413), (1_000_000, 413)):
                assert stage.ask("nginx", Case("/length", "POST", body=bytes(size)))[0] == wanted
                # nginx notices a moment later that the visitor is gone, and makes room for the next upload.
                assert wait_until(lambda: not files_of_uploads(stage), 5), files_of_uploads(stage)
        finally:
            subprocess.run(["umount", folder], check=True)
