# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The controller's half of supervisor_programs: no trip where the host bears a stamp for the same wish."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.stamped import StampedAction


class ActionModule(StampedAction):
    """See StampedAction."""

    name = "supervisor_programs"
    returns = frozenset({"files", "started", "restarted", "stopped", "orphans", "daemon_started", "settled"})
