# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Install Debian packages with the module apt, unless all of them are known to be installed."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.packages import PackagesAction


class ActionModule(PackagesAction):
    """Decide on the controller whether apt has to run."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "name": {"type": "list", "elements": "str", "required": True},
                "start_services": {"type": "bool", "default": True},
            }
        )
        wanted = arguments["name"]
        facts = (task_vars or {}).get("ansible_facts", {}).get("pyweb", {})
        known = facts.get("packages", [])
        if set(wanted) <= set(known):
            return {"changed": False, "msg": "Already installed."}
        result = self.install(wanted, arguments["start_services"], task_vars)
        if facts and not result.get("failed") and not self._task.check_mode:
            # The next role that needs one of these packages then makes no module call.
            result["ansible_facts"] = {"pyweb": {**facts, "packages": sorted({*known, *wanted})}}
        return result
