# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Count the requests of applications. The inventory names their logs."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variable import resolved_webapps
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import ModelError, present
from ansible_collections.pyweb.stack.plugins.plugin_utils.rollout.traffic import questions


class ActionModule(HostAction):
    """Add the applications of the host, unless the task names some."""

    returns = frozenset({"seconds", "apps"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        if "apps" not in arguments:
            webapps, problems = resolved_webapps(task_vars, self._templar.template)
            if problems:
                raise AnsibleActionFail("\n".join(problems))
            arguments["apps"] = asked(webapps, str(task_vars.get("webapp_root") or "/srv/webapps"))
        return self._execute_module(module_args=arguments, task_vars=task_vars)


def asked(webapps: Any, root: str) -> list[dict[str, Any]]:
    """The input for all applications of a host."""
    try:
        return questions([app["name"] for app in present(webapps)], webapps, root)
    except ModelError as error:
        raise AnsibleActionFail(f"the inventory has errors. Correct them first:\n{error}") from error
