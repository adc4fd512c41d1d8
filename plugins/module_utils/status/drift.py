# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications whose hosts serve different deployments, in one line each. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status.leases import lease_of
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import is_revision, shown_revision

Row = dict[str, Any]


def drifts(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """The groups of hosts of each application that differ: the text of the line, and the groups for machines."""
    found = {}
    for name in dict.fromkeys(row["application"] for row in rows):
        # An application that is in no inventory has no revision here.
        here = [row for row in rows if row["application"] == name and row["release"] and "revision" in row]
        groups = grouped(here)
        if len(groups) > 1:
            told = [group_of(group) for group in sorted(groups, key=len, reverse=True)]
            first, *others = told
            texts = [text_of(first, ""), *(text_of(one, one["since"]) for one in others)]
            found[name] = {
                "text": f"{name}: {'; '.join(texts)}. To change that, run site.yml or rollback.yml on all these hosts.",
                "groups": told,
            }
    return found


def grouped(rows: list[Row]) -> list[list[Row]]:
    """The rows that belong together: of one revision, or deployed by one run with settings of each host."""
    is_known = all(is_revision(row["revision"]) for row in rows)
    groups: list[list[Row]] = []
    for row in rows:
        alike = [group for group in groups if any(is_alike(row, other, is_known) for other in group)]
        groups = [group for group in groups if group not in alike]
        groups.append([*(one for group in alike for one in group), row])
    return groups


def is_alike(one: Row, other: Row, is_known: bool) -> bool:
    if not is_known:
        # A release of an earlier version has no revision.
        return source_of(one) == source_of(other)
    return one["revision"] == other["revision"] or (bool(one.get("run")) and one["run"] == other["run"])


def source_of(row: Row) -> str:
    return str(row.get("source") or row["revision"])


def group_of(rows: list[Row]) -> dict[str, Any]:
    return {
        "revision": shown_revision(rows[0]["revision"], str(rows[0].get("source") or "")),
        "hosts": [row["host"] for row in rows],
        "since": max(str(row["since"] or "") for row in rows),
        "held": any(row.get("hold") for row in rows),
        "provisional": any(lease_of(row.get("lease")) for row in rows),
    }


def text_of(group: dict[str, Any], since: str) -> str:
    moment = f" since {since.replace('T', ' ').rstrip('Z')}" if since else ""
    why = [
        text
        for text, is_so in (("held since a rollback", group["held"]), ("provisional", group["provisional"]))
        if is_so
    ]
    reason = f" ({', '.join(why)})" if why else ""
    return f"{group['revision']} on {', '.join(group['hosts'])}{moment}{reason}"


def with_drift(rows: list[Row]) -> list[Row]:
    """The rows for machines, each with the drift of its application, or None."""
    found = drifts(rows)
    return [{**row, "drift": found.get(row["application"])} for row in rows]
