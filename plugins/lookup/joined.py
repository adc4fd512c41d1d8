# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""One list from the lists that groups and hosts of the inventory define."""

from __future__ import annotations

DOCUMENTATION = r"""
name: joined
short_description: Join the lists that groups and hosts of an inventory define
version_added: 0.2.0
description:
  - Ansible does not join lists. If two groups of a host set C(webapps), one of them is used.
  - This lookup returns the items of all variables of a host whose names begin with its term and an underscore, in the
    order of these names. So each group and each host can add its own, such as C(webapps_shop) and C(webapps_web1).
  - Facts of a host are not used.
author: The pyweb.stack contributors (@pyweb)
options:
  _terms:
    description: The name of an input that is a list, such as V(webapps).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
# group_vars/all.yml
webapps: "{{ query('pyweb.stack.joined', 'webapps') }}"

# group_vars/shop.yml, for the hosts of the group shop
webapps_shop:
  - {name: shop, source: {path: ../../shop}, wsgi: "shop:app"}
"""

RETURN = r"""
_raw:
  description: The items of all lists.
  type: list
  elements: raw
"""

from collections.abc import Mapping  # the documentation stands first in a plugin
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import raw_facts, shadow_problem


class LookupModule(LookupBase):
    """Finds the variables, and joins their lists."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        given = variables or {}
        if problem := shadow_problem(given):
            raise AnsibleLookupError(problem)
        facts = {str(name) for name in raw_facts(given)}
        found: list[Any] = []
        for term in terms:
            for name in sorted(name for name in given if name.startswith(f"{term}_") and name not in facts):
                value = self._templar.template(given[name]) if self._templar else given[name]
                if not isinstance(value, (list, tuple)):
                    raise AnsibleLookupError(
                        f"{name} is no list, so it can't be joined with the others of {term}. Begin each item with a "
                        "dash, or rename the variable."
                    )
                found += value
        return found
