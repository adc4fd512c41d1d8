# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The problems in the inputs of the role nginx."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_problems
short_description: The problems in a list of sites
version_added: 0.1.0
description:
  - Checks C(nginx_sites) as a whole, and the settings that all sites share. Each problem names the site, the value
    found and the remedy.
author: The pyweb.stack contributors (@pyweb)
positional: _input, settings
options:
  _input:
    description: The sites, as the role P(pyweb.stack.nginx#role) takes them.
    type: list
    elements: dict
    required: true
  settings:
    description: The other inputs of the role, without their prefix C(nginx_). Those left out take the role's default.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Refuse sites that nginx could not serve
  ansible.builtin.assert:
    that: __problems | length == 0
    fail_msg: "{{ __problems | join('\\n') }}"
  vars:
    __problems: "{{ nginx_sites | pyweb.stack.nginx_problems }}"
"""

RETURN = r"""
_value:
  description: One sentence or more for each problem; empty if there is none.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked


def nginx_problems(sites: Any, settings: dict[str, Any] | None = None) -> list[str]:
    """Every problem, in words for the user."""
    return checked(sites, settings or {})[2]


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict[str, Any]:
        return {"nginx_problems": nginx_problems}
