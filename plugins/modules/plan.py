#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Let a role take part in the plan of a host
version_added: 0.2.0
description:
  - Used by the task file C(plan) of each role. M(pyweb.stack.apply) then applies the role's part together with all
    others.
  - Makes no trip to the host.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Predicts changes without making them.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  role:
    description:
      - Name of the role, without the collection's.
    type: str
    required: true
    choices: [python, gunicorn, uwsgi, granian, webapp, systemd, supervisor, nginx]
"""

EXAMPLES = r"""
- name: Take part in the plan
  pyweb.stack.plan:
    role: nginx
  register: __nginx_plan
"""

RETURN = r"""
role:
  description: The role that takes part.
  type: str
  returned: always
"""
