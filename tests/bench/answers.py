# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Answers of real hosts to what Ansible asked them: recording_ssh.py keeps them, bench_stub.py gives them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

MODULE = re.compile(
    rb"ansible_collections[./]pyweb[./]stack[./]plugins[./]modules[./]([a-z_]+)|ansible[./]modules[./]([a-z_]+)"
)


def key_of(command: str, given: bytes) -> str:
    """The name of a question: the module, or the first words of a command."""
    if match := MODULE.search(given) or MODULE.search(command.encode()):
        return (match[1] or match[2]).decode()
    # Names of temporary folders differ from one run to the next.
    return re.sub(r"[^a-z]+", "-", command.lower())[:40]


def save(folder: Path, key: str, status: int, output: bytes) -> None:
    """Keep an answer after those to the same question."""
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob(f"{key}.*.json")))
    answer = {"status": status, "output": output.decode(errors="replace")}
    (folder / f"{key}.{number}.json").write_text(json.dumps(answer))


def load(folder: Path, key: str, number: int) -> dict[str, Any]:
    """The answer to a question that is asked for the n-th time; the last one answers all further ones."""
    while number and not (folder / f"{key}.{number}.json").exists():
        number -= 1
    path = folder / f"{key}.{number}.json"
    if not path.exists():
        raise LookupError(f"nothing was recorded for {key}; there are: {sorted(one.name for one in folder.iterdir())}")
    found: dict[str, Any] = json.loads(path.read_text())
    return found
