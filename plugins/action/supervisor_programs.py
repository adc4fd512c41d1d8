# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The controller's half of supervisor_programs."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import ModuleAction


class ActionModule(ModuleAction):
    """Runs the module of the same name."""

    returns = frozenset({"files", "started", "restarted", "stopped", "orphans", "daemon_started"})
