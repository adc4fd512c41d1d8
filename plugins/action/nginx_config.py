# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The controller's half of nginx_config."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import ModuleAction


class ActionModule(ModuleAction):
    """Runs the module of the same name."""

    returns = frozenset({"actions", "tree", "due", "ca", "unowned", "removed_sites"})
