# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Turn supervisor_programs and supervisor_groups into program files to render."""

from __future__ import annotations

DOCUMENTATION = """
name: supervisor_definitions
positional: _input, groups
short_description: Turn the role's programs and groups into files to render
version_added: 0.1.0
description:
  - Maps the inputs C(supervisor_programs) and C(supervisor_groups) of the role P(pyweb.stack.supervisor#role) to what
    P(pyweb.stack.templates#lookup) renders and M(pyweb.stack.supervisor_programs) installs.
  - Checks the programs and groups, and fails with every problem that it finds.
  - Decides about all options; the template only prints them.
  - A program with a C(schedule) becomes a script that cron runs.
author: The pyweb.stack contributors (@pyweb)
options:
  _input:
    description: Programs, as the role's argument specification describes them.
    type: list
    elements: dict
    required: true
  groups:
    description: Groups of these programs, as the role's argument specification describes them.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = """
- name: Render the program files of two programs
  ansible.builtin.debug:
    msg: "{{ query('pyweb.stack.templates', *(supervisor_programs | pyweb.stack.supervisor_definitions)) }}"
  vars:
    supervisor_programs:
      - {name: "shop@", user: shop, command: ["/srv/webapps/shop/releases/%i/bin/web"]}
      - {name: mailer, user: mailer, command: [/usr/bin/mailer, --queue, /var/spool/mailer]}
"""

RETURN = """
_value:
  description:
    - For each program name, state, started and stop_timeout; for a present one C(template) and C(vars).
    - Then for each group C(kind), name, state and members; for a present one C(template) and C(vars).
  type: list
  elements: dict
"""

from typing import Any  # the documentation stands first in a plugin

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import supervisor


def supervisor_definitions(
    programs: list[dict[str, Any]], groups: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    checked_programs, checked_groups, problems = supervisor.checked(programs, groups or [])
    if problems:
        raise AnsibleFilterError("\n".join(problems))
    return supervisor.definitions(checked_programs, checked_groups)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"supervisor_definitions": supervisor_definitions}
