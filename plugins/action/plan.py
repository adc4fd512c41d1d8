# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Add a role to the plan of a host. Runs on the controller only."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import ROLES


class ActionModule(HostAction):
    """The action apply reads the registered result, ``__ROLE_plan``."""

    _requires_connection = False
    returns = frozenset({"role"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={"role": {"type": "str", "required": True, "choices": list(ROLES)}}
        )
        return {"changed": False, "role": arguments["role"], "play": self.play}
