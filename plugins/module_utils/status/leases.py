# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lease of a provisional switch, in words for operators. The values come from a host. Pure."""

from __future__ import annotations

from typing import Any


def lease_of(found: Any) -> dict[str, Any]:
    """The lease that a host has reported, with a text for each missing value; empty if there is none."""
    if not found or not isinstance(found, dict):
        return {}
    if found.get("problem"):
        return {"problem": str(found["problem"]), "overdue": True}
    texts = {key: str(found.get(key) or "unknown") for key in ("run", "by", "release", "until")}
    before = str(found.get("before") or "no release")
    flags = {key: found.get(key) is True for key in ("overdue", "guarded")}
    return {**texts, **flags, "before": before, "state": str(found.get("state") or "")}


def lease_text(found: Any) -> str:
    """The meaning of a lease, as one line without the name of the application; empty if there is none."""
    lease = lease_of(found)
    if not lease:
        return ""
    if "problem" in lease:
        return str(lease["problem"])
    switch = f"{lease['by']} has switched from {lease['before']} to {lease['release']} (run {lease['run']})"
    if not lease["overdue"]:
        return (
            f"PROVISIONAL: {switch}, and may commit or revert that until {lease['until']} UTC. Both releases run. "
            "Other runs are refused until then."
        )
    if lease["state"] == "committing":
        return f"OVERDUE: {switch}, and its commit was interrupted. {ending(lease, 'completes it')}"
    return (
        f"OVERDUE: {switch}, and did not commit that until {lease['until']} UTC. "
        f"{ending(lease, f'''goes back to {lease['before']}''')}"
    )


def ending(lease: dict[str, Any], does: str) -> str:
    """Which process ends an overdue lease, and how."""
    if lease["guarded"]:
        return f"The guard on the host {does}."
    return f"The next run of site.yml {does} first: its guard is gone, such as after a boot."


def lease_line(name: str, found: Any, host: str = "") -> str:
    """The line about the lease of an application below a table."""
    return f"{name} on {host}: {lease_text(found)}" if host else f"{name}: {lease_text(found)}"
