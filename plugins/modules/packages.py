#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install Debian packages
version_added: 0.1.0
description:
  - Installs packages with M(ansible.builtin.apt), without recommended ones, after updating lists that are older than
    an hour.
  - Needs no trip to the host where M(pyweb.stack.preflight) has found the packages installed. A check run also passes
    on a host that has no
    lists of packages yet.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Predicts changes without making them.
    support: full
  diff_mode:
    description: Shows files before and after.
    support: full
options:
  name:
    description:
      - Names of packages.
    type: list
    elements: str
    required: true
  start_services:
    description:
      - Whether a package may start its services while it is installed.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Install nginx, to be started when its configuration is there
  pyweb.stack.packages:
    name: [nginx]
    start_services: false
"""

RETURN = r"""
msg:
  description: What was found, where apt had nothing to do or could not be asked.
  type: str
  returned: sometimes
"""
