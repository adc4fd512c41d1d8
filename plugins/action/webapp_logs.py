# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Read the logs of an application and of its site. Refuse wrong values before the host is asked."""

from __future__ import annotations

import datetime
import re
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.module_utils.logs import asked
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.extra_vars import as_written
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.operations import site_logs
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variable import resolved_webapps
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import ModelError


class ActionModule(HostAction):
    """Check the values on the controller, and add the logs of the application's site."""

    returns = frozenset({"logs"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = {"app": "", "names": [], "lines": 50, "since": "", "level": "", "request": "", **self._task.args}
        arguments["since"] = spaced("since") or arguments["since"]
        if problem := asked.problem(arguments, datetime.datetime.now(), on_host=False):
            raise AnsibleActionFail(problem)
        webapps, problems = resolved_webapps(task_vars, self._templar.template)
        logs = {} if problems else logs_of(arguments["app"], webapps, task_vars)
        return self._execute_module(module_args={**logs, **arguments}, task_vars=task_vars)


def spaced(name: str) -> str:
    """A value of the command line with its spaces. Quotes may have stayed, and other variables may follow."""
    return re.split(r"\s+\w+=", as_written(name))[0].strip("'\" ")


def logs_of(app: str, webapps: Any, task_vars: dict[str, Any]) -> dict[str, list[str]]:
    """The logs of an application's site. An inventory with errors does not hide the logs of its processes."""
    try:
        return site_logs(app, webapps, str(task_vars.get("webapp_root") or "/srv/webapps"))
    except ModelError:
        return {}
