# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A local index of small packages: pypiserver, in a thread of the test."""

from __future__ import annotations

import socketserver
import threading
import wsgiref.simple_server
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pypiserver

USER, PASSWORD = "deploy", "hunter2"


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Nothing: the output of the tests is for their results."""


def fresh(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The application, with answers that no client keeps: a package may be published at any time."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            kept = [(name, value) for name, value in headers if name.lower() != "cache-control"]
            return start_response(status, [*kept, ("Cache-Control", "no-cache, max-age=0")], *rest)

        return application(environ, start)

    return answer


class Index:
    """A folder of wheels, and the address of its server."""

    def __init__(self, folder: Path, port: int, login: str = "") -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://{login}127.0.0.1:{port}/simple/"

    def publish(self, name: str, version: str, requires: tuple[str, ...] = (), text: str = "") -> Path:
        """Publish a wheel with one module, which has its VERSION."""
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        path = self.folder / f"{module}-{version}-py3-none-any.whl"
        needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{module}.py", text or f"VERSION = '{version}'\n")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", f"{module}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
        return path


@contextmanager
def serving(folder: Path, private: bool = False) -> Iterator[Index]:
    """An index in a folder. A private one wants credentials."""
    folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"roots": [folder], "disable_fallback": True, "backend_arg": "simple-dir"}
    if private:
        options |= {"authenticate": ["list", "download"], "auther": lambda *given: given == (USER, PASSWORD)}
    application = fresh(pypiserver.app(**options))
    with wsgiref.simple_server.make_server("127.0.0.1", 0, application, Server, Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Index(folder, server.server_port, f"{USER}:{PASSWORD}@" if private else "")
        server.shutdown()
