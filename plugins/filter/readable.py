# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Text of several lines, as Ansible's own output shows it readably."""

from __future__ import annotations

DOCUMENTATION = r"""
name: readable
short_description: Text of several lines, in the form that Ansible's output shows readably
version_added: 0.2.0
description:
  - Ansible's default output is JSON, which shows a text of several lines as one long string. In this case, the filter
    returns a list of the lines. With C(callback_result_format=yaml), it returns the text.
author: The pyweb.stack contributors (@pyweb)
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Print a table
  ansible.builtin.debug:
    msg: "{{ [[inventory_hostname, __look.apps]] | pyweb.stack.webapp_status_table | pyweb.stack.readable }}"
"""

RETURN = r"""
_value:
  description: The text, or its lines.
  type: raw
"""

from typing import Any  # the documentation stands first in a plugin

from ansible import constants
from ansible.errors import AnsibleError


def result_format() -> str:
    """The format in which Ansible's default output shows results."""
    try:
        return str(constants.config.get_config_value("result_format", plugin_type="callback", plugin_name="default"))
    except AnsibleError:
        # Another program prints the output, and has no such setting.
        return "json"


def readable(text: str) -> str | list[str]:
    return text if result_format() == "yaml" else text.split("\n")


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict[str, Any]:
        return {"readable": readable}
