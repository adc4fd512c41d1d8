# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Whether an environment is as it was installed: its interpreter, and the files of its packages.

Root records the content of each environment when it is complete. Environments of earlier versions have no record; they
are compared with the lists that their packages contain.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.interpreters import version_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import (
    MARK,
    description,
    interpreter_in,
    path_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    COMPLETE,
    GOOD,
    WITHDRAWN,
    Layout,
    Manifest,
    manifests,
)

CONTENTS = ".contents"
MOST_RECORD = 16 * 1024**2
# Caches of the interpreter. Any process that may write there adds files when it imports a module.
CACHES = "__pycache__"
# The name of an interpreter, and of the folder with the packages for it.
MINOR = re.compile(r"(?:python|pypy)(3\.\d+)t?")
# The most names that a message lists.
MOST_NAMED = 5


@dataclass(frozen=True)
class Fault:
    """A difference of an environment. ``stops`` says that no release can run in it."""

    text: str
    stops: bool = True


def record_contents(path: str, root: str = "", image: str = "") -> None:
    """Record the content of an environment that root alone can change. Its interpreter may be that of an image."""
    interpreter = interpreter_in(os.path.join(path, "bin", "python"), root, image)
    found = {
        "image": image,
        "interpreter": os.path.realpath(interpreter),
        "seen": seen(interpreter),
        "names": sorted(names_in(path)),
        "entries": entries_of(path),
    }
    write(File(os.path.join(path, CONTENTS), json.dumps(found) + "\n"))


