# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Choose the release that an application needs: the live one, an earlier one, or a new one."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import PARTS, differing_parts
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    GOOD,
    WITHDRAWN,
    Manifest,
    ReleaseError,
)


def choose(
    wanted: dict[str, str], current: str | None, known: list[Manifest], upgrade: bool = False
) -> tuple[str, str | None, list[str]]:
    """Return the action (none, reuse or build), the release to reuse, and the parts that differ.

    A finished release with the wanted fingerprint is used again. It may be older than the live one, or be left by an
    interrupted run. A bad release is built again, because the cause of its failure may be outside of it. With
    ``upgrade``, the packages may have newer versions, so a new release is built in any case.
    """
    live = next((manifest for manifest in known if manifest.id == current), None)
    parts = list(PARTS) if live is None else differing_parts(wanted, live.fingerprint)
    if upgrade:
        return "build", None, parts or ["dependencies"]
    if live is not None and not parts:
        return "none", None, []
    for manifest in known:
        if manifest.usable and not differing_parts(wanted, manifest.fingerprint):
            return "reuse", manifest.id, parts
    return "build", None, parts


def same_content(one: Manifest, other: Manifest) -> bool:
    """Whether two releases run the same code in the same environment with the same settings and secrets.

    A restart makes a copy with another ID. An upgrade of packages changes the environment, not the fingerprint.
    """
    return not differing_parts(one.fingerprint, other.fingerprint) and one.venv == other.venv


def rollback_targets(current: str | None, known: list[Manifest]) -> list[Manifest]:
    """The good releases that are older than the live one and differ from it, the newest first."""
    live = next((manifest for manifest in known if manifest.id == current), None)
    found = [manifest for manifest in known if manifest.state == GOOD and (current is None or manifest.id < current)]
    different = [manifest for manifest in found if live is None or not same_content(manifest, live)]
    return sorted(different, key=lambda manifest: manifest.id, reverse=True)


def skipped(chosen: str, current: str | None, known: list[Manifest]) -> list[str]:
    """The releases that a rollback passes over, each with the reason, the newest first."""
    live = next((manifest for manifest in known if manifest.id == current), None)
    found = []
    for manifest in sorted(known, key=lambda one: one.id, reverse=True):
        if not chosen < manifest.id < (current or "~"):
            continue
        is_copy = live is not None and same_content(manifest, live)
        reason = "the same content as the live one" if is_copy and manifest.state == GOOD else manifest.state
        found.append(f"{manifest.id} ({reason})")
    return found


def choose_rollback(name: str, wanted: str, current: str | None, known: list[Manifest]) -> str:
    """The release to roll back to: the wanted one, else the newest good one that is older and has other content."""
    good = [manifest.id for manifest in known if manifest.state in (GOOD, WITHDRAWN) and manifest.id != current]
    listed = ", ".join(good) or "none"
    if wanted:
        if wanted in good:
            return wanted
        found = next((manifest.state for manifest in known if manifest.id == wanted), None)
        why = "it is already live" if wanted == current else f"it is {found}" if found else "there is no such release"
        raise ReleaseError(name, f"can't roll back to '{wanted}': {why}. Choose one of the good releases: {listed}.")
    targets = rollback_targets(current, known)
    if not targets:
        passed = skipped("", current, known)
        raise ReleaseError(
            name,
            "there is no release to roll back to: no good release is older than the live one and differs from it. "
            f"Skipped: {', '.join(passed) or 'none'}. Good releases: {listed}. To switch to one of them, use "
            "-e release=ID.",
        )
    return targets[0].id
