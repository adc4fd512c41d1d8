# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the files that nginx serves, and at the files that must be private. Changes nothing."""

from __future__ import annotations

import os
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.sockets import blocked_at, web_account
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import mode_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Question, ask
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout

# Seconds to wait for an answer. A health check does not accept a slower one.
PATIENCE = 5.0
# Maximum number of files in a static folder to search for one to request.
STATIC_ENTRIES = 1000


def look_at_static(spec: dict[str, Any], item: dict[str, str], group: str) -> dict[str, Any]:
    """A folder that nginx serves itself: whether it exists and is readable, and nginx's answer for one of its files."""
    folder = item["folder"].rstrip("/")
    found: dict[str, Any] = {"url": item["url"], "folder": folder, "there": os.path.isdir(folder), "blocked": ""}
    if not found["there"]:
        return found
    uid, groups = web_account(group)
    found["blocked"] = blocked_at(folder, uid, groups)
    sample = first_file(folder)
    if sample:
        found["blocked"] = found["blocked"] or blocked_at(os.path.join(folder, sample), uid, groups)
        found["asked"] = item["url"] + sample
        question = Question(port=spec["port"], **{**spec["question"], "path": found["asked"]})
        found["answer"] = ask(question, PATIENCE).as_dict()
    return found


def first_file(folder: str) -> str:
    """A file whose name needs no quoting in a URL, as a path below the folder; empty if there is none."""
    seen = 0
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            seen += 1
            relative = os.path.relpath(os.path.join(base, name), folder)
            if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", relative) and "/." not in relative:
                return relative
            if seen > STATIC_ENTRIES:
                return ""
    return ""


def look_at_files(layout: Layout, live: str) -> dict[str, Any]:
    """Owner and mode of the files that must be private."""
    release = layout.release(live)
    paths = {
        "env": os.path.join(release, "env"),
        "manifest": os.path.join(release, "release.json"),
        "key": layout.path(".fingerprint_key"),
        "source": os.path.join(release, "src"),
        "python": os.path.join(release, "venv", "bin", "python"),
    }
    found = {key: mode_of(path) for key, path in paths.items()}
    found["python"] = {"there": os.path.exists(paths["python"]), "path": paths["python"], "venvs": layout.venvs}
    return found
