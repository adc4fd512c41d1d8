# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A certificate or key from the inventory, or from a file on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pem
short_description: The text of a certificate or key, given as text or as a file on the controller
version_added: 0.2.0
description:
  - A value that holds a line C(-----BEGIN ...-----) is the text itself, and so is an empty one.
  - Any other is the path of a file, relative to the inventory, to the playbook, or to a folder C(files) in one of them.
    A file of ansible-vault is decrypted.
author: The pyweb.stack contributors (@pyweb)
options:
  _terms:
    description: Texts, or paths.
    type: list
    elements: str
    required: true
  kind:
    description:
      - The part of the text to return. V(certificate) is only its certificates, and V(key) only its private keys. A
        file may hold both, but Ansible shows the arguments of a task that are not secret.
    type: str
    choices: [any, certificate, key]
    default: any
"""

EXAMPLES = r"""
- name: Install a key
  ansible.builtin.copy:
    content: "{{ lookup('pyweb.stack.pem', 'keys/shop.key') }}"
    dest: /etc/ssl/private/shop.key
    owner: root
    group: root
    mode: "0600"
"""

RETURN = r"""
_raw:
  description: The texts.
  type: list
  elements: str
"""

from collections.abc import Mapping  # the documentation stands first in a plugin
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import CertificateError
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import shadow_problem
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.given import folders, part_of, pem


class LookupModule(LookupBase):
    """Reads the texts and files."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        if problem := shadow_problem(variables or {}):
            raise AnsibleLookupError(problem)
        self.set_options(var_options=variables, direct=kwargs)
        kind, places = str(self.get_option("kind")), folders(variables or {}, self._loader)
        try:
            return [part_of(pem(str(term), places, self._loader), kind) for term in terms]
        except CertificateError as error:
            raise AnsibleLookupError(f"{error}.") from error
