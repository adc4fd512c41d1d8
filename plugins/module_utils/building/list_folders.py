# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The folder in which a list of dependencies is installed.

Relative paths in a requirements file start at the working folder, for pip as for uv. The author of a list above the
application root has installed it in its own folder, or from the application root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

# A relative path in a line of a requirements file.
RELATIVE = re.compile(r"(?:^|[\s=@]|file:)(\.{1,2}/[^\s;\[#]*|\.(?=\s|\[|$))")


def folder_of_lists(root: str, names: list[str], lines: Iterable[str] = ()) -> str:
    """The folder of the first list that is above the application root, else the application root.

    If the paths in the lines exist from the application root, and not all of them from that folder, it is the
    application root.
    """
    above = [name for name in names if os.path.normpath(name).startswith("../")]
    if not above:
        return root
    folder = os.path.normpath(os.path.join(root, os.path.dirname(above[0])))
    paths = [path for line in lines for path in RELATIVE.findall(line)]
    return folder if are_in(folder, paths) or not are_in(root, paths) else root


def are_in(folder: str, paths: list[str]) -> bool:
    return all(os.path.exists(os.path.join(folder, path)) for path in paths)


def from_folder(root: str, name: str, folder: str) -> str:
    """The path of a list from the folder in which it is installed."""
    return os.path.relpath(os.path.join(root, name), folder)
