#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Install HAProxy's configuration as a transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer_config
short_description: Install HAProxy's configuration as a transaction, and load it
version_added: 0.2.0
description:
  - HAProxy tests the whole new configuration before it replaces the current one. Then it loads it, without closing a
    connection. The module verifies that it runs, and waits until each web host has been checked.
  - If a step fails, the previous configuration is loaded again.
  - A configuration that people have written is refused. Debian's own is replaced.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    support: full
    description: Predicts changes. HAProxy's own test needs the file on the host, so only the real run does it.
  diff_mode:
    description: Shows the file before and after.
    support: full
options:
  units:
    description: The parts of the configuration, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the part.
        type: str
        required: true
      content:
        description: Its lines.
        type: str
        required: true
  keep:
    description: >-
      Whether parts of the current configuration that are not among O(units) stay. nginx may still need them until it
      has its own new configuration.
    type: bool
    default: false
  drop_in:
    description: Text of a drop-in for C(haproxy.service). Used only where systemd is the init.
    type: str
    default: ""
  conf:
    description: HAProxy's configuration file.
    type: path
    default: /etc/haproxy/haproxy.cfg
  pid_file:
    description: The file with the process id of the master, where systemd is not the init.
    type: path
    default: /run/haproxy.pid
  run_dir:
    description: Folder of the sockets.
    type: path
    default: /run/pyweb-balancer
  init:
    description: The init that starts HAProxy. With V(auto), a host without systemd is refused.
    type: str
    choices: [auto, systemd, none]
    default: auto
"""

EXAMPLES = r"""
- name: Spread a site
  pyweb.stack.balancer_config:
    units:
      - {name: main, content: "defaults\n    mode http\n"}
"""

RETURN = r"""
actions:
  description: The changes that were made, or would be, in order.
  type: list
  elements: str
  returned: success
surplus:
  description: The parts that stayed because of O(keep).
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.haproxy import BalancerError
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.transaction import ARGUMENTS, apply
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = apply(module.params, run_on_host, module.check_mode)
    except BalancerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
