# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The packages of an environment, by its files alone: no program of it is run."""

from __future__ import annotations

import glob
import os
import re

from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import normalized

# Bytes of a file that records a link to code.
MOST_NOTE = 256 * 1024


def python_of(path: str) -> str:
    """The version of CPython that an environment is for, such as 3.11; empty for any other interpreter."""
    found = [re.search(r"/lib/python(3\.\d+)/site-packages/?$", place) for place in site_packages(path, "")]
    return next((one[1] for one in found if one), "")


def site_packages(path: str, pattern: str) -> list[str]:
    """The entries of an environment's site-packages that match a pattern."""
    return glob.glob(os.path.join(glob.escape(path), "lib", "python*", "site-packages", pattern))


def installed_packages(path: str) -> dict[str, str]:
    """The packages of an environment and their versions, by the folders with their metadata."""
    found = {}
    for folder in site_packages(path, "*.dist-info"):
        parts = re.fullmatch(r"([A-Za-z0-9._]+)-([A-Za-z0-9.+!_]+)\.dist-info", os.path.basename(folder))
        if parts:
            found[normalized(parts.group(1))] = parts.group(2)
    return found


def as_pins(packages: dict[str, str]) -> str:
    """Packages and versions as the text of a requirements file."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(packages.items()))


def links_into(path: str, folder: str) -> bool:
    """Whether an environment links to code in a folder, by the files in which installers record such links."""
    for pattern in ("*.pth", "*.egg-link", "__editable__*", "*.dist-info/direct_url.json"):
        for note in site_packages(path, pattern):
            text = note_text(note)
            is_named = folder in text or os.path.realpath(folder) in text
            if is_named and (not note.endswith(".json") or '"editable":true' in re.sub(r"\s", "", text)):
                return True
    return False


def note_text(path: str) -> str:
    """The text of a file that a package has installed; empty for anything that is not one of a common size."""
    try:
        return read_untrusted(path, MOST_NOTE).decode(errors="replace")
    except OSError:
        return ""
