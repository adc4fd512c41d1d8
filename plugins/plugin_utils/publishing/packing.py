# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The program that makes the status page on a host: its file, and all files of this collection that it imports."""

from __future__ import annotations

import ast
import base64
import json
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

COLLECTION = "ansible_collections.pyweb.stack.plugins."
PLUGINS = Path(__file__).resolve().parents[2]
ENTRY = f"{COLLECTION}module_utils.publishing.program"
# Files of the page that are no code.
DATA = ("module_utils/status/page.css", "module_utils/status/page.js")
MAIN = f"""\
import sys

from {ENTRY} import main

sys.exit(main(sys.argv[1:]))
"""


@cache
def packed() -> str:
    """The files, compressed, as text. A host makes a program of them (module_utils/publishing/installing.py)."""
    return base64.b64encode(zlib.compress(json.dumps(sources(), sort_keys=True).encode(), 9)).decode()


@cache
def sources() -> dict[str, str]:
    """The texts of the files, by their paths in the program."""
    found: dict[str, str] = {}
    left = [ENTRY]
    while left:
        module = left.pop()
        path = f"{module.replace('.', '/')}.py"
        if path in found:
            continue
        found[path] = file_of(module).read_text(encoding="utf-8")
        left += imports(found[path])
    for name in DATA:
        found[f"{COLLECTION.replace('.', '/')}{name}"] = (PLUGINS / name).read_text(encoding="utf-8")
    for path in [*found]:
        while path := path.rpartition("/")[0]:
            found.setdefault(f"{path}/__init__.py", "")
    found["__main__.py"] = MAIN
    return found


def file_of(module: str) -> Path:
    return (PLUGINS / module.removeprefix(COLLECTION).replace(".", "/")).with_suffix(".py")


def imports(text: str) -> Iterator[str]:
    """The modules of this collection that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(COLLECTION):
            if file_of(node.module).is_file():
                yield node.module
            else:
                # The names are modules of a package.
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
