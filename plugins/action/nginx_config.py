# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Action plugin for nginx_config. Pass on certificates without their keys, and return only the documented keys."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import certificates_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction


class ActionModule(HostAction):
    """Run the module of the same name."""

    returns = frozenset({"actions", "tree", "due", "ca", "unowned", "removed_sites", "waiting"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        # Ansible shows these arguments.
        if isinstance(arguments.get("certificates"), list):
            arguments["certificates"] = [without_key(item, "certificate") for item in arguments["certificates"]]
        arguments = without_key(arguments, "ca_certificate")
        return self._execute_module(module_args=arguments, task_vars=task_vars)


def without_key(item: Any, name: str) -> Any:
    """A mapping whose certificate has no private key beside it."""
    text = item.get(name) if isinstance(item, dict) else None
    return {**item, name: certificates_of(text)} if isinstance(text, str) and "PRIVATE KEY" in text else item
