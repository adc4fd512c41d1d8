# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The certificates of sites, for the module nginx_config."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_certificates
short_description: The certificates of nginx's sites, with the texts of given ones
version_added: 0.2.0
description:
  - Makes the input C(certificates) of M(pyweb.stack.nginx_config) from the sites of the role P(pyweb.stack.nginx#role).
  - Reads the certificates and keys that are on the controller. Fails with everything that is wrong with them, such as a
    key of another certificate, or a missing name of the site. Whether a certificate has expired is checked by
    M(pyweb.stack.nginx_config), because one that is deployed already only causes a warning.
author: The pyweb.stack contributors (@pyweb)
options:
  _terms:
    description: One term, the list of sites.
    type: list
    elements: list
    required: true
  problems:
    description: Return the problems, a sentence for each, instead of failing.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Serve the sites
  pyweb.stack.nginx_config:
    files: "{{ query('pyweb.stack.templates', *(nginx_sites | pyweb.stack.nginx_files({}))) }}"
    certificates: "{{ query('pyweb.stack.nginx_certificates', nginx_sites) }}"
"""

RETURN = r"""
_raw:
  description: One dictionary for each site with TLS; with O(problems) one sentence for each problem.
  type: list
  elements: raw
"""

from collections.abc import Mapping  # the documentation stands first in a plugin
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import shadow_problem
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.given import folders, pem, with_texts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates


class LookupModule(LookupBase):
    """Makes the list, and checks the given certificates."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        if problem := shadow_problem(variables or {}):
            raise AnsibleLookupError(problem)
        self.set_options(var_options=variables, direct=kwargs)
        sites, _settings, wrong = checked(terms[0], {})
        places = folders(variables or {}, self._loader)
        found, given_wrong = with_texts(certificates(sites), lambda value: pem(value, places, self._loader), expired={})
        if self.get_option("problems"):
            return given_wrong
        if wrong + given_wrong:
            raise AnsibleLookupError("\n".join(wrong + given_wrong))
        return found
