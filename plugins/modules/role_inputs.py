#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: role_inputs
short_description: Check the inputs of a role that is used alone
version_added: 0.2.0
description:
  - The first task of each role. Reports all problems of the role's inputs together, each with the value found and the
    remedy.
  - Fails if the tasks don't run as root on the host. It asks the host only if C(become) and the account of the
    connection leave that open.
  - Changes nothing.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: The checks are the same.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  role:
    description:
      - Name of the role, without the collection's. M(pyweb.stack.apply) checks the inputs of the role webapp, so only
        ansible-core and the account are checked for it.
    type: str
    required: true
    choices: [gunicorn, uwsgi, granian, nginx, python, supervisor, systemd, webapp]
"""

EXAMPLES = r"""
- name: Check the inputs
  pyweb.stack.role_inputs:
    role: nginx
"""

RETURN = r"""
msg:
  description: The problems.
  type: str
  returned: failure
"""
