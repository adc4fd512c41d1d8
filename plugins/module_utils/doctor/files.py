# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the files that nginx serves, and at the files that must be private. Changes nothing."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.live import through_nginx
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.sockets import blocked_at, web_account
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import mode_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.ignore_files import ignored_by
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Question, ask
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import Budget, walk
from ansible_collections.pyweb.stack.plugins.module_utils.release.completeness import changeable_files
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, has_environment, read_manifest

# Seconds to wait for an answer. A health check does not accept a slower one.
PATIENCE = 5.0
# Maximum number of files in a static folder to search for one to request.
STATIC_ENTRIES = 1000
# The most paths that a check of modes names.
MOST_NAMED = 5


def look_at_static(spec: dict[str, Any], item: dict[str, str], root: str, group: str) -> dict[str, Any]:
    """A folder that nginx serves itself: whether it exists and is readable, and nginx's answer for one of its files."""
    folder = item["folder"].rstrip("/")
    found: dict[str, Any] = {"url": item["url"], "folder": folder, "there": os.path.isdir(folder), "blocked": ""}
    if not found["there"]:
        source = os.path.join(root, spec["name"], "current", "src")
        if folder.startswith(f"{source}/"):
            found["ignored"] = ignored_by(source, os.path.relpath(folder, source))
        return found
    uid, groups = web_account(group)
    found["blocked"] = blocked_at(folder, uid, groups)
    sample = first_file(folder)
    # The newest file shows whether nginx can read what the application writes now.
    found["shared"] = f"{folder}/".startswith(Layout(spec["name"], root).shared + "/")
    for name in filter(None, (sample, newest_file(folder) if found["shared"] else "")):
        found["blocked"] = found["blocked"] or blocked_at(os.path.join(folder, name), uid, groups)
    if found["blocked"]:
        found |= {"mode": mode_of(found["blocked"]).get("mode", ""), "lists": acl.is_supported(folder)}
    if sample:
        found["asked"] = item["url"] + sample
        question = Question(port=spec["port"], **{**through_nginx(spec), "path": found["asked"]})
        found["answer"] = ask(question, PATIENCE).as_dict()
    return found


def first_file(folder: str) -> str:
    """A file whose name needs no quoting in a URL, as a path below the folder; empty if there is none."""
    with contextlib.suppress(OSError):
        for visit in walk(folder, Budget(entries=STATIC_ENTRIES)):
            for name, status in sorted(visit.files.items()):
                relative = visit.below(name)
                plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", relative) and "/." not in relative
                if plain and stat.S_ISREG(status.st_mode):
                    return relative
    return ""


def newest_file(folder: str) -> str:
    """The file that was changed last, among the first ones, as a path below the folder; empty if there is none."""
    newest, found = 0, ""
    with contextlib.suppress(OSError):
        for visit in walk(folder, Budget(entries=STATIC_ENTRIES)):
            visit.folders[:] = [name for name in visit.folders if not name.startswith(".")]
            for name, status in visit.files.items():
                if stat.S_ISREG(status.st_mode) and not name.startswith(".") and status.st_ctime_ns > newest:
                    newest, found = status.st_ctime_ns, visit.below(name)
    return found


def look_at_modes(layout: Layout, live: str) -> list[str]:
    """The files and folders of the live release and of its environment that others than root can change, some of them.

    Each is a path with the reason. A walk that can't be finished is a reason, too.
    """
    release = layout.release(live)
    found = []
    manifest = read_manifest(layout, live)
    shared = [os.path.join(layout.venvs, manifest.venv)] if manifest and manifest.venv else []
    with contextlib.suppress(OSError):
        shared.append(os.path.normpath(os.path.join(release, os.readlink(os.path.join(release, "venv")))))
    for top in (release, *dict.fromkeys(shared)):
        try:
            for path, why in changeable_files(top):
                found.append(f"{path} {why}")
                if len(found) >= MOST_NAMED:
                    return found
        except FileNotFoundError:
            continue
        except OSError as error:
            found.append(f"{error.filename or top} can't be checked: {error.strerror}")
    return found


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
    manifest = read_manifest(layout, live)
    # The environment of a release may add a shared one.
    is_there = os.path.exists(paths["python"]) and (manifest is None or has_environment(layout, manifest))
    found["python"] = {"there": is_there, "path": paths["python"], "venvs": layout.venvs}
    return found
