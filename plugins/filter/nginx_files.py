# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""From the list of sites to the list of files that nginx reads."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_files
short_description: Tell which files make up nginx's configuration for a list of sites
version_added: 0.1.0
description:
  - Checks C(nginx_sites) as a whole, then gives the files of nginx's tree as dictionaries of C(path), C(template) and
    C(vars),
    ready for P(pyweb.stack.templates#lookup).
  - Fails with every problem at once; each names the site, the value found and the remedy.
author: The pyweb.stack contributors
positional: _input
options:
  _input:
    description: The sites, as the role P(pyweb.stack.nginx#role) takes them.
    type: list
    elements: dict
    required: true
  worker_processes:
    description: Number of worker processes, or V(auto) for one per core.
    type: raw
    default: auto
  worker_connections:
    description: Connections each worker may hold, towards visitors and applications together.
    type: int
    default: 8192
  extra:
    description: Directives printed as they are in the C(http) block.
    type: str
    default: ""
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
from ansible_collections.pyweb.stack.plugins.module_utils.nginx_sites import input_problems, plan_files


def nginx_files(
    sites: list[dict[str, Any]], worker_processes: Any = "auto", worker_connections: Any = 8192, extra: str = ""
) -> list[dict[str, Any]]:
    """The files of valid sites; raises AnsibleFilterError with all that is wrong."""
    problems = input_problems(sites, worker_processes, worker_connections, extra)
    if problems:
        raise AnsibleFilterError("nginx can't be configured:\n" + "\n".join(f"- {problem}" for problem in problems))
    settings = {"worker_processes": worker_processes, "worker_connections": worker_connections, "extra": extra}
    return plan_files(sites, settings)


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict[str, Any]:
        return {"nginx_files": nginx_files}
