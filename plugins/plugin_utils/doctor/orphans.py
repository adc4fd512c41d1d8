# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications that only the host knows, in the form in which status, doctor and verify show applications. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import COLUMNS
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.orphans import parts, remedy, there

# Keys of a row of the status that are no column.
OTHER_KEYS = ("without_service", "state", "worker_deaths", "healthy")
LISTS = ("processes", "jobs")


def entries(host: dict[str, Any], wanted: str = "") -> list[dict[str, Any]]:
    """The entries of all such applications of a host, or of the one that is ``wanted``."""
    found = [one for one in there(host["orphans"]) if wanted in ("", one["name"])]
    return [entry(one, str(host["name"])) for one in found]


def entry(orphan: dict[str, Any], host: str) -> dict[str, Any]:
    finding = Finding(
        "inventory",
        f"it is on the host, but not in its inventory: {parts(orphan)}",
        "it was removed from webapps or renamed there, or another inventory deploys it",
        remedy(orphan, host),
        works=True,
    )
    return {
        "name": orphan["name"],
        "status": row(orphan, host),
        "diagnosis": {"links": [], "broken": [], "warnings": [asdict(finding)]},
        "checks": [
            {"check": "it is in the inventory", "problem": "", "note": f"{finding.seen}. Nothing of it was checked."}
        ],
        "findings": {},
    }


def row(orphan: dict[str, Any], host: str) -> dict[str, Any]:
    """The row of the status. Most of its values would need the settings of the inventory."""
    managers = [name for name, key in (("systemd", "units"), ("supervisor", "programs")) if orphan[key]]
    return {
        **dict.fromkeys([*COLUMNS, *OTHER_KEYS]),
        **{key: [] for key in LISTS},
        "in_inventory": False,
        "host": host,
        "application": orphan["name"],
        "release": orphan["release"],
        "process_manager": ", ".join(managers),
        "health": f"NOT IN THE INVENTORY ({orphan['running']} processes run)",
    }
