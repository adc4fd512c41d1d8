#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Runs ssh, and keeps what a host answered in a folder of its address below BENCH_ANSWERS: see fleet.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import answers


def main() -> int:
    words = sys.argv[1:]
    # Ansible's own requests to the connection that is kept open have no command.
    if "-O" in words:
        return subprocess.call(["ssh", *words])
    given = sys.stdin.buffer.read()
    answer = subprocess.run(["ssh", *words], input=given, stdout=subprocess.PIPE, check=False)
    target = next(word for word in words if word == os.environ["BENCH_FIRST"] or word == os.environ["BENCH_OTHER"])
    answers.save(
        Path(os.environ["BENCH_ANSWERS"], target), answers.key_of(words[-1], given), answer.returncode, answer.stdout
    )
    sys.stdout.buffer.write(answer.stdout)
    return answer.returncode


if __name__ == "__main__":
    sys.exit(main())
