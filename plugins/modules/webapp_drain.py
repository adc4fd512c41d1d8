#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Drain a web host, and end its drain."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_drain
short_description: Drain a web host, and end its drain
version_added: 0.2.0
description:
  - Creates or removes the file C(/var/lib/pyweb/drained) on a web host. While it exists, nginx responds with 404 to
    health checks of balancers, so the host gets no further requests. The file outlasts a reboot.
  - Waits until the open requests of the host have ended.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Predicts the change, and does not wait.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  state:
    description:
      - V(look) changes nothing. V(drained) drains the host. V(up) ends its drain. V(idle) waits until no request is
        open.
      - V(check), V(judge_drained) and V(judge_up) do not ask the host. V(check) fails if no other host serves an
        application of the hosts of the batch. The others fail if the host has not left its balancers, or is not back.
    type: str
    choices: [look, drained, up, idle, check, judge_drained, judge_up]
    required: true
  by:
    description:
      - The user who drains the host. The action plugin names the account that runs Ansible, with this text in
        parentheses.
    type: str
    default: ""
  seconds:
    description:
      - With V(idle), seconds to wait, 0 to 86400.
    type: int
    default: 60
  until:
    description:
      - The same as a time of the controller, in seconds since 1970. Read by the action plugin alone.
    type: float
  force:
    description:
      - Whether V(check), V(judge_drained) and V(judge_up) succeed in any case. Read by the action plugin alone.
    type: bool
    default: false
  hosts:
    description:
      - All web hosts of the inventory. Read by the action plugin alone.
    type: list
    elements: str
    default: []
  balancers:
    description:
      - Results of a loop over the balancers, of M(pyweb.stack.balancer_state) or M(pyweb.stack.balancer_wait). Read by
        the action plugin alone.
    type: raw
    default: []
  looks:
    description:
      - Results of a loop over other web hosts, of this module with V(look). Read by the action plugin alone.
    type: raw
    default: []
  idle:
    description:
      - Result of this module with V(idle). Read by the action plugin alone.
    type: raw
    default: {}
"""

EXAMPLES = r"""
- name: Drain the host
  pyweb.stack.webapp_drain:
    state: drained

- name: Wait until its requests have ended
  pyweb.stack.webapp_drain:
    state: idle
    seconds: 60
"""

RETURN = r"""
drained:
  description: Since when the host is drained (C(since), UTC) and who did it (C(by)). Empty if it is not drained.
  type: dict
  returned: success
answers_checks:
  description: Whether nginx answers health checks of balancers on this host.
  type: bool
  returned: success
open:
  description: Open requests of each application. The empty name stands for responses that nginx still sends to clients.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.draining.flag import answers_checks, drain, drained, undrain
from ansible_collections.pyweb.stack.plugins.module_utils.draining.open_requests import open_requests
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for

STATES = ["look", "drained", "up", "idle", "check", "judge_drained", "judge_up"]
LONGEST = 86400
# Seconds between two looks, and for which no request may be open: a request can be between nginx and the application.
INTERVAL = 0.2
QUIET = 3


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": STATES, "required": True},
            "by": {"type": "str", "default": ""},
            "seconds": {"type": "int", "default": 60},
            "balancers": {"type": "raw", "default": []},
            "looks": {"type": "raw", "default": []},
            "idle": {"type": "raw", "default": {}},
            "until": {"type": "float"},
            "force": {"type": "bool", "default": False},
            "hosts": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    state, seconds = module.params["state"], module.params["seconds"]
    if not 0 <= seconds <= LONGEST:
        module.fail_json(msg=f"seconds is {seconds}. Give a number from 0 to {LONGEST}.")
    changed = False
    if state == "drained":
        changed = drain(module.params["by"], check_mode=module.check_mode)
    elif state == "up":
        changed = undrain(check_mode=module.check_mode)
    still_open = wait_until_idle(0 if module.check_mode or state != "idle" else seconds)
    module.exit_json(changed=changed, drained=drained() or {}, answers_checks=answers_checks(), open=still_open)


def wait_until_idle(seconds: int) -> dict[str, int]:
    """Wait until several looks in a row have found no open request. Returns those that the last look has found.

    A further look could find the response to a health check, which balancers continue to send.
    """
    quiet, found = 0, {}

    def is_idle() -> bool:
        nonlocal quiet, found
        found = open_requests()
        quiet = 0 if found else quiet + 1
        return quiet >= QUIET or not seconds

    wait_for(is_idle, seconds, INTERVAL)
    return found


if __name__ == "__main__":
    main()
