# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Inspect web applications from the host and the controller, and diagnose them."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import orphaned
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction, shown
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import orphans as orphans_of_host
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
        apps, names = chosen(webapps, wanted)
        root = arguments.get("root", "/srv/webapps")
        address = str(task_vars.get("ansible_host") or task_vars.get("inventory_hostname") or "127.0.0.1")
        arguments["apps"] = inspections(apps, webapps, root)
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
        visited = shown(visits(apps, address))
        host = {**result["host"], "name": task_vars.get("inventory_hostname", address), "ahead": 0.0}
        foreign = orphaned.foreign_applications(task_vars, self._templar.template)
        host["orphans"] = orphans.checked(host.get("orphans"), foreign)
        if not before <= host["time"] <= after:
            host["ahead"] = host["time"] - (after if host["time"] > after else before)
        concluded = []
        for app, found in zip(apps, result["apps"], strict=True):
            view = View(app, found, host, visited[app["name"]])
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

    def lists_of_roles(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The lists of services that the inventory has for the roles systemd and supervisor."""
        names = [name for name in orphans.LISTS_OF_ROLES.values() if name in task_vars]
        return {name: self._templar.template(task_vars[name]) for name in names}


def chosen(webapps: Any, name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """All applications that the host should have, or only the one with this name, and the names in the inventory."""
    try:
        apps, found = applications(webapps), present(webapps)
    except ModelError as error:
        raise AnsibleActionFail(f"the inventory has errors. Correct them first:\n{error}") from error
    return [app for app in found if name in ("", app["name"])], [app["name"] for app in apps]
