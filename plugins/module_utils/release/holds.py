# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hold of an application: after a rollback, a run does not deploy what was rolled back.

The hold lists each release that was rolled back, with its fingerprint. The file belongs to root. It is written before a
rollback switches the links. So a run that is killed leaves no rollback without its hold. An entry for the live release
has no effect, because such a rollback was never completed, or was undone.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import same_content
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import differing_parts
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    Manifest,
    ReleaseError,
    now,
    read_manifest,
)

HOLD = ".hold.json"


@dataclass(frozen=True)
class Held:
    """A release that was rolled back: by whom, when, and to which release."""

    release: str
    fingerprint: dict[str, str]
    venv: str = ""
    revision: str = ""
    by: str = ""
    time: str = ""
    to: str = ""

    def is_live(self, live: Manifest | None) -> bool:
        return live is not None and same_content(live, Manifest(self.release, "", self.fingerprint, venv=self.venv))


def read_hold(layout: Layout) -> list[Held]:
    """The entries of the hold, the newest one last. Raises ReleaseError for a file that is not readable."""
    path = layout.path(HOLD)
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)["releases"]
        entries = [Held(**{key: one[key] for key in Held.__dataclass_fields__ if key in one}) for one in found]
        if not all(dict(one.fingerprint) for one in entries):
            raise ValueError
        return entries
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError):
        raise ReleaseError(
            layout.name,
            f"{path} is damaged, so it is unknown which release is held after a rollback. Remove this file to lift the "
            "hold, then run again.",
        ) from None


def write_hold(layout: Layout, entries: list[Held]) -> None:
    """Replace the hold. Without entries, there is none."""
    path = layout.path(HOLD)
    if entries:
        write(File(path, json.dumps({"releases": list(map(asdict, entries))}, indent=2) + "\n", mode=0o600))
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


def after_rollback(entries: list[Held], left: Manifest, target: Manifest, by: str) -> list[Held]:
    """The hold after a rollback from the release ``left``: earlier entries stay, except the one for the target."""
    entry = Held(
        left.id, left.fingerprint, left.venv, left.revision or left.source, by, f"{now():%Y-%m-%dT%H:%M:%SZ}", target.id
    )
    return [one for one in [*entries, entry] if not one.is_live(target) and (one is entry or not one.is_live(left))]


def effective(entries: list[Held], live: Manifest | None) -> list[Held]:
    """The entries that have an effect while this release is live."""
    return [one for one in entries if not one.is_live(live)]


def holding(entries: list[Held], wanted: dict[str, str], live: Manifest | None) -> Held | None:
    """The entry that forbids a release with the wanted fingerprint; None if none does."""
    found = [one for one in effective(entries, live) if not differing_parts(wanted, one.fingerprint)]
    return found[-1] if found else None


def hold_in_effect(layout: Layout) -> dict[str, Any] | None:
    """The newest entry, for a report; None if no release is held. A damaged file is one, with its problem."""
    live = layout.current_release()
    try:
        found = effective(read_hold(layout), read_manifest(layout, live) if live else None)
    except ReleaseError as error:
        return {"problem": error.text}
    keys = ("release", "revision", "by", "time", "to")
    return {key: getattr(found[-1], key) for key in keys} if found else None


def message(name: str, live: str, held: Held) -> str:
    """The warning of a run that leaves an application as it is."""
    return (
        f"webapps '{name}': HELD, so this run deploys no release of it. {held.by or 'A user'} rolled back from "
        f"{held.release} at {held.time.replace('T', ' ').rstrip('Z')} UTC, and the inventory still describes that "
        f"release. {live} stays live. To deploy, change the code, the dependencies, the settings or the secrets. Or "
        f"lift the hold with -e lift_hold={name}; -e release_hold=false lifts those of all applications."
    )
