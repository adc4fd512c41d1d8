#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Read the states of the web hosts on a balancer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer_state
short_description: Read the state of each web host, as a balancer sees it
version_added: 0.2.0
description:
  - Asks HAProxy on a balancer by its admin socket. Changes nothing.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: The module only reads.
options:
  run_dir:
    description: Folder of HAProxy's sockets.
    type: path
    default: /run/pyweb-balancer
"""

EXAMPLES = r"""
- name: Ask the balancer
  pyweb.stack.balancer_state:
  register: balancer
"""

RETURN = r"""
problem:
  description: The reason why HAProxy did not answer. Empty if it did.
  type: str
  returned: always
apps:
  description: >-
    The applications, each with C(name) and C(servers). A server has C(host) (its name in the inventory), C(state)
    (V(up), V(draining), V(down) or V(unknown)), C(host_state) (the same for its nginx), C(sessions) (open requests),
    C(requests) (all requests so far), C(since) (seconds since the last change of its state), C(weight), C(backup)
    and C(check) (the result of the last check).
  type: list
  elements: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.balancing import stats
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.paths import ADMIN_SOCKET, RUN


def main() -> None:
    arguments = {"run_dir": {"type": "path", "default": RUN}}
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    try:
        apps = stats.applications(ADMIN_SOCKET.replace(RUN, module.params["run_dir"]))
    except stats.AdminError as error:
        module.exit_json(changed=False, problem=str(error), apps=[])
    module.exit_json(changed=False, problem="", apps=apps)


if __name__ == "__main__":
    main()
