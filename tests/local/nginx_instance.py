# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A real nginx for one test, in a temporary folder and on loopback ports."""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import random
import re
import shutil
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.nginx_files import nginx_files
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.processes import processes
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.transaction import Transaction

BINARY = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_nginx = pytest.mark.skipif(BINARY is None, reason="nginx is not installed here: apt-get install nginx-light")


# Sockets that reserve ports among tests that run in parallel. Only one process can bind such a name, which is free
# again when the process ends. No test uses this many ports at a time.
MEANT: deque[socket.socket] = deque()
PORTS_AT_A_TIME = 50


def free_port() -> int:
    """A port below the kernel's range for clients. No other test takes it before the caller listens on it."""
    while len(MEANT) > PORTS_AT_A_TIME:
        MEANT.popleft().close()
    while True:
        port = random.randrange(10000, 30000)
        mark = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            mark.bind(f"\0a port of pyweb.stack's tests: {port}")
            with socket.create_server(("127.0.0.1", port)):
                MEANT.append(mark)
                return port
        mark.close()


class Instance:
    """An nginx for this test only, and the configuration tree for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "etc"
        self.conf.mkdir()
        (folder / "log").mkdir()
        self.port = free_port()

    def params(self, sites: dict[str, str]) -> dict[str, Any]:
        main = f"""\
