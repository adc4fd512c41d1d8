# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The controller's half of config_files: pass on what the module returns, and nothing else that a host may answer."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import ModuleAction


class ActionModule(ModuleAction):
    """See ModuleAction."""

    returns = frozenset({"paths"})
