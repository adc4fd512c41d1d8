# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Inspect web applications from the host and the controller, and diagnose them."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction, shown
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.checks import checks
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.diagnosis import diagnose
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.operations import inspections
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import status_row
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.visits import visits
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variable import resolved_webapps
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import ModelError, present, unknown_app


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
        apps = chosen(webapps, str(arguments.pop("app", "") or ""))
        root = arguments.get("root", "/srv/webapps")
        address = str(task_vars.get("ansible_host") or task_vars.get("inventory_hostname") or "127.0.0.1")
        arguments["apps"] = inspections(apps, webapps, root)
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
        return {**result, "apps": concluded, "host": host}


def chosen(webapps: Any, name: str) -> list[dict[str, Any]]:
    """All applications of the host, or only the one with this name."""
    try:
        apps = present(webapps)
    except ModelError as error:
        raise AnsibleActionFail(f"the inventory has errors. Correct them first:\n{error}") from error
    names = [app["name"] for app in apps]
    if name and name not in names:
        raise AnsibleActionFail(unknown_app(name, names))
    return [app for app in apps if name in ("", app["name"])]
