#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: rolling
short_description: Record and report the course of a play that goes through hosts in batches
version_added: 0.2.0
description:
  - Used by the playbook C(rolling.yml). Runs on the controller, and changes nothing on the host.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: The same in both modes.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  step:
    description:
      - V(begin) checks the variables of the playbook, and that all hosts of earlier batches are done. V(done) and
        V(failed) record the result of a host. V(report) fails if a host of the batch has failed.
    type: str
    choices: [begin, done, failed, report]
    required: true
  hosts:
    description:
      - With V(begin), all web hosts of the inventory.
    type: list
    elements: str
    default: []
  drains:
    description:
      - With V(begin), whether hosts are drained.
    type: bool
    default: false
  force:
    description:
      - With V(begin), whether to continue if no other host serves an application.
    type: bool
    default: false
  command:
    description:
      - With V(begin), the command of the playbook.
    type: str
    default: ""
  roles:
    description:
      - With V(begin), the roles of the playbook.
    type: raw
    default: []
  tasks:
    description:
      - With V(begin), the file of tasks of the playbook.
    type: str
    default: ""
  reboot:
    description:
      - With V(begin), whether the playbook reboots.
    type: bool
    default: false
  stays_drained:
    description:
      - With V(done), whether the host stays drained, because it was drained before.
    type: bool
    default: false
  task:
    description:
      - With V(failed), the name of the task that failed.
    type: str
    default: ""
  result:
    description:
      - With V(failed), its result.
    type: raw
    default: {}
"""

EXAMPLES = r"""
- name: Record that the host is done
  pyweb.stack.rolling:
    step: done
  register: __rolling
"""

RETURN = r"""
state:
  description: V(done) or V(FAILED).
  type: str
  returned: with V(done) and V(failed)
reason:
  description: Why the host failed, or stays drained.
  type: str
  returned: with V(done) and V(failed)
command:
  description: The command with its spaces.
  type: str
  returned: with V(begin)
roles:
  description: The names of the roles.
  type: list
  elements: str
  returned: with V(begin)
tasks:
  description: The file with tasks.
  type: str
  returned: with V(begin)
reboot:
  description: Whether the playbook reboots.
  type: bool
  returned: with V(begin)
msg:
  description: The result of every host.
  type: str
  returned: with V(begin) and V(report)
"""
