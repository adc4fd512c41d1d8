# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for requirements and for addresses of package indexes, as uv and pip take them."""

from __future__ import annotations

import re

INDEX = re.compile(r"((https?|file)://[^\s/]*/?|/)\S*", re.IGNORECASE)
# The address is not shown, because it may hold credentials.
NO_INDEX = "this is not the address of a package index. Give a URL such as https://pypi.example.org/simple."
OWN = re.compile(r"\./?(\s*\[[^\[\]]*\])?")
ARCHIVES = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz")


def is_requirement(text: str) -> bool:
    """Whether uv can read this as one line of a requirements file, apart from an option of its own.

    Addresses, files and variables count as requirements, because only uv can check them.
    """
    # ansible-core depends on it, but ansible-test imports plugins without it.
    from packaging.requirements import InvalidRequirement, Requirement

    bare = re.sub(r"\s+(#|--).*", "", text).strip()
    if not bare or bare.startswith(("-", "#")) or re.search(r"[\n\r]", text):
        return False
    if "/" in bare or "${" in bare or bare.endswith(ARCHIVES):
        return True
    try:
        Requirement(bare)
    except InvalidRequirement:
        return False
    return True


def is_own_project(text: str) -> bool:
    """Whether this is the project in the application root, with or without extras."""
    return bool(OWN.fullmatch(text.strip()))


def is_index(text: str) -> bool:
    """Whether this can be a package index: a URL, or an absolute path on the host."""
    return bool(INDEX.fullmatch(text))
