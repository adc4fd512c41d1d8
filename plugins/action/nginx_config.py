# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The controller's half of nginx_config: no trip where the host bears a stamp for the same wish."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.stamped import StampedAction


class ActionModule(StampedAction):
    """See StampedAction."""

    name = "nginx_config"
    returns = frozenset({"actions", "tree", "due", "ca", "unowned", "removed_sites", "settled"})
