# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check everything that can be checked before a host is changed, and report all of it at once."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import LookAction, Refused


class ActionModule(LookAction):
    """Action plugin for preflight."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = {**self._task.args, "sources": bool(self._task.args.get("sources", True))}
        try:
            return self.look(arguments).answer
        except Refused as refused:
            return refused.answer
