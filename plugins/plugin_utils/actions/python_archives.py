# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The archives of interpreters that the controller sends to hosts: python_archives."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import archive_version
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import LookAction, Refused, failed
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import Part

Due = list[tuple[Part, str]]

KEYS = {"path", "checksum"}
CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")


def listed_archives(value: Any, bases: list[str]) -> tuple[list[dict[str, str]], list[str]]:
    """The archives with name, sha256 and their ``local`` path, and the problems. ``bases`` are folders to search."""
    problems = wrong_archives(value)
    found: list[dict[str, str]] = []
    for number, item in enumerate([] if problems else value or [], 1):
        path = os.path.expanduser(str(item["path"]))
        local = next((one for base in bases if os.path.isfile(one := os.path.join(base, path))), "")
        if not local:
            problems.append(
                f"python_archives no. {number}.path: '{path}' is not a file on the controller, in: {', '.join(bases)}. "
                "Correct the path."
            )
        checksum = str(item["checksum"]).removeprefix("sha256:")
        found.append({"name": os.path.basename(path), "sha256": checksum, "local": local})
    return found, problems


def wrong_archives(value: Any) -> list[str]:
    """The problems of the input, before any file is looked for."""
    if value is not None and not isinstance(value, list):
        return ["python_archives: this must be a list; write it as [{path: …, checksum: 'sha256:…'}]"]
    problems, seen = [], set()
    for number, item in enumerate(value or [], 1):
        where = f"python_archives no. {number}"
        if not isinstance(item, dict) or set(item) != KEYS:
            problems.append(f"{where}: set path and checksum, and nothing else.")
            continue
        path = str(item["path"])
        name = os.path.basename(path)
        version = archive_version(name)
        if not version or not path.isprintable():
            problems.append(
                f"{where}.path: '{name}' is no archive of python-build-standalone. Give one such as "
                "cpython-3.13.5+20250612-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz."
            )
        elif not CHECKSUM.fullmatch(str(item["checksum"])):
            problems.append(f"{where}.checksum: this is no checksum. Write it as 'sha256:' and 64 hexadecimal digits.")
        elif version in seen:
            problems.append(f"{where}.path: another item is Python {version} too. Remove one of them.")
        seen.add(version)
    return problems


def wrong_checksum(path: str, wanted: str) -> str:
    """The problem with an archive of the controller; empty if it has its checksum."""
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest == wanted:
        return ""
    return (
        f"python_archives: {path} has the checksum sha256:{digest}, but the inventory says sha256:{wanted}. Compare "
        "the archive with the original."
    )


class ArchivesAction(LookAction):
    """An action that sends archives of interpreters to the host."""

    # The paths of the archives on the controller, by their names.
    local_archives: dict[str, str]

    def archives(self, value: Any) -> list[dict[str, str]]:
        """The archives that the inventory lists, with name and checksum. Raises Refused."""
        found, problems = listed_archives(value, self.bases())
        if problems:
            raise Refused(failed(problems))
        self.local_archives = {one["name"]: one.pop("local") for one in found}
        return found

    @contextmanager
    def sent_archives(self, due: Due) -> Iterator[Due]:
        """The parts of a plan, with the archives of the part python on the host as long as this lasts."""
        wanted = any(part.role == "python" and part.inputs.get("archives") for part, _key in due)
        if self._task.check_mode or not wanted:
            yield due
            return
        folder = self._make_tmp_path()
        try:
            yield [(self.with_archives(part, folder) if part.role == "python" else part, key) for part, key in due]
        finally:
            self._remove_tmp_path(folder)

    def with_archives(self, part: Part, folder: str) -> Part:
        """The part python with the paths of its archives on the host."""
        archives = []
        for one in part.inputs["archives"]:
            local = self.local_archives[one["name"]]
            if problem := wrong_checksum(local, one["sha256"]):
                raise Refused(failed([problem]))
            remote = self._connection._shell.join_path(folder, one["name"])
            self._transfer_file(local, remote)
            archives.append({**one, "path": str(remote)})
        return Part(part.role, {**part.inputs, "archives": archives}, part.secrets)
