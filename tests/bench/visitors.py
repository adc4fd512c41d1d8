#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Visitors that send requests back to back, over kept connections, on a port or on a unix socket.

usage: visitors.py ADDRESS PATH SECONDS PROCESSES CONNECTIONS, the connections being those of each process. Prints one
JSON object: requests, failed, seconds, the latencies p50 and p99 in milliseconds, and clocks: the processor time in
microseconds that one answer took of nginx, of the application's server and of this client, and what parts of all
processors' time were idle, and stolen (given to other machines by the hypervisor). Needs nothing but Python: the same
client asks nginx and the application's own socket, which the well-known programs cannot do.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import selectors
import socket
import sys
import time

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
# Identifies the processes of an application server by their command line.
SERVER = re.compile(rb"bin/(gunicorn|uwsgi|pyuwsgi)\0|granian/start.py\0")
TICKS = os.sysconf("SC_CLK_TCK")


class Visitor:
    """One connection: asks, reads the whole answer, asks again."""

    def __init__(self, address: str, question: bytes, selector: selectors.BaseSelector) -> None:
        self.address, self.question, self.selector = address, question, selector
        self.times: list[float] = []
        self.failed = 0
        self.connection: socket.socket | None = None
        self.ask()

    def ask(self) -> None:
        self.begun = time.perf_counter()
        self.seen, self.missing = b"", -1
        if self.connection is None:
            self.connect()
        assert self.connection is not None
        try:
            self.connection.send(self.question)
        except OSError:
            self.again()

    def connect(self) -> None:
        if self.address.startswith("/"):
            self.connection = socket.socket(socket.AF_UNIX)
            self.connection.connect(self.address)
        else:
            host, _colon, port = self.address.rpartition(":")
            self.connection = socket.create_connection((host, int(port)))
        self.connection.setblocking(False)
        self.selector.register(self.connection, selectors.EVENT_READ, self)

    def drop(self) -> None:
        assert self.connection is not None
        self.selector.unregister(self.connection)
        self.connection.close()
        self.connection = None

    def again(self) -> None:
        """Send the request again. An incomplete response counts as failed; a closed keep-alive connection does not."""
        self.failed += bool(self.seen)
        self.drop()
        self.ask()

    def read(self) -> None:
        assert self.connection is not None
        try:
            piece = self.connection.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self.again()
            return
        if self.missing < 0:
            self.seen += piece
            head, end, body = self.seen.partition(b"\r\n\r\n")
            if not end:
                return
            length = LENGTH.search(head)
            self.missing = int(length[1]) - len(body) if length else 0
        else:
            self.missing -= len(piece)
        if self.missing <= 0:
            self.times.append(time.perf_counter() - self.begun)
            self.failed += not self.seen.startswith(b"HTTP/1.1 200 ")
            if CLOSES.search(self.seen.partition(b"\r\n\r\n")[0]):
                self.drop()
            self.ask()


def visit(
    address: str, path: str, seconds: float, connections: int, results: multiprocessing.Queue[tuple[list[float], int]]
) -> None:
    question = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()
    with selectors.DefaultSelector() as selector:
        visitors = [Visitor(address, question, selector) for _ in range(connections)]
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for key, _events in selector.select(0.1):
                key.data.read()
    results.put(([one for visitor in visitors for one in visitor.times], sum(one.failed for one in visitors)))


class Clocks:
    """Processor time so far, in ticks: by kind of server, and of all processes."""

    def __init__(self) -> None:
        self.servers = {"nginx": 0, "application": 0}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            # Processes that have ended are skipped; the servers under load do not end.
            with contextlib.suppress(OSError, IndexError):
                with open(f"/proc/{pid}/cmdline", "rb") as stream:
                    words = stream.read()
                kind = "nginx" if words.startswith(b"nginx: ") else "application" if SERVER.search(words) else ""
                if kind:
                    with open(f"/proc/{pid}/stat", "rb") as stream:
                        fields = stream.read().rsplit(b")", 1)[1].split()
                    self.servers[kind] += int(fields[11]) + int(fields[12])
        times = os.times()
        self.client = (times.user + times.system + times.children_user + times.children_system) * TICKS
        with open("/proc/stat", "rb") as stream:
            spent = [int(word) for word in stream.readline().split()[1:9]]
        self.idle, self.stolen, self.all = spent[3] + spent[4], spent[7], sum(spent)


def told_clocks(before: Clocks, after: Clocks, answers: int) -> dict[str, float]:
    each: dict[str, float] = {name: after.servers[name] - before.servers[name] for name in after.servers}
    each["client"] = after.client - before.client
    found: dict[str, float] = {}
    if answers:
        found = {name: round(1e6 * ticks / TICKS / answers) for name, ticks in each.items()}
    whole = max(1, after.all - before.all)
    for name, ticks in (("idle", after.idle - before.idle), ("stolen", after.stolen - before.stolen)):
        found[name] = round(ticks / whole, 3)
    return found


def main() -> None:
    address, path, seconds, processes, connections = sys.argv[1:]
    results: multiprocessing.Queue[tuple[list[float], int]] = multiprocessing.Queue()
    arguments = (address, path, float(seconds), int(connections), results)
    workers = [multiprocessing.Process(target=visit, args=arguments) for _ in range(int(processes))]
    before = Clocks()
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    after = Clocks()
    times = sorted(one for part, _failed in found for one in part)
    told: dict[str, float | None] = {
        "requests": len(times),
        "failed": sum(failed for _part, failed in found),
        "seconds": float(seconds),
    }
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        told[name] = round(1000 * times[int(share * (len(times) - 1))], 2) if times else None
    print(json.dumps({**told, "clocks": told_clocks(before, after, len(times))}))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
