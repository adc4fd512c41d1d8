# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The fingerprint of a release: code, dependencies, settings and secrets."""

from __future__ import annotations

import os
import shutil
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.release.building import SYSTEM_PATH, interpreter_version
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, digest, secret_digest
from ansible_collections.pyweb.stack.plugins.module_utils.release.requirements import without_login

# The keys of an application's specification that the fingerprint of its settings covers.
SETTINGS = (
    "wsgi",
    "protocol",
    "entry",
    "environment",
    "shared",
    "build_commands",
    "processes",
    "server_files",
    "limits",
    "process_manager",
)


class InterpreterVersions:
    """Versions of the host's interpreters. Each interpreter is asked once per run."""

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


def fingerprint(
    spec: dict[str, Any], layout: Layout, versions: InterpreterVersions, check_mode: bool
) -> dict[str, str]:
    """The fingerprint of the wanted release, part by part."""
    python, source = spec["python"], spec["source"]
    # Indexes count only where there are some, and never with their credentials.
    indexes = [without_login(one) for one in [python.get("index_url") or "", *(python.get("extra_index_urls") or [])]]
    dependencies = [
        versions[python["interpreter"]],
        python.get("requirements"),
        python.get("packages"),
        spec["server_packages"],
        source.get("package"),
        source.get("requirements_digest"),
        *(indexes if any(indexes) else []),
    ]
    return {
        "code": digest([source["kind"], source["digest"], source.get("subdir")]),
        "dependencies": digest(dependencies),
        "settings": digest([spec[key] for key in SETTINGS]),
        "secrets": secret_digest(layout, spec["env"], create_key=not check_mode and os.path.isdir(layout.home)),
    }
