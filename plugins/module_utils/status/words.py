# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Revisions, runs, holds and drains in words for operators, the same on the controller and on hosts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.status.paths import OLD, UNIT

COMMIT = re.compile(r"[0-9a-f]{40}")
REVISION = re.compile(r"[0-9a-f]{12}")
NO_PAGE = "its status page was never made, although it is to be published"


def is_revision(value: Any) -> bool:
    return isinstance(value, str) and REVISION.fullmatch(value) is not None


def shown_revision(revision: str, source: str) -> str:
    """A revision as a report shows it. A release of an earlier version has none, so its source stands for it."""
    # A host can report values of other types.
    return one_line(str(revision or (source[:12] if COMMIT.fullmatch(source) else source) or "unknown"))


def short_run(run: Any) -> str:
    """The part of a run's ID that differs from those of other runs. The rest names the controller and the play."""
    parts = str(run or "").split("-")
    return "".join(parts[2:4]) if len(parts) == 5 else str(run or "")[:8]


def hold_line(name: str, hold: Mapping[str, Any], host: str = "") -> str:
    """Which release of an application is held, since when, and what lifts the hold. The values are those of a host."""
    where = f"{name} on {host}" if host else name
    if hold.get("problem"):
        return f"{where}: {hold['problem']}"
    moment = str(hold.get("time")).replace("T", " ").rstrip("Z")
    return (
        f"{where}: HELD since {moment} UTC, when {hold.get('by')} rolled back from {hold.get('release')} (revision "
        f"{str(hold.get('revision'))[:12]}) to {hold.get('to')}. site.yml deploys no release with the same code, "
        "dependencies, settings and secrets as that one. Change one of these, or use -e release_hold=false."
    )


def drained_text(drained: Any) -> str:
    """Since when a host is drained and by whom; empty if it is not."""
    if not isinstance(drained, Mapping) or not drained:
        return ""
    since = one_line(str(drained.get("since", "")))[:40].replace("T", " ").rstrip("Z")
    by = one_line(str(drained.get("by", "")))[:80]
    return f"drained since {since} (UTC){f' by {by}' if by else ''}"


def page_problem(found: Any, now: float) -> str:
    """Why the page that a host publishes of itself is old; empty if it is renewed. The values are those of a host."""
    if not isinstance(found, Mapping) or not found:
        return ""
    if found.get("timer") != "active":
        return f"its published status page is not renewed: {UNIT}.timer is {word(found.get('timer'))}"
    if found.get("result") != "success":
        return f"its published status page was not renewed: {UNIT}.service failed ({word(found.get('result'))})"
    made = found.get("made")
    ago = now - made if isinstance(made, (int, float)) and not isinstance(made, bool) else now
    if ago > OLD:
        return f"its published status page was not renewed for {ago // 60:.0f} minutes" if made else NO_PAGE
    return ""


def word(value: Any) -> str:
    return one_line(str(value or "unknown"))[:40]
