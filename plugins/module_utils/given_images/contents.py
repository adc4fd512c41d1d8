# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The contents of an unpacked image: its interpreter, its programs, and the places for files of the host."""

from __future__ import annotations

import os
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.given_images.documents import PATH, Config, shown
from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.images import inside
from ansible_collections.pyweb.stack.plugins.module_utils.images.making import EMPTY_FILES, FOLDERS, OLDEST_PYTHON
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError

SHELL = "/bin/sh"
INTERPRETERS = ("python3", "python")
# A folder of a search path.
FOLDER = re.compile(r"/[\w./+@~-]*", re.ASCII)
MINOR = re.compile(r"python(3\.\d+)t?")


def complete(file_system: str) -> None:
    """Remove what belongs to a running system, and create the places for files of the host."""
    with inside.opened(file_system) as top:
        for name in ("dev", "proc", "run", "sys", "tmp"):
            trees.remove(name, folder=top)
        for path in FOLDERS:
            inside.make_folder(top, path)
        for path in EMPTY_FILES:
            inside.make_file(top, path)
        os.fchmod(top, 0o755)


def described(file_system: str, config: Config, what: str) -> dict[str, Any]:
    """The description of an image for builds. Raises ImageError if no application can run in it."""
    path = ":".join(folder for folder in config.env.get("PATH", PATH).split(":") if FOLDER.fullmatch(folder))
    with inside.opened(file_system) as top:
        if not inside.program_at(top, SHELL):
            raise ImageError(f"{what} has no {SHELL}, which starts its programs. Choose an image that has a shell.")
        interpreter = next((found for name in INTERPRETERS if (found := program_in(top, path, name))), "")
        version = version_of(top, interpreter) if interpreter else ""
    if interpreter and version and tuple(map(int, version.split("."))) < OLDEST_PYTHON:
        raise ImageError(
            f"{what} has Python {version}, but this collection needs {'.'.join(map(str, OLDEST_PYTHON))} or newer. "
            "Choose an image with a newer Python."
        )
    return {
        "interpreter": interpreter if version else "",
        "python": version,
        "path": path,
        "env": {name: value for name, value in config.env.items() if name != "PATH"},
        "folder": config.folder,
        "command": list(config.command),
    }


def program_in(top: int, path: str, name: str) -> str:
    """The path of a program as the search path of an image finds it; empty if it has none."""
    if "/" in name:
        return name if inside.program_at(top, name) else ""
    places = (f"{folder.rstrip('/')}/{name}" for folder in path.split(":") if folder.startswith("/"))
    return next((place for place in places if inside.program_at(top, place)), "")


def version_of(top: int, interpreter: str) -> str:
    """The version of an interpreter, by the name of its file, such as 3.11; empty if that does not show it."""
    real = inside.program_at(top, interpreter)
    found = MINOR.fullmatch(os.path.basename(real))
    if found:
        return found[1]
    # Some have the name python3 in the folder of their version.
    found = re.search(r"/(?:python-?)?(3\.\d+)(?:\.\d+)?/bin/", real)
    return found[1] if found else ""


def check_program(file_system: str, known: dict[str, Any], name: str, remedy: str) -> None:
    """Refuse an image without a program."""
    with inside.opened(file_system) as top:
        if not program_in(top, known["path"], name):
            raise ImageError(
                f"the image {shown(known.get('base'))} has no program '{shown(name)}' in its PATH "
                f"({shown(known['path'])}). {remedy}"
            )
