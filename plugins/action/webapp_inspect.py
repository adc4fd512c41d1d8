# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Inspect web applications from the host and the controller, and diagnose them."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import orphaned
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.balancers import balancers_of, variables_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction, shown
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.stages import registered
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.addresses import GROUP, AddressError
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import orphans as orphans_of_host
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.balancers import answer_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.checks import checks
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.diagnosis import diagnose
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.operations import inspections
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import status_row
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.visits import visits
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variable import resolved_webapps
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import orphans
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import (
    ModelError,
    applications,
    present,
    unknown_app,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.behind import behind_balancers


class ActionModule(HostAction):
    """Visit the sites from the controller, and diagnose each application."""

    returns = frozenset({"apps", "host"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        webapps = arguments.pop("webapps", None)
        if webapps is None:
            webapps, problems = resolved_webapps(task_vars, self._templar.template)
            if problems:
                raise AnsibleActionFail("\n".join(problems))
        wanted = str(arguments.pop("app", "") or "")
        public, names = chosen(webapps, wanted)
        root = arguments.get("root", "/srv/webapps")
        address = str(task_vars.get("ansible_host") or task_vars.get("inventory_hostname") or "127.0.0.1")
        behind, balancers = self.balancers(task_vars)
        # The applications as this host serves them. Visitors see them at the balancers.
        apps = behind_balancers(public, *behind)
        arguments["apps"] = inspections(apps, behind_balancers(applications(webapps), *behind), root)
        arguments["known"] = names
        before = time.time()
        # webapps is not passed, because it contains secrets that the host does not need.
        result = self._execute_module(
            module_name="pyweb.stack.webapp_inspect", module_args=arguments, task_vars=task_vars
        )
        after = time.time()
        if result.get("failed"):
            return result
        # Their headers come from the applications.
        visited = shown(visited_at(public, [one["address"] for one in balancers] or [address]))
        host = {**result["host"], "name": task_vars.get("inventory_hostname", address), "ahead": 0.0}
        foreign = orphaned.foreign_applications(task_vars, self._templar.template)
        host["orphans"] = orphans.checked(host.get("orphans"), foreign)
        if not before <= host["time"] <= after:
            host["ahead"] = host["time"] - (after if host["time"] > after else before)
        concluded = []
        for app, found in zip(apps, result["apps"], strict=True):
            view = View(app, found, host, visited[app["name"]], balancers)
            concluded.append(
                {
                    "name": app["name"],
                    "status": status_row(view),
                    "diagnosis": diagnose(view),
                    "checks": checks(view),
                    "findings": {**found, "visits": view.visits},
                }
            )
        others = orphans_of_host.entries(host, wanted, self.lists_of_roles(task_vars))
        if wanted and not (concluded or others):
            raise AnsibleActionFail(unknown_app(wanted, [app["name"] for app in present(webapps)]))
        return {**result, "apps": [*concluded, *others], "host": host}

    def balancers(self, task_vars: dict[str, Any]) -> tuple[tuple[list[str], int | None], list[dict[str, Any]]]:
        """The arguments of ``behind_balancers``, and the balancers: name, address, and how each sees the web hosts."""
        groups = task_vars.get("groups") or {}
        own = task_vars.get("nginx_balancers")
        if own is not None and not self._templar.template(own):
            return ([], None), []
        try:
            addresses = balancers_of(task_vars, self._templar.template)
        except AddressError as error:
            raise AnsibleActionFail(str(error)) from error
        port = self._templar.template(task_vars.get("balancer_port") or "") or None
        found = []
        for name in map(str, groups.get(GROUP) or () if addresses else ()):
            known = variables_of(task_vars, name, self._templar.template)
            answer = answer_of(registered(task_vars["hostvars"], name).get("__balancer_state"))
            found.append({"name": name, "address": str(known.get("ansible_host") or name), **answer})
        return (addresses, int(port) if port else None), found

    def lists_of_roles(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The lists of services that the inventory has for the roles systemd and supervisor."""
        names = [name for name in orphans.LISTS_OF_ROLES.values() if name in task_vars]
        return {name: self._templar.template(task_vars[name]) for name in names}


def visited_at(apps: list[dict[str, Any]], addresses: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The visits of every application at each of these addresses."""
    found: dict[str, list[dict[str, Any]]] = {app["name"]: [] for app in apps}
    for address in addresses:
        for name, seen in visits(apps, address).items():
            found[name] += seen
    return found


def chosen(webapps: Any, name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """All applications that the host should have, or only the one with this name, and the names in the inventory."""
    try:
        apps, found = applications(webapps), present(webapps)
    except ModelError as error:
        raise AnsibleActionFail(f"the inventory has errors. Correct them first:\n{error}") from error
    return [app for app in found if name in ("", app["name"])], [app["name"] for app in apps]
