# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The versions of the host's Python interpreters."""

from __future__ import annotations

import os
import shutil
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.interpreters import version_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import SYSTEM_PATH
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import is_version


class InterpreterVersions:
    """Versions of the host's interpreters. Each interpreter is queried once per run."""

    def __init__(self, root: str = "/srv/webapps") -> None:
        self.root = root
        self.known: dict[str, str] = {}
        # Witnesses for a stamp: the programs that these versions depend on.
        self.seen: dict[str, Any] = {}

    def __getitem__(self, given: str | None) -> str:
        """The version of an interpreter that is given by name, path or version; without one, that of the host."""
        interpreter = given or "python3"
        if is_version(interpreter):
            # Which interpreter of this version it is does not matter, nor whether the host has it already.
            return f"cpython-{interpreter}"
        if interpreter not in self.known:
            path = shutil.which(interpreter, path=SYSTEM_PATH)
            found = [path, os.path.realpath(path)] if path else []
            for kind, witness in stamps.witnesses(found).items():
                self.seen.setdefault(kind, {}).update(witness)
            self.known[interpreter] = (version_of(path, self.root) if path else "") or "missing"
        return self.known[interpreter]
