# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Real clients and a real application, under every server behind our nginx: git, a tus client, WebSocket and curl."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from nginx_instance import needs_nginx
from real_applications import ASGI, WSGI
from repositories import git
from serving import FEW_KINDS
from stages import HOST, PREFIX, SERVERS, Stage, staged
from test_nginx_tls_sites import needs_openssl
from tusclient.client import TusClient
from visitors import Http1, connect, secure
from websockets.sync.client import connect as open_websocket

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here: apt-get install curl")
FRONTS = ("nginx", "https")
# The servers that pass a connection on to the application, or speak WebSocket themselves.
WEBSOCKET = ("gthread", "gevent", "asgi", "uvicorn_worker.UvicornWorker", "granian-asgi")
SIZE = 5_000_000


def is_sample(stage: tuple[str, Any], place: str = "nginx", **_others: Any) -> bool:
    return place == "nginx" and stage[1] is None


def is_sample_of_uploads(stage: tuple[str, Any], place: str, **_others: Any) -> bool:
    return is_sample(stage, place) and stage[0] in FEW_KINDS


pytestmark = [needs_nginx, needs_openssl, pytest.mark.sampled(by=is_sample)]


@pytest.fixture(
    scope="module",
    params=[*((kind, None) for kind in SERVERS), *((kind, False) for kind in FEW_KINDS)],
    ids=lambda param: f"{param[0]}{'' if param[1] is None else '-unbuffered'}",
)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, render: Any) -> Iterator[Stage]:
    kind, buffering = request.param
    folder = tmp_path_factory.mktemp("stage")
    folder.chmod(0o755)
    (folder / "data").mkdir()
    location = {"request_buffering": buffering, "websocket": kind in WEBSOCKET}
    with staged(folder, render, kind, (WSGI, ASGI), env={"ROOT": str(folder / "data")}, **location) as found:
        found.data = folder / "data"
        found.buffered = buffering is not False
        yield found


def url(stage: Stage, place: str, path: str) -> str:
    scheme, port = ("http", stage.front.port) if place == "nginx" else ("https", stage.front.tls_port)
    return f"{scheme}://{HOST}:{port}{PREFIX}{path}"


@pytest.mark.sampled(by=is_sample_of_uploads)
@pytest.mark.parametrize("place", FRONTS)
def test_git_pushes_and_clones(stage: Stage, place: str, tmp_path: Path) -> None:
    """git sends a pack above 1 MB in chunks, and uses HTTP/2 where it is offered."""
    bare = stage.data / f"{place}.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    git(bare, "config", "http.receivepack", "true")
    ours = tmp_path / "ours"
    git(tmp_path, "init", "-q", str(ours))
    (ours / "large").write_bytes(os.urandom(SIZE))
    for number in range(10):
        (ours / f"small-{number}").write_text(str(number))
        git(ours, "add", "-A")
        git(ours, "commit", "-q", "-m", f"commit {number}")
    port = stage.front.port if place == "nginx" else stage.front.tls_port
    settings = {"curloptResolve": f"{HOST}:{port}:127.0.0.1", "sslVerify": "false", "proxy": ""}
    web = [word for key, value in settings.items() for word in ("-c", f"http.{key}={value}")]
    where = url(stage, place, f"/git/{bare.name}")
    git(ours, *web, "push", "-q", where, "main")
    assert git(bare, "rev-parse", "main") == git(ours, "rev-parse", "HEAD"), stage.server.log.read_text()[-2000:]
    git(tmp_path, *web, "clone", "-q", where, "theirs")
    assert (tmp_path / "theirs/large").read_bytes() == (ours / "large").read_bytes()
    # A fetch that names its many commits sends a packed body.
    git(tmp_path / "theirs", "commit", "-q", "--allow-empty", "-m", "more")
    git(tmp_path / "theirs", *web, "push", "-q", where, "main")
    git(ours, *web, "fetch", "-q", where, "main")
    assert git(ours, "rev-parse", "FETCH_HEAD") == git(bare, "rev-parse", "main")


@pytest.mark.sampled(by=is_sample_of_uploads)
@pytest.mark.parametrize("place", FRONTS)
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_tus_client_resumes_its_upload(stage: Stage, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = os.urandom(SIZE)
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *words: real("127.0.0.1" if host == HOST else host, *words))

    def uploader(**own: Any) -> Any:
        client = TusClient(url(stage, place, "/files"), headers={"Connection": "close"})
        return client.uploader(file_stream=BytesIO(body), chunk_size=1_000_000, verify_tls_cert=False, **own)

    first = uploader()
    first.upload(stop_at=2_000_000)
    # A client that disappears in the middle of a chunk.
    name = first.url.rpartition("/")[2]
    headers = ["Tus-Resumable: 1.0.0", "Upload-Offset: 2000000", "Content-Length: 2000000"]
    headers += ["Content-Type: application/offset+octet-stream"]
    plain = connect(stage.front.port if place == "nginx" else stage.front.tls_port)
    visitor = Http1(
        plain if place == "nginx" else secure(plain, HOST), "PATCH", f"{PREFIX}/files/{name}", HOST, headers
    )
    visitor.send([body[2_000_000:3_000_000]])
    time.sleep(0.3)
    visitor.close()
    time.sleep(0.3)
    stored = stage.data / name
    # Without request_buffering, the application stores what arrived.
    assert stored.stat().st_size == 2_000_000 if stage.buffered else 2_000_000 <= stored.stat().st_size <= 3_000_000
    uploader(url=first.url).upload()
    assert stored.read_bytes() == body


@pytest.mark.parametrize("place", FRONTS)
def test_a_websocket_echoes(stage: Stage, place: str) -> None:
    if stage.kind not in WEBSOCKET:
        return
    plain = connect(stage.front.port if place == "nginx" else stage.front.tls_port)
    connection = plain if place == "nginx" else secure(plain, HOST)
    there = url(stage, "nginx", "/ws").replace("http:", "ws:")
    with open_websocket(there, sock=connection, max_size=2**22) as client:
        # With gevent, simple-websocket loses the end of a message that does not fit into the buffer of the socket.
        for message in ("one", "grüße", os.urandom(50_000 if stage.kind == "gevent" else 1_000_000)):
            client.send(message)
            assert client.recv(timeout=20) == message
        assert client.ping().wait(10)
        time.sleep(1)
        client.send("still here")
        assert client.recv(timeout=10) == "still here"
    assert client.close_code == 1000


@needs_curl
@pytest.mark.sampled(by=is_sample_of_uploads)
@pytest.mark.parametrize("place", ["nginx", "h2"])
def test_curl_reads_events_one_by_one(stage: Stage, place: str) -> None:
    words = [
        "curl",
        "-sNk",
        "--compressed",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "--http2" if place == "h2" else "--http1.1",
    ]
    port = stage.front.port if place == "nginx" else stage.front.tls_port
    began = time.monotonic()
    with subprocess.Popen(
        [*words, "--resolve", f"{HOST}:{port}:127.0.0.1", url(stage, place, "/events")], stdout=subprocess.PIPE
    ) as curl:
        assert curl.stdout is not None
        assert curl.stdout.readline() == b"data: 0\n"
        assert time.monotonic() - began < 1.5
        assert curl.stdout.read() == b"\ndata: 1\n\n"
    assert curl.returncode == 0
    assert time.monotonic() - began > 1.8
