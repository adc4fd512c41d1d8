# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Announcements about sources that can be used, but lack what an application may need."""

from __future__ import annotations

from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin

display = Display()


def announce(origins: dict[str, Origin]) -> None:
    """Show the notes about the sources of applications as warnings."""
    for name, origin in origins.items():
        for note in origin.notes:
            display.warning(f"webapps '{name}': {note}")
