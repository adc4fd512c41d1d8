# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A real application server on its own unix socket, started with the files that its role renders."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

BEGUN = "a slow request has begun"  # printed by the applications at its start

WSGI = """
import json, os, sys, time
LOADED = os.environ.get("LOADED")
if LOADED:
    with open(LOADED, "a") as stream:
        stream.write("x\\n")

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        print(BEGUN, file=sys.stderr, flush=True)
        time.sleep(float(environ["QUERY_STRING"] or 1))
    if path == "/body":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    else:
        report = {key: environ.get(key) for key in
            ("SCRIPT_NAME", "PATH_INFO", "REMOTE_ADDR", "HTTP_HOST", "wsgi.url_scheme", "SERVER_NAME", "SERVER_PORT",
            "HTTP_X_FORWARDED_PREFIX", "HTTP_X_FORWARDED_FOR")}
        report |= {"pid": os.getpid(), "env": {k: v for k, v in os.environ.items() if k.startswith("TOLD_")}}
        report["folder"] = os.getcwd()
        body = json.dumps(report).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]

def create_app(name="factory"):
    def made(environ, start_response):
        return app({**environ, "SERVER_NAME": name}, start_response)
    return made
""".replace("BEGUN", repr(BEGUN))

ASGI = """
import asyncio, json, os, sys

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/slow":
        print(BEGUN, file=sys.stderr, flush=True)
        await asyncio.sleep(float(scope["query_string"].decode() or 1))
    report = {key: scope.get(key) for key in ("root_path", "path", "scheme", "client", "server", "type")}
    report |= {"pid": os.getpid(), "env": {k: v for k, v in os.environ.items() if k.startswith("TOLD_")}}
    report["host"] = dict(scope["headers"]).get(b"host", b"").decode()
    body = json.dumps(report).encode()
    await send({"type": "http.response.start", "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
""".replace("BEGUN", repr(BEGUN))

# A server and, for gunicorn, its worker class.
WSGI_KINDS = ("sync", "gthread", "gevent", "uwsgi", "granian")
ASGI_KINDS = ("asgi", "uvicorn_worker.UvicornWorker", "granian-asgi")
# Kinds of granian, and its interface.
GRANIAN = {"granian": "wsgi", "granian-asgi": "asgi"}
KINDS = (*WSGI_KINDS, *ASGI_KINDS)
# One of each server and of each interface. The other kinds are only in the full matrix.
FEW_KINDS = ("gthread", "uwsgi", "granian", "granian-asgi")


