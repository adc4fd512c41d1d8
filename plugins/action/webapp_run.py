# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run one command of an application, exactly as it is written on the command line."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.extra_vars import as_written
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import unknown_app


class ActionModule(HostAction):
    """Check the application and the command on the controller. The module runs it on the host."""

    returns = frozenset(
        {"stdout", "stderr", "stdout_lines", "stderr_lines", "printed", "ending", "rc", "cmd", "skipped"}
    )
    # run.yml prints them before it fails.
    kept_in_failures = frozenset({"stdout", "stderr", "printed", "ending", "rc"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "app": {"type": "str", "default": ""},
                "command": {"type": "str", "default": ""},
                "names": {"type": "list", "elements": "str", "required": True},
                "root": {"type": "path", "default": "/srv/webapps"},
            }
        )
        app, command = arguments["app"], as_written("command") or arguments["command"]
        if app not in arguments["names"]:
            raise AnsibleActionFail(unknown_app(app, arguments["names"]))
        if not command.strip():
            raise AnsibleActionFail("no command is given. Set one, such as -e command='flask db current'.")
        return self._execute_module(
            module_name="pyweb.stack.webapp_run",
            module_args={**arguments, "command": command},
            task_vars=task_vars,
        )
