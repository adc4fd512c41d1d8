# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Debian packages by the stock apt module: no trip when they are known to be installed."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.packages import PackagesAction


class ActionModule(PackagesAction):
    """Decides on the controller whether apt has to be asked at all."""

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
            return {"changed": False, "msg": "Installed already."}
        result = self.install(wanted, arguments["start_services"], task_vars)
        if facts and not result.get("failed") and not self._task.check_mode:
            # So that the next role that wants one of them needs no trip to find it there.
            result["ansible_facts"] = {"pyweb": {**facts, "packages": sorted({*known, *wanted})}}
        return result
