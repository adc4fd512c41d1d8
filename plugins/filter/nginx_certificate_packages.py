# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The packages for the certificates of sites."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_certificate_packages
short_description: The Debian packages that make or fetch the certificates of sites
version_added: 0.2.0
description:
  - C(openssl) where a certificate is signed by the host, C(dehydrated) where one is ordered from an ACME authority, and
    nothing where there is neither.
author: The pyweb.stack contributors (@pyweb)
positional: _input
options:
  _input:
    description: Sites, as the role P(pyweb.stack.nginx#role) takes them, or applications.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Install nginx
  pyweb.stack.packages:
    name: "{{ nginx_required_packages + (nginx_sites | pyweb.stack.nginx_certificate_packages) }}"
"""

RETURN = r"""
_value:
  description: Names of packages.
  type: list
  elements: str
"""

from typing import Any  # the documentation stands first in a plugin

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import packages


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict[str, Any]:
        return {"nginx_certificate_packages": packages}
