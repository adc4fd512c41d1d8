# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Action plugin for balancer_wait. Return only the documented keys."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import ModuleAction


class ActionModule(ModuleAction):
    """Run the module of the same name."""

    returns = frozenset({"problem", "done", "servers"})
