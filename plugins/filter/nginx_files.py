# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files that nginx reads, from the list of sites."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_files
short_description: The files of nginx's configuration for a list of sites
version_added: 0.1.0
description:
  - Checks C(nginx_sites) as a whole, then returns the files of nginx's tree as dictionaries of C(path), C(template) and
    C(vars), for P(pyweb.stack.templates#lookup).
  - Fails with every problem at once; each names the site, the value found and the remedy.
author: The pyweb.stack contributors (@pyweb)
positional: _input, settings, applications
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
  applications:
    description: The sites of applications, which nginx serves beside the others.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Install nginx's tree
  pyweb.stack.nginx_config:
    files: "{{ query('pyweb.stack.templates', *(nginx_sites | pyweb.stack.nginx_files)) }}"
"""

RETURN = r"""
_value:
  description: Dictionaries with C(path) in the tree, C(template) and C(vars).
  type: list
  elements: dict
"""

from typing import Any  # the documentation stands first in a plugin

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.configuration import configuration


def nginx_files(
    sites: Any, settings: dict[str, Any] | None = None, applications: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """The files for valid sites. Raises AnsibleFilterError with every problem."""
    found = configuration(sites, settings, applications)
    if found.problems:
        problems = "\n".join(f"- {problem}" for problem in found.problems)
        raise AnsibleFilterError(f"nginx can't be configured:\n{problems}")
    return found.files


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict[str, Any]:
        return {"nginx_files": nginx_files}
