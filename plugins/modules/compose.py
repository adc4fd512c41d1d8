#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: compose
short_description: Write a folder that runs a web application in containers
version_added: 0.2.0
description:
  - Writes a folder for C(docker compose) and C(podman-compose), from one application of C(webapps). Everything happens
    on the controller.
  - An image holds the dependencies. The code, the settings of the app server and the static files are mounted.
  - nginx has the configuration that the role P(pyweb.stack.nginx#role) renders, with other addresses.
  - A folder that has other files is refused. A further run changes the files of the folder that differ, and keeps files
    that it has not written.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Reports the files and writes nothing.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  app:
    description:
      - Name of the application.
    type: str
    required: true
  to:
    description:
      - Folder to write, relative to the current folder.
    type: str
    required: true
  base:
    description:
      - Base image of the application, with Python. By default, the image C(python) with the version that the
        application needs.
    type: str
    default: ""
  front:
    description:
      - Image of nginx, version 1.20 or newer.
    type: str
    default: nginx:stable
  port:
    description:
      - Port of this machine that leads to the site, on its loopback address. With V(0), the port of the site, plus 8000
        if it is below 1024.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Write the folder of the application
  pyweb.stack.compose:
    app: shop
    to: shop-on-laptop
  register: __compose
"""

RETURN = r"""
files:
  description: The paths in the folder that differed.
  type: list
  elements: str
  returned: success
report:
  description: Sentences about the changes, the next commands, and the differences from a host.
  type: list
  elements: str
  returned: success
"""