def is_sample_of_kinds(kind: str = "uwsgi", **_others: Any) -> bool:
    """Whether `make test` runs this test: see the mark `sampled`."""
    return kind in FEW_KINDS


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def ask_uwsgi(path: Path, variables: dict[str, str]) -> Any:
    """Send one request with the uwsgi protocol, and return the JSON of the response."""
    usual = {"REQUEST_METHOD": "GET", "SERVER_NAME": "shop", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1"}
    words = [word.encode() for pair in {**usual, "HTTP_HOST": "shop", **variables}.items() for word in pair]
    packed = b"".join(len(word).to_bytes(2, "little") + word for word in words)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(b"\0" + len(packed).to_bytes(2, "little") + b"\0" + packed)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    return json.loads(answer.partition(b"\r\n\r\n")[2])


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


class Server:
    """One server with its files in a folder; ``ask`` speaks HTTP to it."""

    def __init__(
        self, folder: Path, files: list[dict[str, Any]], env: dict[str, str], launcher: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.socket = str(folder / "web.sock")
        self.log = folder / "log"
        for file in files:
            path = Path(file["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
            path.chmod(int(file.get("mode", "0644"), 8))
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **env}
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                [*launcher, str(folder / "bin/web")],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ready(self) -> int:
        try:
            return Path(f"{self.socket}.ready").read_text().count("ready ")
        except FileNotFoundError:
            return 0

    def wait(self, condition: Callable[[], Any], seconds: float = 15) -> Any:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if found := condition():
                    return found
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"waited {seconds} s in vain; the log says:\n{self.log.read_text()}")

    def ask(self, path: str = "/", headers: dict[str, str] | None = None, body: bytes | None = None) -> Any:
        data = self.answer(self.begin(path, headers, body))
        return data if body else json.loads(data)

    def begin(
        self, path: str = "/", headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> UnixConnection:
        """Send a request. It waits in the queue of the socket until a worker accepts it."""
        connection = UnixConnection(self.socket)
        connection.request("POST" if body else "GET", path, body, headers or {})
        return connection

    def begin_slow(self, seconds: float, count: int = 1) -> list[UnixConnection]:
        """Send requests, and wait until the application processes all of them."""
        connections = [self.begin(f"/slow?{seconds:g}") for _ in range(count)]
        self.wait(lambda: self.log.read_text().count(BEGUN) >= count)
        return connections

    def answer(self, connection: UnixConnection) -> bytes:
        with contextlib.closing(connection):
            answer = connection.getresponse()
            data = answer.read()
        assert answer.status == 200, f"{answer.status}: {data[:300]!r}\n{self.log.read_text()}"
        return data

    def children(self) -> list[int]:
        """The processes of its session except the first."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[3]) == self.process.pid and fields[0] != "Z":
                    found.append(int(entry.name))
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def with_sockets(folder: Path) -> list[str]:
    """The beginning of a command that inherits two sockets, as supervisor runs it."""
    from ansible_collections.pyweb.stack.plugins.module_utils.processes import with_sockets as launcher

    options = ["--group", str(os.getegid()), "--mode", "0660"]
    for name in ("web.sock", "web.uwsgi.sock"):
        options += ["--socket", str(folder / name)]
    return ["/usr/bin/python3", "-I", "-S", launcher.__file__, *options, "--"]


@pytest.fixture
def serve(tmp_path: Path, render: Callable[..., Any]) -> Iterator[Callable[..., Server]]:
    with starting(tmp_path, render) as run:
        yield run


@contextlib.contextmanager
def starting(parent: Path, render: Callable[..., Any]) -> Iterator[Callable[..., Server]]:
    """Starts a server: ``serve("gevent", workers=2, settings={…}, code=…, env={…})``, ready to answer."""
    from ansible_collections.pyweb.stack.plugins.filter.webapps import FilterModule

    started = []

    def run(
        kind: str,
        *,
        code: str = "",
        application: str = "",
        entry: str = "",
        env: Any = None,
        wait: bool = True,
        inherited: bool = False,
        **changes,
    ):
        folder = parent / f"server-{len(started)}"
        folder.mkdir()
        (folder / "shop.py").write_text(textwrap.dedent(code) or (ASGI if kind in ASGI_KINDS else WSGI))
        if entry:
            (folder / "pyweb_entry.py").write_text(entry)
        application = application or ("pyweb_entry:application" if entry else "shop:app")
        workers = changes.get("workers", 1)
        service: dict[str, Any] = {"name": "shop", "directory": str(folder), "chdir": str(folder), **changes}
        if kind == "uwsgi":
            service |= {"module": application, "program": [program("uwsgi")], "http_socket": str(folder / "web.sock")}
            service |= {"socket": str(folder / "web.uwsgi.sock"), "stats": str(folder / "web.stats.sock")}
            name = "uwsgi"
        elif kind in GRANIAN:
            service |= {"target": application, "program": [sys.executable], "bind": f"unix:{folder}/web.sock"}
            service["settings"] = {"interface": GRANIAN[kind], **service.get("settings", {})}
            name = "granian"
        else:
            service |= {"wsgi_app": application, "program": [program("gunicorn")], "bind": f"unix:{folder}/web.sock"}
            if kind != "gunicorn":
                service["settings"] = {"worker_class": kind, **service.get("settings", {})}
            name = "gunicorn"
        if inherited:
            service |= {"ready_file": str(folder / "web.sock.ready")}
            service |= {"http_socket": "fd://3", "socket": "fd://4"} if kind == "uwsgi" else {"bind": "fd://3"}
        files = render(name, FilterModule().filters()[f"{name}_files"]([service]))
        server = Server(folder, files, env or {}, with_sockets(folder) if inherited else ())
        started.append(server)
        if wait:
            server.wait(lambda: server.ready() >= workers)
        return server

    try:
        yield run
    finally:
        for server in started:
            server.end()
