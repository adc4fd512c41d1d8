# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The interpreter of a release, from the settings of its environment. Changes nothing."""

from __future__ import annotations

import os
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.pythons import FOLDER
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest

MOST_SETTINGS = 64 * 1024


def look_at_interpreter(layout: Layout, manifest: Manifest | None) -> dict[str, Any]:
    """The version and the folder of the interpreter, and whether uv provides it."""
    if manifest is None:
        return {"version": "", "folder": "", "provided": False}
    settings = settings_of(os.path.join(layout.venvs, manifest.venv))
    folder = settings.get("home", "")
    return {
        "version": settings.get("version_info", settings.get("version", "")),
        "folder": folder,
        "provided": folder.startswith(f"{FOLDER}/"),
    }


def settings_of(venv: str) -> dict[str, str]:
    """The settings in the file pyvenv.cfg of an environment."""
    try:
        text = read_untrusted(os.path.join(venv, "pyvenv.cfg"), MOST_SETTINGS).decode(errors="replace")
    except OSError:
        return {}
    return dict(re.findall(r"(?m)^(\w+) *= *(.*?) *$", text))
