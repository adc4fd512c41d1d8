# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run a program and keep the end of its output: in memory, whatever it prints, and on no disk."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

# Bytes of each stream that are kept; messages show the last lines.
MOST_OUTPUT = 1024**2
# A program that prints more bytes is ended.
MOST_PRINTED = 4 * 1024**3
CHUNK = 256 * 1024
# Seconds between two looks at a program whose output is still open.
INTERVAL = 0.02
# How often a pipe is read after the program has ended. It holds 64 KiB, unless another process still writes.
LAST_ROUNDS = 16


class Tail:
    """The last bytes of a stream."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.data = bytearray()
        self.seen = 0

    def add(self, chunk: bytes) -> None:
        self.seen += len(chunk)
        self.data += chunk
        if len(self.data) > 2 * self.most:
            del self.data[: -self.most]

    @property
    def text(self) -> str:
        return bytes(self.data[-self.most :]).decode(errors="replace")


def captured(
    argv: list[str],
    environment: dict[str, str],
    cwd: str,
    timeout: float | None,
    end: Callable[[subprocess.Popen[bytes]], None],
    most: int = MOST_OUTPUT,
) -> subprocess.CompletedProcess[str]:
    """Run a program; raise TimeoutExpired where it takes too long. ``end`` ends it and all that it has started."""
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    output, errors = Tail(most), Tail(most)
    until = None if timeout is None else time.monotonic() + timeout
    try:
        with selectors.DefaultSelector() as selector:
            for stream, kept in ((process.stdout, output), (process.stderr, errors)):
                assert stream is not None  # for the type checker
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, kept)
            follow(process, selector, until)
    except subprocess.TimeoutExpired:
        raise subprocess.TimeoutExpired(argv, timeout or 0, output.text, errors.text) from None
    finally:
        if process.poll() is None:
            end(process)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    if output.seen + errors.seen > MOST_PRINTED:
        errors.add(f"\nended, because it has printed more than {MOST_PRINTED // 1024**3} GiB".encode())
    return subprocess.CompletedProcess(argv, process.returncode, output.text, errors.text)


def follow(process: subprocess.Popen[bytes], selector: selectors.BaseSelector, until: float | None) -> None:
    """Read the output of a program until it has ended.

    The end of the output alone does not count: another process may hold the pipe.
    """
    rounds = LAST_ROUNDS
    while True:
        has_ended = process.poll() is not None
        rounds -= has_ended
        keys = selector.select(0 if has_ended else INTERVAL) if selector.get_map() else []
        read = [drained(selector, key) for key, _events in keys]
        if has_ended and (not any(read) or not rounds):
            return
        if sum(read) > MOST_PRINTED:
            return
        if until is not None and time.monotonic() > until:
            raise subprocess.TimeoutExpired(process.args, 0)
        if not selector.get_map() and not has_ended:
            with suppress(subprocess.TimeoutExpired):
                process.wait(INTERVAL)


def drained(selector: selectors.BaseSelector, key: Any) -> int:
    """Read what a pipe holds at the moment; return how many bytes it has given up to now, 0 at its end."""
    try:
        chunk = os.read(key.fd, CHUNK)
    except BlockingIOError:
        return 0
    if not chunk:
        selector.unregister(key.fileobj)
        return 0
    key.data.add(chunk)
    return int(key.data.seen)
