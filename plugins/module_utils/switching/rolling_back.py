# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Hold the release that a rollback leaves, and mark it as withdrawn."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import same_content
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import (
    Held,
    after_rollback,
    effective,
    read_hold,
    write_hold,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    GOOD,
    WITHDRAWN,
    Layout,
    Manifest,
    manifests,
    read_manifest,
    write_manifest,
)


def place_hold(layout: Layout, before: str | None, target: Manifest, entries: list[Held], owner: str) -> list[str]:
    """Hold the release that was live ``before``, so that the next run does not deploy it again. Return warnings."""
    if not before:
        return []
    left = read_manifest(layout, before)
    if left is None:
        return [
            f"webapps '{layout.name}': {before} can't be held, because its release.json can't be read. The next run of "
            "site.yml deploys the same code again. Correct the inventory first."
        ]
    write_hold(layout, after_rollback(entries, left, target, owner))
    return []


def is_held(layout: Layout, release: str | None, live: Manifest) -> bool:
    return any(one.release == release for one in effective(read_hold(layout), live))


def withdraw(layout: Layout, live: Manifest, before: str | None) -> None:
    """Note that newer releases were rolled back, also their copies, so that no later rollback leads to them."""
    known = manifests(layout)
    names = {entry.release for entry in read_hold(layout)} | {before}
    left = [one for one in known if one.id in names]
    for manifest in known:
        is_copy = any(same_content(manifest, one) for one in left) and not same_content(manifest, live)
        if manifest.state == GOOD and manifest.id > live.id and (is_copy or manifest.id == before):
            manifest.state = WITHDRAWN
            write_manifest(layout, manifest)
