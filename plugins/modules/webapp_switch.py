#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_switch
short_description: Roll applications back, or restart them, on all hosts as one
version_added: 0.2.0
description:
  - Runs in stages, each of them a task for all hosts of a play with the strategy linear. No host begins a stage
    before all hosts have ended the previous one.
  - With one host, the stage V(switch) is final, and the later stages only report it.
  - With several hosts, nothing is switched unless all hosts can be reached and can go back to the same revision. The
    old releases keep running until all hosts have confirmed the new ones. If one fails, all of them go back.
  - An application with C(switch=stop_first) can't go back. Its hosts switch in the batches of C(webapp_rollout), and
    if one fails, later batches do not switch.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: The stage V(choose) is the same. The others report a change and do nothing.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  stage:
    description:
      - V(choose) reads the releases of a host. Register its result as C(__choice).
      - V(batches) lists the batches of hosts. Register its result as C(__batches), with C(run_once=true). Without this
        stage, all hosts switch at once.
      - V(switch) switches, provisionally if there are several hosts. Register its result as C(__switched).
      - V(confirm) waits for the end of the probation. Register its result as C(__confirmed).
      - V(finish) commits or reverts, and fails if anything failed. Register its result as C(__finished).
    type: str
    required: true
    choices: [choose, batches, switch, confirm, finish]
  switch:
    description:
      - V(rollback) switches to an earlier release, V(restart) to new processes of the live one. The stage V(choose)
        reads it, and the options below.
    type: str
    choices: [rollback, restart]
    default: rollback
  app:
    description:
      - The application. A restart without it is for all applications. Hosts that do not have it do nothing.
    type: str
    default: ""
  release:
    description:
      - The ID of the release of this host to roll back to.
    type: str
    default: ""
  revision:
    description:
      - The revision to roll back to, or its beginning, or the beginning of its commit. It must be clear which one it
        is. A host that serves it already stays as it is.
    type: str
    default: ""
  batch:
    description:
      - The number of the batch that switches, for the stage V(switch). Run this stage for each of the C(steps) that the
        stage V(batches) returns.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Choose the release on each host
  pyweb.stack.webapp_switch: {stage: choose, app: shop}
  register: __choice

- name: List the batches
  pyweb.stack.webapp_switch: {stage: batches}
  register: __batches
  run_once: true

# The file has a task with {stage: switch, batch: "{{ __step.batch }}"}, which registers __switched.
- name: Switch, and keep the old release running
  ansible.builtin.include_tasks: switch.yml
  loop: "{{ __batches.steps }}"
  loop_control: {loop_var: __step}

- name: Confirm the switch on all hosts
  pyweb.stack.webapp_switch: {stage: confirm}
  register: __confirmed

- name: Commit on all hosts, or go back on all
  pyweb.stack.webapp_switch: {stage: finish}
  register: __finished
"""

RETURN = r"""
apps:
  description: The applications that were switched, as M(pyweb.stack.webapp_activate) returns them.
  type: list
  elements: dict
  returned: always
steps:
  description: A step for each batch, with its number C(batch) and a C(label).
  type: list
  elements: dict
  returned: stage batches
lines:
  description: What is live now, a sentence for each application.
  type: list
  elements: str
  returned: stage finish
failures:
  description: The C(names) of the applications that failed, and the C(problems).
  type: dict
  returned: if an application failed
"""
