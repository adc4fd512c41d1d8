# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Leave an application as it is while a rollback holds the release that the inventory describes."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import fault_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import (
    HOLD,
    holding,
    message,
    read_hold,
    write_hold,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import differing_parts
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import Busy, lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, read_manifest


def held_text(layout: Layout, spec: dict[str, Any], wanted: dict[str, str], owner: str, check_mode: bool) -> str:
    """Why no release of an application is deployed; empty if none is held. A hold that has ended is removed."""
    if not os.path.lexists(layout.path(HOLD)):
        return ""
    if not spec.get("release_hold", True):
        if not check_mode:
            with lock(layout, owner):
                write_hold(layout, [])
        return ""
    entries, current = read_hold(layout), layout.current_release()
    live = read_manifest(layout, current) if current else None
    held = holding(entries, wanted, live)
    if held is not None:
        text = message(layout.name, current or "No release", held)
        if spec.get("upgrade"):
            text += " webapp_upgrade_packages does not lift it."
        fault = fault_of(layout, live, is_quick=True) if live else None
        if fault is not None:
            text += (
                f" Its live release has a problem, which this run does not repair because of the hold: {fault.text}. "
                "Deploy a corrected release, or roll back to another one."
            )
        return text
    if live is not None and not differing_parts(wanted, live.fingerprint) and not check_mode:
        # Another run may be rolling back at this moment. Its hold stays.
        with suppress(Busy), lock(layout, owner, patience=0):
            if layout.current_release() == current and read_hold(layout) == entries:
                write_hold(layout, [])
    return ""


def held_elsewhere(layout: Layout, spec: dict[str, Any], wanted: dict[str, str]) -> str:
    """Why a release is not deployed that another host of the run holds; empty if none does, or if it is live here."""
    hosts = spec.get("held_on") or []
    if not hosts or not spec.get("release_hold", True):
        return ""
    current = layout.current_release()
    live = read_manifest(layout, current) if current else None
    if live is not None and not differing_parts(wanted, live.fingerprint):
        return ""
    return (
        f"webapps '{layout.name}': HELD on {', '.join(hosts)} since a rollback, so this run does not deploy that "
        f"revision here either. {current or 'No release'} stays live. To deploy, change the code, the dependencies or "
        "the settings. If only secrets have changed, run again when they are deployed on those hosts. Or lift the hold "
        f"with -e lift_hold={layout.name}."
    )


def result_of_held(layout: Layout, text: str) -> dict[str, Any]:
    """The result of an application whose live release stays, because another one is held."""
    return {
        "name": layout.name,
        "state": "present",
        "current": layout.current_release() or "",
        "candidate": "",
        "action": "none",
        "reasons": [],
        "held": text,
    }
