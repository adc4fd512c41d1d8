# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A connection to a host that there is not: it answers as a real host has answered to the same module."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import answers

DOCUMENTATION = """
name: bench_stub
short_description: answers that were recorded, for the benchmark of this project
description:
  - Measures what the controller does for a host. The environment variable E(BENCH_ANSWERS) names the recorded answers,
    and E(BENCH_STATE) an empty folder.
options:
  host:
    description: the name of the host
    vars: [{name: inventory_hostname}]
  like:
    description: the folder of the answers of the host that this one is like
    vars: [{name: bench_like}]
"""


class Connection(ConnectionBase):
    transport = "bench_stub"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        host, like = (str(self.get_option(name)) for name in ("host", "like"))  # type: ignore[no-untyped-call]
        key = answers.key_of(cmd, in_data or b"")
        # Each task has a process of its own, so a file counts.
        asked = Path(os.environ["BENCH_STATE"], f"{host}.{key}")
        number = asked.stat().st_size if asked.exists() else 0
        with asked.open("a") as stream:
            stream.write(".")
        try:
            answer = answers.load(Path(os.environ["BENCH_ANSWERS"], like), key, number)
        except LookupError as error:
            raise AnsibleConnectionFailure(str(error)) from error
        return answer["status"], answer["output"].encode(), b""

    def put_file(self, in_path: str, out_path: str) -> None:
        pass

    def fetch_file(self, in_path: str, out_path: str) -> None:
        raise AnsibleConnectionFailure("nothing was recorded for files that come from a host")

    def close(self) -> None:
        self._connected = False
