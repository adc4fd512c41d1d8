#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Runs ssh, and keeps what a host answered in a folder of its address below BENCH_ANSWERS: see fleet.py."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import answers


def passed_on(command: list[str]) -> tuple[int, bytes, bytes]:
    """The status, input and output of a command. Ansible waits for the first output before it sends the input."""
    # Without input, Ansible gives a terminal, which does not end.
    terminal = sys.stdin.isatty()
    given, output = bytearray(), bytearray()
    with subprocess.Popen(command, stdin=None if terminal else subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def send() -> None:
            assert process.stdin
            with contextlib.suppress(BrokenPipeError):
                while piece := os.read(0, 65536):
                    given.extend(piece)
                    process.stdin.write(piece)
                    process.stdin.flush()
                process.stdin.close()

        if not terminal:
            threading.Thread(target=send, daemon=True).start()
        assert process.stdout
        while piece := os.read(process.stdout.fileno(), 65536):
            output.extend(piece)
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        status = process.wait()
    return status, bytes(given), bytes(output)


def main() -> int:
    words = sys.argv[1:]
    hosts = (os.environ["BENCH_FIRST"], os.environ["BENCH_OTHER"])
    target = next((word for word in words if word.rpartition("@")[2] in hosts), "")
    # Requests to the connection that is kept open, and those that only open it, have no command.
    if "-O" in words or not target or words[-1] == target:
        return subprocess.call(["ssh", *words])
    target = target.rpartition("@")[2]
    status, given, output = passed_on(["ssh", *words])
    folder = Path(os.environ["BENCH_ANSWERS"], target)
    answers.save(folder, answers.key_of(words[-1], given), status, output)
    return status


if __name__ == "__main__":
    sys.exit(main())
