# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The revisions that the hosts of one run deploy: the same one for each application, and none that a host holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status.words import is_revision
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.flags import lifted_holds
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.modelling import ModelAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.stages import StagesAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import revisions as plan
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import Model
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.revisions import packages_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin

# The revisions of one application that a host may report as held.
MOST_HELD = 100


# Pure


def reported_revisions(facts: Mapping[str, Any], names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The revisions that a host reports, without everything that is none."""
    found = {}
    for name in names:
        given = facts.get("revisions", {}).get(name)
        if isinstance(given, Mapping):
            live, held = given.get("live"), given.get("held")
            listed = [one for one in held if is_revision(one)][:MOST_HELD] if isinstance(held, list) else []
            found[name] = {"live": live if is_revision(live) else "", "held": listed}
    return found


def held_on(reports: Mapping[str, Mapping[str, Any]], bases: Mapping[str, str], host: str) -> dict[str, list[str]]:
    """The other hosts of the run that hold what this host would deploy, by application.

    A host that serves this revision, or holds it, does not depend on others: only its secrets can differ.
    """
    found: dict[str, list[str]] = {}
    for name, base in bases.items():
        own = reports.get(host, {}).get(name) or {}
        if any(one.startswith(base) for one in [own.get("live") or "", *(own.get("held") or [])]):
            continue
        for other, report in reports.items():
            held = (report.get(name) or {}).get("held") or []
            if other != host and any(one.startswith(base) for one in held):
                found.setdefault(name, []).append(other)
    return found


def agreed(
    name: str,
    base: str,
    builds: Mapping[str, Mapping[str, Any]],
    reports: Mapping[str, Mapping[str, Any]],
) -> str:
    """The revision of an application on hosts with this base: the base, and the packages that all hosts have."""
    found = {one: built.get(name) or {} for one, built in builds.items()}
    new = [build for build in found.values() if build.get("candidate")]
    live = [
        (reports[one].get(name) or {}).get("live") or "" for one, build in found.items() if not build.get("candidate")
    ]
    packages = packages_of(new, live, base)
    return base + packages if packages else ""


# Actions


class RevisionsAction(ModelAction, StagesAction):
    """An action whose hosts agree on revisions."""

    def revision_bases(self, model: Model, origins: Mapping[str, Origin]) -> dict[str, str]:
        descriptions = {name: origin.description for name, origin in origins.items()}
        return plan.bases(self.roles, model, descriptions, self.names_of_hosts())

    def names_of_hosts(self) -> list[str]:
        """The names and addresses of all hosts of the inventory, as far as the inventory itself has them."""
        names = [str(name) for name in (self.task_vars.get("groups") or {}).get("all", [])]
        found = [self.host, *names, str(self.task_vars.get("ansible_host") or "")]
        with suppress(AttributeError):
            inventory = self.task_vars["hostvars"]._variable_manager._inventory
            found += [str(inventory.get_host(name).vars.get("ansible_host") or "") for name in names]
        return sorted(set(found) - {""})

    def of_deployment(self, model: Model, origins: Mapping[str, Origin]) -> dict[str, Any]:
        """Additions to the part webapp that do not affect its key: this run, its revisions, and holds elsewhere."""
        bases = self.revision_bases(model, origins)
        return {"run": self.play, "revisions": bases, "held_on": held_on(self.reports(), bases, self.host)}

    def of_this_run(self, facts: dict[str, Any]) -> dict[str, Any]:
        lifted = lifted_holds(self.task_vars, self._templar.template)
        return {**super().of_this_run(facts), **({"lift_hold": lifted} if lifted else {})}

    def reports(self) -> dict[str, dict[str, Any]]:
        """The revisions that the look at each host of the play has found."""
        return {host: look.get("revisions") or {} for host, look in self.looks().items()}

    def with_revisions(self, switches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The switches of this host, with the revision that all hosts agree on; empty without the stage look."""
        if not self.stages_of(self.host)["look"].get("fleet"):
            return switches
        return [{**one, "revision": self.agreed_revision(one["name"])} for one in switches]

    def agreed_revision(self, name: str) -> str:
        own = (self.builds_of(self.host).get(name) or {}).get("revision")
        if not is_revision(own):
            return ""
        base = str(own)[:8]

        def compute() -> str:
            reports = self.reports()
            return agreed(name, base, {host: self.builds_of(host) for host in reports}, reports)

        return self.once.result(f"revision of {name} {base}", compute)

    def builds_of(self, host: str) -> dict[str, dict[str, Any]]:
        """The builds of a host in this run, by application."""
        apps = self.deployment_of(host).get("apps") or []
        return {str(one.get("name")): one for one in apps if isinstance(one, dict)}
