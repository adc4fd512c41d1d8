#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Wait until a balancer sends requests to a web host, or no longer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer_wait
short_description: Wait until a balancer sends requests to a web host, or no longer
version_added: 0.2.0
description:
  - Asks HAProxy on a balancer by its admin socket, several times a second. Changes nothing.
  - Does not fail if the time is over. Compare RV(servers) with what you want.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Asks once, and does not wait.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  host:
    description:
      - Name of the web host for HAProxy.
    type: str
    required: true
  state:
    description:
      - V(up) waits until all applications of the host get requests. V(drained) waits until none gets any, and
        no request is open.
    type: str
    choices: [up, drained]
    required: true
  seconds:
    description:
      - Seconds to wait, 0 to 86400.
    type: int
    default: 60
  run_dir:
    description:
      - Folder of HAProxy's sockets.
    type: path
    default: /run/pyweb-balancer
"""

EXAMPLES = r"""
- name: Wait until the balancer sends no requests to web3
  pyweb.stack.balancer_wait:
    host: web3
    state: drained
  delegate_to: lb1
"""

RETURN = r"""
problem:
  description: The reason why HAProxy did not answer. Empty if it did.
  type: str
  returned: success
done:
  description: Whether the host has the state.
  type: bool
  returned: success
servers:
  description: The applications that the balancer sends to the host, each with C(app), C(state), C(sessions) (open
    requests) and C(check) (the result of the last health check).
  type: list
  elements: dict
  returned: success
"""

from typing import Any  # the documentation stands first in a module

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.balancing import stats
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.paths import ADMIN_SOCKET, RUN
from ansible_collections.pyweb.stack.plugins.module_utils.draining.seen import is_as_wanted, of_host
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for

LONGEST = 86400
INTERVAL = 0.2


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["up", "drained"], "required": True},
            "seconds": {"type": "int", "default": 60},
            "run_dir": {"type": "path", "default": RUN},
        },
        supports_check_mode=True,
    )
    seconds = module.params["seconds"]
    if not 0 <= seconds <= LONGEST:
        module.fail_json(msg=f"seconds is {seconds}. Give a number from 0 to {LONGEST}.")
    found: dict[str, Any] = {}

    def is_done() -> bool:
        found.update(look(module.params))
        return bool(found["done"])

    wait_for(is_done, 0 if module.check_mode else seconds, INTERVAL)
    module.exit_json(changed=False, **found)


def look(params: dict[str, Any]) -> dict[str, Any]:
    """The state of the host at this moment."""
    try:
        apps = stats.applications(ADMIN_SOCKET.replace(RUN, params["run_dir"]))
    except stats.AdminError as error:
        return {"problem": str(error), "done": False, "servers": []}
    servers = of_host(apps, params["host"])
    return {"problem": "", "done": is_as_wanted(servers, params["state"]), "servers": servers}


if __name__ == "__main__":
    main()
