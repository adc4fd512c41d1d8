# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Action plugin for webapp_activate. Pass the user who runs Ansible as the owner."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.flags import given_flags
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.people import deployer


class ActionModule(HostAction):
    """Run the module of the same name."""

    returns = frozenset({"apps", "failures"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        flags = given_flags(task_vars or {}, self._templar.template, "end_lost_command")
        arguments = {"owner": deployer(), **flags, **self._task.args}
        return self._execute_module("pyweb.stack.webapp_activate", module_args=arguments, task_vars=task_vars)
