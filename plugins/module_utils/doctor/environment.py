# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the environment of a release: its interpreter, and whether it is as it was installed. Changes nothing."""

from __future__ import annotations

import os
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.pythons import FOLDER
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import fault_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest

MOST_SETTINGS = 64 * 1024


def look_at_environment(layout: Layout, manifest: Manifest | None) -> dict[str, Any]:
    """The version and the folder of the interpreter, whether uv provides it, and the fault of the environment."""
    if manifest is None:
        return {"version": "", "folder": "", "provided": False, "fault": ""}
    settings = settings_of(os.path.join(layout.venvs, manifest.venv))
    folder = settings.get("home", "")
    fault = fault_of(layout, manifest)
    return {
        "version": settings.get("version_info", settings.get("version", "")),
        "folder": folder,
        "provided": folder.startswith(f"{FOLDER}/"),
        "fault": fault.text if fault else "",
    }


def settings_of(venv: str) -> dict[str, str]:
    """The settings in the file pyvenv.cfg of an environment."""
    try:
        text = read_untrusted(os.path.join(venv, "pyvenv.cfg"), MOST_SETTINGS).decode(errors="replace")
    except OSError:
        return {}
    return dict(re.findall(r"(?m)^(\w+) *= *(.*?) *$", text))
