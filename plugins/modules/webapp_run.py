#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_run
short_description: Run a command of a Python web application
version_added: 0.1.0
description:
  - Runs one command through C(/bin/sh) in the environment of the live release, as the application's account.
  - A command given as C(-e command='…') is taken as it was written, spaces and quotes included.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Runs nothing.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  app:
    description:
      - Name of the application.
    type: str
    default: ""
  command:
    description:
      - The command.
    type: str
    default: ""
  names:
    description:
      - Names of the applications of the host.
    type: list
    elements: str
    required: true
  root:
    description:
      - Folder of the applications on the host.
    type: path
    default: /srv/webapps
"""

EXAMPLES = r"""
- name: Create the tables of the shop
  pyweb.stack.webapp_run:
    app: shop
    names: [shop]
    command: flask db upgrade
"""

RETURN = r"""
stdout_lines:
  description: What the command printed.
  type: list
  elements: str
  returned: when it ran
stderr_lines:
  description: What it printed as errors.
  type: list
  elements: str
  returned: when it ran
"""