pid {self.folder}/nginx.pid;
error_log {self.folder}/log/error.log;
error_log @TREE@/loaded emerg;
worker_processes 2;
events {{}}
http {{
    access_log off;
    client_body_temp_path {self.folder}/body;
    proxy_temp_path {self.folder}/proxy;
    fastcgi_temp_path {self.folder}/fastcgi;
    uwsgi_temp_path {self.folder}/uwsgi;
    scgi_temp_path {self.folder}/scgi;
    include conf.d/*.conf;
    include @TREE@/sites/*.conf;
    include sites-enabled/*;
}}
"""
        files = {"nginx.conf": main} | {f"sites/{name}.conf": text for name, text in sites.items()}
        return {
            "files": [{"path": path, "content": content} for path, content in files.items()],
            "secret_files": {},
            "drop_in": None,
            "conf_dir": str(self.conf),
            "pid_file": str(self.folder / "nginx.pid"),
            "error_log": str(self.folder / "log/error.log"),
            "init": "none",
            "stamp": "as wished",
            "owners": ["nginx_sites"],
            "removed": [],
            "certificates": [],
            "acme": {},
            "ca_certificate": "",
            "ca_key": "",
            "fetch": False,
            "renewal": None,
            "state_dir": str(self.folder / "state"),
        }

    def site(self, answer: str, port: int | None = None) -> str:
        return f'server {{\n    listen 127.0.0.1:{port or self.port};\n    return 200 "{answer}";\n}}\n'

    def transaction(self, **sites: str) -> Transaction:
        return Transaction(self.params(sites), BINARY, run_command)

    def run(self, check_mode: bool = False, **sites: str) -> dict[str, Any]:
        return run_module(self.transaction(**sites), check_mode)

    def get(self, port: int | None = None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=5)
        connection.request("GET", "/")
        return connection.getresponse().read().decode()

    def refuses(self, port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False

    @property
    def master(self) -> int:
        return int((self.folder / "nginx.pid").read_text())

    def trees(self) -> list[str]:
        return sorted(os.listdir(self.conf / "pyweb/trees"))

    def live(self) -> str:
        return os.path.basename(os.readlink(self.conf / "pyweb/current"))

    def kill_master(self) -> int:
        """Kill the master with SIGKILL and wait until it is gone. Return its process id."""
        master = self.master
        os.kill(master, signal.SIGKILL)
        assert wait_for(lambda: not stamps.process_witness(master), 20), f"the killed process {master} is still there"
        return master

    def reload_by_hand(self) -> None:
        """Reload as ``kill -HUP`` does, and wait until every worker is new."""
        workers, master = self.transaction().nginx.workers, self.master
        before = workers(master)
        os.kill(master, signal.SIGHUP)
        assert wait_for(lambda: bool(workers(master)) and not workers(master) & before, 20), "no new workers came"

    def stop(self) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            master = self.master
            family = [process.pid for process in processes().values() if master in (process.pid, process.session)]
            for pid in family:
                os.kill(pid, signal.SIGKILL)


def run_module(transaction: Transaction, check_mode: bool = False) -> dict[str, Any]:
    """Run the transaction and write a stamp for it, as the module does."""
    result = transaction.run(check_mode)
    if transaction.witnesses:
        stamps.record("nginx", "as wished", transaction.witnesses)
    return result


def killed_at(owner: type, step: str, before: bool, run: Callable[[], Any]) -> None:
    """A run in a separate process that is killed before or after one of its steps."""
    pid = os.fork()
    if pid == 0:
        real = getattr(owner, step)

        def last(*arguments: Any, **named: Any) -> None:
            if not before:
                real(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, step, last)
        try:
            run()
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), f"the run never came to {step}"


TYPES = "types { text/html html; text/css css; application/javascript js; text/plain txt; }\n"


@dataclass
class Answer:
    """The response that a visitor gets."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Front(Instance):
    """An nginx on loopback with the files of the role. Paths of a real host point into the test's folder."""

    def __init__(self, folder: Path, render: Callable[..., Any]) -> None:
        super().__init__(folder)
        self.render = render
        (folder / "mime.types").write_text(TYPES)
        self.socket = str(folder / "app.sock")
        # Other accounts can't open the folders of a test.
        self.user = pwd.getpwuid(os.geteuid()).pw_name

    def serve(self, sites: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
        return self.install(nginx_files(sites, settings))

    def install(self, planned: list[dict[str, Any]], **params: Any) -> dict[str, Any]:
        """Install the files of a plan, with other parameters of the transaction."""
        for item in planned:
            if item["path"] == "nginx.conf":
                item["vars"] |= {
                    "user": self.user,
                    "pid_file": f"{self.folder}/nginx.pid",
                    "log_dir": f"{self.folder}/log",
                }
        files = [{**file, "content": self.here(file["content"])} for file in self.render("nginx", planned)]
        secrets = {file["path"]: file["content"] for file in files if file.get("secret")}
        plain = [file for file in files if not file.get("secret")]
        given = self.params({}) | {"files": plain, "secret_files": secrets} | params
        transaction = Transaction(given, BINARY, run_command)
        result = transaction.run(False)
        self.warnings = transaction.warnings
        return result

    def here(self, content: str) -> str:
        """The text of a file with the paths and addresses of this test."""
        temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"    {name}_temp_path {self.folder}/{name};\n" for name in temporary)
        content = content.replace("\nhttp {\n", f"\nhttp {{\n{paths}")
        content = content.replace("/etc/nginx/mime.types", f"{self.folder}/mime.types")
        content = content.replace("/var/log/nginx/", f"{self.folder}/log/").replace(
            "/var/lib/nginx/", f"{self.folder}/"
        )
        return re.sub(r"listen ([0-9]+\b)(?!\.)", r"listen 127.0.0.1:\1", content).replace("[::]", "[::1]")

    def site(self, **keys: Any) -> dict[str, Any]:  # type: ignore[override]
        """A site that passes requests to the test's socket."""
        return {
            "name": "shop",
            "domains": ["shop.example.com"],
            "port": self.port,
            "locations": [{"path": "/", "upstream": f"unix:{self.socket}"}],
            **keys,
        }

    def ask(self, path: str, method: str = "GET", host: str = "shop.example.com", **options: Any) -> Answer:
        """Send a request as a visitor. Options: ``headers``, ``body``, ``port``, ``source`` (the visitor's address)."""
        connection = http.client.HTTPConnection(
            "127.0.0.1",
            options.get("port", self.port),
            timeout=10,
            source_address=(options.get("source", "127.0.0.1"), 0),
        )
        with contextlib.closing(connection):
            headers = {"Host": host, **options.get("headers", {})}
            connection.request(method, path, body=options.get("body"), headers=headers)
            response = connection.getresponse()
            told = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, told, response.read())

    def raw(self, request: bytes, port: int | None = None) -> bytes:
        """The complete response to these bytes, until nginx closes the connection."""
        with socket.create_connection(("127.0.0.1", port or self.port), timeout=10) as visitor:
            visitor.sendall(request)
            return read_all(visitor)

    def log(self, name: str) -> str:
        """The text of a log. Waits for it, because nginx writes the line after it has sent the response."""
        path = self.folder / "log" / name
        assert wait_for(lambda: path.stat().st_size > 0, 20), f"nothing was written to {path}"
        return path.read_text()


def read_all(connection: socket.socket) -> bytes:
    seen = bytearray()  # grows in place: a test reads 30 MB
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            seen += piece
    return bytes(seen)


@dataclass
class Request:
    """A request that an application behind nginx receives."""

    line: str
    headers: dict[str, str]
    body: bytes


class App:
    """An application that answers every request with ``answer`` and records the requests."""

    def __init__(self, address: str, answer: Any = None, keep: bool = False) -> None:
        self.answer = answer or ok("app")
        self.keep = keep
        self.asked: list[Request] = []
        self.begun = threading.Event()
        self.connections = 0
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(address)
        os.chmod(address, 0o666)
        self.server.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self.server.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while line := stream.readline().decode("latin-1").rstrip("\r\n"):
                self.begun.set()
                headers: dict[str, str] = {}
                while header := stream.readline().decode("latin-1").rstrip("\r\n"):
                    name, value = header.split(": ", 1) if ": " in header else (header.rstrip(":"), "")
                    assert name not in headers, f"{name} came twice"
                    headers[name] = value
                request = Request(line, headers, stream.read(int(headers.get("Content-Length", 0))))
                self.asked.append(request)
                answer = self.answer(request) if callable(self.answer) else self.answer
                if isinstance(answer, bytes):
                    answer = [answer if self.keep else last_of_connection(answer)]
                for piece in answer:
                    connection.sendall(piece)
                if not self.keep:
                    break

    def close(self) -> None:
        # Otherwise the thread that waits in accept() would hold the socket and accept the next connection.
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


def last_of_connection(answer: bytes) -> bytes:
    """The response with a header that announces the end of the connection. nginx could send the next POST on it."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 ") or b"\r\nconnection:" in head.lower():
        return answer
    return head + b"\r\nConnection: close" + end + body


def ok(body: str, *headers: str, status: str = "200 OK") -> bytes:
    """A response of an application."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(head) + f"\r\n\r\n{body}").encode()