def seen(path: str) -> list[int]:
    """The size and the time of a file; empty if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def entries_of(path: str) -> dict[str, str]:
    """A digest of each package and each program of an environment, from the sizes and times of its files."""
    listed: dict[str, list[str]] = {}
    for visit in trees.walk(path):
        if visit.leaving:
            continue
        if CACHES in visit.folders:
            visit.folders.remove(CACHES)
        for name, status in visit.files.items():
            place = visit.below(name)
            if place not in (COMPLETE, CONTENTS):
                size = 0 if stat.S_ISLNK(status.st_mode) else status.st_size
                when = 0 if stat.S_ISLNK(status.st_mode) else status.st_mtime_ns
                listed.setdefault(entry_of(place), []).append(f"{place} {size} {when}")
    return {entry: hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() for entry, lines in listed.items()}


def entry_of(place: str) -> str:
    """The package, program or other part of an environment that a file belongs to."""
    found = re.match(r"lib/py[a-z]*3\.\d+t?/site-packages/([^/]+)", place)
    return found[1] if found else "/".join(place.split("/")[:2])


def fault_of(layout: Layout, manifest: Manifest, is_quick: bool = False) -> Fault | None:
    """The fault of a release's environment; None if it is as it was installed.

    A quick check reads no folder of a package. It finds packages that were added or removed, not a changed file.
    """
    path = os.path.join(layout.venvs, manifest.venv)
    if not manifest.venv or not os.path.lexists(os.path.join(path, COMPLETE)):
        return Fault(f"the environment {path} is gone")
    return fault_in(path, layout.root, is_quick)


def fault_in(path: str, root: str, is_quick: bool = False) -> Fault | None:
    """The fault of a complete environment."""
    recorded = recorded_contents(path)
    fault = interpreter_fault(path, recorded, root)
    if fault:
        return fault
    try:
        if not recorded:
            return None if is_quick else missing_files(path)
        found = dict.fromkeys(names_in(path), "") if is_quick else entries_of(path)
    except OSError as error:
        return Fault(f"{error.filename} of the environment {path} can't be read: {error.strerror}")
    before: dict[str, str] = dict.fromkeys(recorded["names"], "") if is_quick else recorded["entries"]
    removed = sorted(before.keys() - found.keys())
    added = sorted(found.keys() - before.keys())
    changed = sorted(name for name in before.keys() & found.keys() if before[name] != found[name])
    texts = [
        f"{word}: {', '.join(names[:MOST_NAMED])}{' and more' if len(names) > MOST_NAMED else ''}"
        for word, names in (("removed", removed), ("changed", changed), ("added", added))
        if names
    ]
    if not texts:
        return None
    return Fault(f"files of the environment {path} were changed by hand ({'; '.join(texts)})", stops=bool(removed))


def recorded_contents(path: str) -> dict[str, Any]:
    """The record of an environment; empty for one of an earlier version."""
    try:
        found: dict[str, Any] = json.loads(read_untrusted(os.path.join(path, CONTENTS), MOST_RECORD))
        return found if isinstance(found["entries"], dict) and isinstance(found["names"], list) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def names_in(path: str) -> set[str]:
    """The names of the packages of an environment."""
    return {name for folder in site_packages(path) for name in os.listdir(folder)} - {CACHES}


def site_packages(path: str) -> list[str]:
    return glob.glob(os.path.join(glob.escape(path), "lib", "py*3.*", "site-packages"))


def interpreter_fault(path: str, recorded: dict[str, Any], root: str) -> Fault | None:
    """The fault of an environment whose interpreter is gone, or has another version than its packages are for."""
    link = os.path.join(path, "bin", "python")
    target = target_of(link)
    image = str(recorded.get("image") or "")
    if image and not description(root, image):
        return Fault(f"the image {image} of the environment {path} is gone")
    link = interpreter_in(link, root, image) if image else link
    made_for = python_of(path)
    if not os.path.isfile(link):
        return Fault(
            f"the interpreter {target} of the environment {path} is gone; it was Python {made_for or 'unknown'}. An "
            "upgrade of the distribution removes the earlier Python"
        )
    if not made_for:
        return Fault(f"the environment {path} has no site-packages")
    version = minor_version(link, recorded, root, made_for)
    if version == made_for:
        return None
    return Fault(
        f"the interpreter {target} is Python {version or 'of an unknown version'} now, but the environment {path} was "
        f"made for Python {made_for}, before an upgrade of the distribution"
    )


def target_of(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return link


def python_of(path: str) -> str:
    """The minor version that the packages of an environment are installed for, such as 3.11."""
    found = [MINOR.fullmatch(os.path.basename(os.path.dirname(folder))) for folder in site_packages(path)]
    return next((one[1] for one in found if one), "")


def minor_version(link: str, recorded: dict[str, Any], root: str, made_for: str) -> str:
    """The minor version of an interpreter. It is started only if neither its name nor the record shows it."""
    real = os.path.realpath(link)
    named = MINOR.fullmatch(os.path.basename(real))
    if named:
        return named[1]
    if recorded and (recorded.get("interpreter"), recorded.get("seen")) == (real, seen(real)):
        return made_for
    return version_of(real, root).rpartition("-")[2]


def missing_files(path: str) -> Fault | None:
    """The fault of an environment without a record, by the lists of files that its packages contain."""
    missing = []
    for folder in site_packages(path):
        for record in sorted(glob.glob(os.path.join(glob.escape(folder), "*.dist-info", "RECORD"))):
            try:
                text = read_untrusted(record, MOST_RECORD).decode(errors="replace")
            except OSError:
                continue
            if any(lacks(folder, row[0]) for row in csv.reader(text.split("\n")) if row):
                missing.append(os.path.basename(os.path.dirname(record)).removesuffix(".dist-info"))
    if not missing:
        return None
    named = ", ".join(missing[:MOST_NAMED])
    return Fault(f"files of packages in the environment {path} are missing: {named}")


def lacks(folder: str, listed: str) -> bool:
    """Whether a file that a package lists is missing. The sizes in such lists are often wrong."""
    place = os.path.normpath(os.path.join(folder, listed))
    environment = os.path.dirname(os.path.dirname(os.path.dirname(folder)))
    return CACHES not in place and place.startswith(f"{environment}/") and not os.path.lexists(place)


def witness_paths(layout: Layout, manifest: Manifest) -> list[str]:
    """The files and folders that change if an environment loses its interpreter, or gains or loses packages."""
    path = os.path.join(layout.venvs, manifest.venv)
    python = os.path.join(path, "bin", "python")
    in_image = os.path.join(path_of(layout.root, manifest.image), MARK) if manifest.image else ""
    return [
        *([in_image] if in_image else []),
        os.path.join(path, "pyvenv.cfg"),
        os.path.dirname(python),
        python,
        interpreter_in(python, layout.root, manifest.image),
        *site_packages(path),
    ]


def runnable(layout: Layout, live: str | None) -> list[str]:
    """The good releases beside the live one that can run."""
    found = []
    for manifest in manifests(layout):
        if manifest.state in (GOOD, WITHDRAWN) and manifest.id != live:
            fault = fault_of(layout, manifest)
            if fault is None or not fault.stops:
                found.append(manifest.id)
    return found
