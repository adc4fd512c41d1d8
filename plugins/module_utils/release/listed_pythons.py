# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Keep the interpreters that the inventory lists, and remove those that no release uses."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext, suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.pythons import (
    FOLDER,
    LISTED,
    Python,
    home_of,
    listed_checksum,
    provided,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import has_lock_holder
from ansible_collections.pyweb.stack.plugins.module_utils.release.provided_pythons import (
    PythonError,
    Supply,
    folder_lock,
    install,
    roots_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import archive_version


def apply_archives(archives: list[dict[str, str]], uv: str, check_mode: bool, folder: str = FOLDER) -> bool:
    """Install the interpreters of these archives, and note which ones the inventory lists. Return whether it differed.

    An archive without a path is one that the host already has.
    """
    wanted = {archive_version(one["name"]): one for one in archives}
    changed = False
    with nullcontext() if check_mode else folder_lock(folder):
        there = {one.version: one for one in provided(folder)}
        for version, one in there.items():
            checksum = wanted.get(version, {}).get("sha256", "")
            if listed_checksum(one) != checksum:
                changed = True
                if not check_mode:
                    note_listed(one, checksum)
        for version in wanted.keys() - there.keys():
            changed = True
            if check_mode:
                continue
            archive = wanted[version]
            if not archive.get("path"):
                raise PythonError(f"the archive '{archive['name']}' was not sent to the host. Run again.")
            supply = Supply(uv, folder, archives=[archive])
            note_listed(install(version, supply), archive["sha256"])
    return changed


def note_listed(one: Python, checksum: str) -> None:
    path = os.path.join(home_of(one), LISTED)
    if checksum:
        write(File(path, f"{checksum}\n"))
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


# Unused interpreters


def prune(layout: Layout, folder: str = FOLDER) -> list[str]:
    """Remove the provided interpreters that no environment of any application uses; return their versions.

    Nothing is removed while another application is being deployed: its build may just have chosen one.
    """
    if not any(True for _one in provided(folder)):
        return []
    removed = []
    with folder_lock(folder):
        roots = {*roots_of(folder), layout.root}
        used: set[str] = set()
        for root in roots:
            for name in listed_folders(root):
                other = Layout(name, root)
                if (name, root) != (layout.name, layout.root) and has_lock_holder(other):
                    return []
                used |= homes_of(other)
        for one in provided(folder):
            if home_of(one) not in used and not listed_checksum(one):
                trees.remove(home_of(one))
                removed.append(one.version)
    return removed


def listed_folders(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def homes_of(layout: Layout) -> set[str]:
    """The folders of the interpreters of an application's environments: the shared ones, and those of releases."""
    found = set()
    shared = [os.path.join(layout.venvs, name) for name in listed_folders(layout.venvs)]
    own = [os.path.join(layout.release(name), "venv") for name in listed_folders(layout.releases)]
    for path in (*shared, *(path for path in own if not os.path.islink(path))):
        home = interpreter_home(path)
        if home:
            found.add(os.path.dirname(home))
            found.add(os.path.dirname(os.path.realpath(home)))
    return found


def interpreter_home(venv: str) -> str:
    """The folder of the interpreter that an environment was made with; empty if the environment does not say it."""
    try:
        text = read_untrusted(os.path.join(venv, "pyvenv.cfg"), 64 * 1024).decode(errors="replace")
    except OSError:
        return ""
    found = re.search(r"(?m)^home\s*=\s*(/\S.*?)\s*$", text)
    return found[1] if found else ""
