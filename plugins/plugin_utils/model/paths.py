# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Relative paths inside the application root."""

from __future__ import annotations

import re

PATH_CHARACTERS = re.compile(r"[^\x00-\x1f\x7f]+\Z")


def is_inside(path: str) -> bool:
    """Whether a relative path is below the application root."""
    parts = path.split("/")
    return (
        bool(path)
        and bool(PATH_CHARACTERS.match(path))
        and not path.startswith(("/", "~"))
        and ".." not in parts
        and path.strip("./") != ""
    )


def is_page(path: str) -> bool:
    """Whether nginx can serve a path inside the application root. It reads '$' as a variable."""
    return is_inside(path) and "$" not in path


def nested(folders: list[str]) -> list[tuple[str, str]]:
    """Pairs of an outer and an inner folder. The inner one is inside the outer one, or the same."""
    found = []
    for place, inner in enumerate(folders):
        for other, outer in enumerate(folders):
            if inner.startswith(outer + "/") or (inner == outer and other < place):
                found.append((outer, inner))
    return found
