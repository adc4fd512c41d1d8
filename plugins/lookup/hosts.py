# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts of a playbook: a pattern that must match one host or more."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hosts
short_description: A pattern of hosts for a play, which must match a host
version_added: 0.2.0
description:
  - Returns its pattern if it matches a host of the inventory, within C(--limit).
  - Otherwise it fails. Ansible itself would do nothing and succeed.
  - Fails also if ansible-core is too old for this collection.
author: The pyweb.stack contributors (@pyweb)
options:
  _terms:
    description: One pattern, as C(hosts) of a play takes it.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Serve the sites
  hosts: "{{ query('pyweb.stack.hosts', pyweb_hosts | default('web')) }}"
  become: true
  roles:
    - role: pyweb.stack.nginx
"""

RETURN = r"""
_raw:
  description: The pattern.
  type: list
  elements: str
"""

from collections.abc import Mapping  # the documentation stands first in a plugin
from typing import Any

from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.lookup import LookupBase
from ansible.release import __version__
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.requirements import core_problems


class LookupModule(LookupBase):
    """Looks for the hosts in the inventory of the run."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        for problem in core_problems(__version__):
            raise AnsibleLookupError(problem)
        patterns = [str(pattern) for term in terms for pattern in (term if isinstance(term, list) else [term])]
        # The syntax of a playbook can be checked without its inventory.
        if not context.CLIARGS.get("syntax"):
            limit = context.CLIARGS.get("subset")
            if not self.inventory((variables or {}).get("groups") or {}, limit).list_hosts(patterns):
                raise AnsibleLookupError(problem_of(patterns, limit))
        return patterns

    def inventory(self, groups: Mapping[str, Any], limit: str | None) -> InventoryManager:
        """The groups and hosts of the run. Ansible passes its own inventory to no plugin before the first play."""
        inventory = InventoryManager(loader=self._loader, sources=None, parse=False)
        for group, hosts in groups.items():
            inventory.add_group(group)
            for host in hosts:
                inventory.add_host(host, group)
        inventory.subset(limit)
        return inventory


def problem_of(patterns: list[str], limit: str | None) -> str:
    """The message for patterns that match no host."""
    within = f" within --limit {limit}" if limit else ""
    return (
        f"no host of the inventory matches '{', '.join(patterns)}'{within}, so there is nothing to do. List your hosts "
        "in the group web, or name your group or pattern: -e pyweb_hosts=GROUP."
    )
