# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Turn systemd_services into unit files to render."""

from __future__ import annotations

DOCUMENTATION = """
name: systemd_units
short_description: Turn the role's services into unit files to render
version_added: 0.1.0
description:
  - Maps the input C(systemd_services) of the role P(pyweb.stack.systemd#role) to what
    P(pyweb.stack.templates#lookup) renders and M(pyweb.stack.systemd_services) installs.
  - Checks the services, and fails with every problem that it finds.
  - Decides about all directives; the template only prints them.
  - Every unit is sandboxed. A directive in C(settings) replaces that of the same name.
  - A service with a C(timer) becomes two units.
author: The pyweb.stack contributors (@pyweb)
options:
  _input:
    description: Services, as the role's argument specification describes them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = """
- name: Render the unit files of two services
  ansible.builtin.debug:
    msg: "{{ query('pyweb.stack.templates', *(systemd_services | pyweb.stack.systemd_units)) }}"
  vars:
    systemd_services:
      - {name: "shop@", type: notify, user: shop, command: ["/srv/webapps/shop/releases/%i/bin/web"]}
      - {name: mailer, user: mailer, command: [/usr/bin/mailer, --queue, /var/spool/mailer]}
"""

RETURN = """
_value:
  description:
    - For each unit its name, state, started, enabled and triggered, and for a present one C(template) and C(vars).
  type: list
  elements: dict
"""

from typing import Any  # the documentation stands first in a plugin

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import systemd


def systemd_units(services: list[dict[str, Any]]) -> list[dict[str, Any]]:
    checked, problems = systemd.checked(services)
    if problems:
        raise AnsibleFilterError("\n".join(problems))
    return systemd.units(checked)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"systemd_units": systemd_units}
