#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A strict load client: GET and POST, with and without keep-alive, and slow requests in flight all along.

    load.py http://10.88.0.5/ --host shop.example.com --rate 200 --seconds 60 [--slow 5] [--json FILE]

Anything but the expected status with a whole body counts as failed: another status, a reset, a time-out, a truncated
body. Nothing is tried again; only a kept connection that was closed while nothing was under way on it is replaced
before it is used. The report has the slowest request of each kind, and which releases answered, in their order.
Ends after --seconds, or at SIGTERM or SIGINT, when the requests under way have been answered. Exit status 1 if any
request failed.

The application it asks must answer GET /, POST /echo with the body, and GET /slow?seconds=N, with the header X-Release
on each (tests/apps/patient does).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import select
import signal
import sys
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT = 20.0
CONNECTIONS = 8  # kept alive, for each of GET and POST


class Broken(Exception):
    """A wrong response."""


@dataclass
class Tally:
    """The results of one kind of request."""

    done: int = 0
    slowest: float = 0.0
    slowest_at: str = ""
    failures: list[str] = field(default_factory=list)


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def dropped(self) -> bool:
        """Whether the server has closed it while nothing was asked.

        The socket itself is looked at, as the well-known clients do: what asyncio knows may be late on a busy machine.
        """
        if self.reader.at_eof() or self.writer.is_closing():
            return True
        poll = select.poll()
        poll.register(self.writer.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.writer.close()


class Load:
    """Send requests to one site at a fixed rate until it is stopped."""

    posted = "/echo"

    def __init__(self, url: str, host: str | None, slow_seconds: float) -> None:
        parts = urllib.parse.urlsplit(url)
        self.address, self.port = parts.hostname, parts.port or 80
        self.host = host or parts.netloc
        self.slow_seconds = slow_seconds
        self.tallies: dict[str, Tally] = {}
        self.releases: list[str] = []
        self.stopping = asyncio.Event()

    async def connect(self) -> Connection:
        return Connection(*await asyncio.open_connection(self.address, self.port))

    async def ask(self, connection: Connection, method: str, path: str, body: bytes, keep: bool) -> bool:
        """One request and its response; returns whether the connection can be used again."""
        head = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", f"Connection: {'keep-alive' if keep else 'close'}"]
        if method == "POST":
            head += [f"Content-Length: {len(body)}", "Content-Type: application/octet-stream"]
        connection.writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await connection.writer.drain()
        status, headers = await self.read_head(connection.reader)
        answer = await self.read_body(connection.reader, headers)
        if status != 200:
            raise Broken(f"status {status}: {answer[:80]!r}")
        if method == "POST" and answer != body:
            raise Broken(f"the body came back changed: {len(answer)} of {len(body)} bytes")
        release = headers.get("x-release", "")
        if release and (not self.releases or self.releases[-1] != release) and release not in self.releases:
            self.releases.append(release)
        return keep and headers.get("connection", "").lower() != "close"

    @staticmethod
    async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
        line = await reader.readline()
        if not line.endswith(b"\r\n"):
            raise Broken("the connection closed before an answer")
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while True:
            line = await reader.readline()
            if line == b"\r\n":
                return status, headers
            if not line.endswith(b"\r\n"):
                raise Broken("the connection closed within the headers")
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()

    @staticmethod
    async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            parts: list[bytes] = []
            while True:
                size = int((await reader.readline()).split(b";")[0], 16)
                chunk = await reader.readexactly(size + 2)
                if size == 0:
                    return b"".join(parts)
                parts.append(chunk[:-2])
        if "content-length" not in headers:
            raise Broken("a response without length or chunks, so it may be incomplete")
        return await reader.readexactly(int(headers["content-length"]))

    async def timed(
        self, kind: str, connection: Connection | None, method: str, path: str, body: bytes = b""
    ) -> Connection | None:
        """One request; returns the connection if it is good for another."""
        keep = connection is not None or kind.endswith("kept")
        began = time.monotonic()
        again, problem = False, ""
        try:
            async with asyncio.timeout(TIMEOUT):
                connection = connection or await self.connect()
                again = await self.ask(connection, method, path, body, keep)
        except TimeoutError:
            problem = f"{'no answer' if connection else 'no connection'} within {TIMEOUT:g} s"
        except (Broken, OSError, ValueError, asyncio.IncompleteReadError) as error:
            problem = f"{type(error).__name__}: {error}"
        self.note(kind, time.monotonic() - began, problem, body)
        if again:
            return connection
        if connection is not None:
            connection.close()
        return None

    def note(self, kind: str, took: float, problem: str, body: bytes) -> None:
        """Remember the result of a request that has just ended."""
        tally = self.tallies.setdefault(kind, Tally())
        if problem:
            tally.failures.append(f"{time.strftime('%H:%M:%S')} {problem}")
            return
        tally.done += 1
        if took > tally.slowest:
            tally.slowest, tally.slowest_at = took, time.strftime("%H:%M:%S")

    def new_body(self) -> bytes:
        """The body of another POST request."""
        return random.randbytes(random.randrange(10, 20000))

    async def stream(self, method: str, kept: bool, rate: float) -> None:
        """Requests of one kind, evenly spread, each in a task of its own: a slow answer holds up none of the others."""
        kind = f"{method} {'kept' if kept else 'fresh'}"
        path = "/" if method == "GET" else self.posted
        idle: list[Connection] = []
        tasks: set[asyncio.Task[None]] = set()

        async def one() -> None:
            body = self.new_body() if method == "POST" else b""
            connection = idle.pop() if kept and idle else None
            if connection is not None and connection.dropped():
                # A server may close a connection while it is idle (nginx does at a reload), and every client has to
                # look.
                connection.close()
                connection = None
            connection = await self.timed(kind, connection, method, path, body)
            if connection is not None and len(idle) < CONNECTIONS:
                idle.append(connection)
            elif connection is not None:
                connection.close()

        due = time.monotonic() + random.random() / rate
        while not self.stopping.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += 1 / rate
        await asyncio.gather(*tasks)
        for connection in idle:
            connection.close()

    async def slow(self) -> None:
        """Requests that take their time, one after the other, so that some are under way at every moment."""
        await asyncio.sleep(random.random() * self.slow_seconds)
        while not self.stopping.is_set():
            await self.timed("slow", None, "GET", f"/slow?seconds={self.slow_seconds:g}")

    async def run(self, rate: float, slow: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stopping.set)
        loop.call_later(seconds, self.stopping.set)
        streams = [self.stream(method, kept, rate / 4) for method in ("GET", "POST") for kept in (False, True)]
        await asyncio.gather(*streams, *(self.slow() for _ in range(slow)))

    def report(self) -> dict[str, object]:
        return {
            "requests": sum(tally.done + len(tally.failures) for tally in self.tallies.values()),
            "failed": sum(len(tally.failures) for tally in self.tallies.values()),
            "slowest": round(
                max((tally.slowest for kind, tally in self.tallies.items() if kind != "slow"), default=0.0), 3
            ),
            "releases": self.releases,
            "kinds": {
                kind: {
                    "done": tally.done,
                    "slowest": round(tally.slowest, 3),
                    "at": tally.slowest_at,
                    "failures": tally.failures[:20],
                }
                for kind, tally in sorted(self.tallies.items())
            },
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="the site, such as http://127.0.0.1/; a host of your own")
    parser.add_argument("--host", help="the Host header, if the site goes by another name")
    parser.add_argument("--rate", type=float, default=200, help="requests a second (%(default)s)")
    parser.add_argument("--slow", type=int, default=5, help="slow requests in flight (%(default)s)")
    parser.add_argument("--slow-seconds", type=float, default=3, help="seconds that each of them takes (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="when to end by itself, 900 at most (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the report there")
    arguments = parser.parse_args()
    load = Load(arguments.url, arguments.host, arguments.slow_seconds)
    asyncio.run(load.run(min(arguments.rate, 1000), min(arguments.slow, 100), min(arguments.seconds, 900)))
    report = load.report()
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 1 if report["failed"] or not report["requests"] else 0


if __name__ == "__main__":
    sys.exit(main())
