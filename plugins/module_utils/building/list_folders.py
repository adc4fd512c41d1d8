# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The folder in which a list of dependencies is installed. Pure.

Relative paths in a requirements file start at the working folder, for pip as for uv. So the author of a list above the
application root has installed it in its own folder.
"""

from __future__ import annotations

import os


def folder_of_lists(root: str, names: list[str]) -> str:
    """The folder of the first list that is above the application root, else the application root."""
    above = [name for name in names if os.path.normpath(name).startswith("../")]
    return os.path.normpath(os.path.join(root, os.path.dirname(above[0]))) if above else root


def from_folder(root: str, name: str, folder: str) -> str:
    """The path of a list from the folder in which it is installed."""
    return os.path.relpath(os.path.join(root, name), folder)
