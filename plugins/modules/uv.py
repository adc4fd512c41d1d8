#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: uv
short_description: Install uv into an environment of its own
version_added: 0.2.0
description:
  - Installs one version of uv, the installer of Python packages, into a virtual environment that nothing else uses.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Predicts changes without making them.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  home:
    description:
      - Folder of the environment.
    type: path
    default: /opt/pyweb/uv
  version:
    description:
      - The version, such as V(0.13.8).
    type: str
    required: true
  index_url:
    description:
      - The package index to install it from. Empty is the usual one.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Install uv
  pyweb.stack.uv:
    version: "0.13.8"
"""

RETURN = r"""
before:
  description: The version that was installed before; empty if there was none.
  type: str
  returned: when it changes
version:
  description: The version that is installed now.
  type: str
  returned: when it changes
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.host import uv
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, run_on_host


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "default": "/opt/pyweb/uv"},
            "version": {"type": "str", "required": True},
            "index_url": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    try:
        result, _seen = uv.apply(module.params, run_on_host, module.check_mode)
    except HostError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
