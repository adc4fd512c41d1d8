# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The Python interpreters of the host, and their versions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import SYSTEM_PATH


class InterpreterVersions:
    """Versions of the host's interpreters. Each interpreter is queried once per run."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        # Witnesses for a stamp: the programs that these versions depend on.
        self.seen: dict[str, Any] = {}

    def __getitem__(self, interpreter: str) -> str:
        if interpreter not in self.known:
            path = shutil.which(interpreter, path=SYSTEM_PATH)
            found = [path, os.path.realpath(path)] if path else []
            for kind, witness in stamps.witnesses(found).items():
                self.seen.setdefault(kind, {}).update(witness)
            self.known[interpreter] = (interpreter_version(path) if path else "") or "missing"
        return self.known[interpreter]


def interpreter_version(interpreter: str) -> str:
    """Implementation and version of an interpreter, such as ``cpython-3.11``; empty for any other program."""
    if os.path.realpath(interpreter) == os.path.realpath(sys.executable):
        # This interpreter runs this module, as on most hosts, so it need not be started again.
        return f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}"
    code = "import sys; print('%s-%d.%d' % (sys.implementation.name, *sys.version_info[:2]))"
    try:
        answer = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    except (subprocess.SubprocessError, OSError):
        return ""
    return answer.stdout.strip()
