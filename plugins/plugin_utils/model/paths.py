# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Relative paths inside the source of an application. They start at the application root."""

from __future__ import annotations

import re

PATH_CHARACTERS = re.compile(r"[^\x00-\x1f\x7f]+\Z")


def is_inside(path: str, subdir: str = "") -> bool:
    """Whether a relative path is below the application root, or is in the source, above or beside its ``subdir``."""
    parts = path.split("/")
    while parts and parts[0] == ".":
        parts.pop(0)
    depth = len([part for part in subdir.split("/") if part not in ("", ".")])
    while depth and parts and parts[0] == "..":
        parts.pop(0)
        depth -= 1
    return (
        bool(PATH_CHARACTERS.match(path))
        and not path.startswith(("/", "~"))
        and ".." not in parts
        and "/".join(parts).strip("./") != ""
    )


def is_page(path: str, subdir: str = "") -> bool:
    """Whether nginx can serve a path inside the source. It reads '$' as a variable."""
    return is_inside(path, subdir) and "$" not in path


def place(subdir: str) -> str:
    """Where a relative path must lead, in a message."""
    return "the source" if subdir else "the application root"


def nested(folders: list[str]) -> list[tuple[str, str]]:
    """Pairs of an outer and an inner folder. The inner one is inside the outer one, or the same."""
    found = []
    for place, inner in enumerate(folders):
        for other, outer in enumerate(folders):
            if inner.startswith(outer + "/") or (inner == outer and other < place):
                found.append((outer, inner))
    return found
