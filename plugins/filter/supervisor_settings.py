# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Turn supervisor_daemon into the settings file of supervisord."""

from __future__ import annotations

DOCUMENTATION = """
name: supervisor_settings
short_description: Turn the role's settings of supervisord into a file
version_added: 0.2.0
description:
  - Checks the input C(supervisor_daemon) of the role P(pyweb.stack.supervisor#role), and returns the text of the file
    for M(pyweb.stack.supervisor_settings).
author: The pyweb.stack contributors (@pyweb)
options:
  _input:
    description: The settings, as the role's argument specification describes them.
    type: dict
    required: true
"""

EXAMPLES = """
- name: Write the settings
  pyweb.stack.supervisor_settings:
    content: "{{ {'minfds': 65536} | pyweb.stack.supervisor_settings }}"
"""

RETURN = """
_value:
  description: The text; empty without settings.
  type: str
"""

from typing import Any  # the documentation stands first in a plugin

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import supervisor_settings


def settings_file(given: dict[str, Any]) -> str:
    found, problems = supervisor_settings.checked(given)
    if problems:
        raise AnsibleFilterError("\n".join(problems))
    return supervisor_settings.settings_file(found)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"supervisor_settings": settings_file}
