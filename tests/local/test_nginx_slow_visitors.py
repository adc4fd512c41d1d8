# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Thousands of slow visitors, created by slowhttptest on loopback, must not affect other visitors."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nginx_instance import App, Front, free_port, needs_nginx

SLOWHTTPTEST = shutil.which("slowhttptest")

pytestmark = [
    pytest.mark.alone,
    needs_nginx,
    pytest.mark.skipif(SLOWHTTPTEST is None, reason="slowhttptest is not here: apt-get install slowhttptest"),
]

VISITORS = 3000  # of each kind
SOME = 500  # one program takes long to open all
SECONDS = 15  # nginx disconnects a client with a slow header after 10
DESCRIPTORS = 20_000


@pytest.fixture
def front(tmp_path: Path, render: Callable[..., Any]) -> Iterator[Front]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        reason = f"this account may open {hard} files; {DESCRIPTORS} are needed (ulimit -Hn)"
        pytest.skip(reason)  # only root may raise it: Debian's own default is far above, a container's may not be
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    os.chmod(tmp_path, 0o755)
    instance = Front(tmp_path, render)
    yield instance
    instance.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Slow:
    """Some visitors of one kind; when nginx has disconnected all of them, they connect again."""

    def __init__(self, port: int, kind: str) -> None:
        words = ["-c", str(SOME), "-r", str(SOME), "-l", str(SECONDS), "-i", "5", "-x", "2", "-v", "1", "-s", "100000"]
        self.command = [str(SLOWHTTPTEST), kind, *words, "-u", f"http://127.0.0.1:{port}/"]
        self.times = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.come)
        self.thread.start()

    def come(self) -> None:
        while not self.ended.is_set():
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            self.times += 1
            self.process.wait()

    def close(self) -> None:
        self.ended.set()
        while self.thread.is_alive():
            if self.process:
                self.process.kill()
            self.thread.join(0.1)


def connections(front: Front, port: int) -> int:
    """The number of connections that nginx holds open."""
    return int(re.search(r"Active connections: (\d+)", front.ask("/status", port=port).text)[1])  # type: ignore[index]


def test_three_thousand_slow_heads_and_bodies_stop_nobody(front: Front) -> None:
    app, status = App(front.socket), free_port()
    # As many connections as the limit of open files here allows for; the role's own number is higher.
    front.serve([front.site(domains=[])], worker_connections=6000, worker_processes="2", status_port=status)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(app))
        slow = [
            stack.enter_context(contextlib.closing(Slow(front.port, kind)))
            for _ in range(VISITORS // SOME)
            for kind in ("-H", "-B")
        ]
        begun, times, held = time.monotonic(), [], []
        while time.monotonic() < begun + SECONDS:
            asked = time.monotonic()
            assert front.ask("/").status == 200
            times.append(time.monotonic() - asked)
            held.append(connections(front, status))
            time.sleep(0.02)
        # slowhttptest also sends a complete request now and then, to check whether the server still answers.
        methods = {request.line.split()[0] for request in app.asked}
        assert methods == {"GET"}, "a slow body must not keep a worker of the application"
    print(f"{len(times)} others, the slowest {max(times):.3f} s, beside up to {max(held)} connections")
    assert max(held) > VISITORS * 1.9, "both kinds were there at once"
    assert sum(count > VISITORS for count in held) > len(held) / 2, "and they stayed"
    assert all(one.times > 1 for one in slow[::2]), "none was thrown out: were they slow at all?"
    # On a busy machine, a process may wait for a second. If connections ran out, no visitor would get a response.
    assert sorted(times)[len(times) * 95 // 100] < 0.5, "19 of 20 notice nothing"
    assert max(times) < 3.0, f"a visitor waited {max(times):.1f} s"
