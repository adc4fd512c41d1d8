# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications that only the host knows, in the form in which status, doctor and verify show applications. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.checks import as_dict
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import COLUMNS
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.verdicts import does_not_apply
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.orphans import (
    LISTS_OF_ROLES,
    parts,
    remedy,
    there,
    unlisted_services,
)

# Keys of a row of the status that are no column.
OTHER_KEYS = ("without_service", "state", "worker_deaths", "healthy")
LISTS = ("processes", "jobs")


def entries(
    host: dict[str, Any], wanted: str = "", inventory: Mapping[str, Any] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """The entries of all such applications of a host, or of the one that is ``wanted``.

    Services that the roles systemd and supervisor have defined follow. ``inventory`` holds the lists of these roles.
    """
    name = str(host["name"])
    found = [application(one, name) for one in there(host["orphans"])]
    found += [service(one, name) for one in unlisted_services(host["orphans"], inventory)]
    return [one for one in found if wanted in ("", one["name"])]


def application(orphan: dict[str, Any], host: str) -> dict[str, Any]:
    return entry(
        row(orphan["name"], host, orphan["release"], managers(orphan), f"{orphan['running']} processes run"),
        f"it is on the host, but not in its inventory: {parts(orphan)}",
        "it was removed from webapps or renamed there, or another inventory deploys it",
        remedy(orphan, host),
    )


def service(one: dict[str, str], host: str) -> dict[str, Any]:
    list_name = LISTS_OF_ROLES[one["role"]]
    return entry(
        row(one["name"], host, "", one["role"], f"service of the role {one['role']}"),
        f"the role {one['role']} has defined this service, but {list_name} of the inventory does not list it",
        f"it was removed from {list_name}, or a play has a list of its own",
        f"to remove it, add '{{name: {one['name']}, state: absent}}' to {list_name} and run the role {one['role']}. If "
        "a play defines it, list it in webapp_foreign_applications",
    )


def entry(status: dict[str, Any], seen: str, cause: str, fix: str) -> dict[str, Any]:
    finding = Finding("inventory", seen, cause, fix, works=True)
    return {
        "name": status["application"],
        "status": status,
        "diagnosis": {"links": [], "broken": [], "warnings": [asdict(finding)]},
        "checks": [as_dict("it is in the inventory", does_not_apply(f"{finding.seen}. Nothing of it was checked."))],
        "findings": {},
    }


def managers(orphan: dict[str, Any]) -> str:
    return ", ".join(name for name, key in (("systemd", "units"), ("supervisor", "programs")) if orphan[key])


def row(name: str, host: str, release: str, manager: str, state: str) -> dict[str, Any]:
    """The row of the status. Most of its values would need the settings of the inventory."""
    return {
        **dict.fromkeys([*COLUMNS, *OTHER_KEYS]),
        **{key: [] for key in LISTS},
        "in_inventory": False,
        "host": host,
        "application": name,
        "release": release,
        "process_manager": manager,
        "health": f"NOT IN THE INVENTORY ({state})",
    }
