# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Find the line of a .gitignore that names a path. It explains why a source lacks a folder; git itself decides."""

from __future__ import annotations

import fnmatch
import os
import posixpath

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted

# Bytes of a .gitignore.
MOST_BYTES = 256 * 1024


def ignored_by(top: str, path: str) -> str:
    """The .gitignore below a folder and its line that names a path, such as ``a/.gitignore: dist/``; else empty."""
    found = ""
    parts = posixpath.normpath(path).split("/")
    for depth in range(len(parts)):
        place = posixpath.join("", *parts[:depth], ".gitignore")
        try:
            text = read_untrusted(os.path.join(top, place), MOST_BYTES).decode(errors="replace")
        except OSError:
            continue
        for line in lines_of(text):
            pattern = line.strip()
            if pattern and not pattern.startswith("#") and matches(pattern.lstrip("!"), parts[depth:]):
                found = "" if pattern.startswith("!") else f"{place}: {pattern}"
    return found


def matches(pattern: str, parts: list[str]) -> bool:
    """Whether a pattern names a path, relative to the folder of the file, or a folder on the way to it."""
    bare = pattern.rstrip("/")
    for inside in ("/**", "/*"):
        bare = bare[: -len(inside)] if bare.endswith(inside) else bare
    bare = bare[3:] if bare.startswith("**/") else bare
    if "/" not in bare:
        return any(fnmatch.fnmatchcase(part, bare) for part in parts)
    return any(fnmatch.fnmatchcase("/".join(parts[:end]), bare.lstrip("/")) for end in range(1, len(parts) + 1))
