#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_status_page
short_description: Write the status of web applications as one HTML page
version_added: 0.2.0
description:
  - Runs on the controller. Makes a page without outside resources from the results that M(pyweb.stack.webapp_inspect),
    M(pyweb.stack.webapp_traffic) and M(pyweb.stack.webapp_info) have registered on each host as C(__status),
    C(__traffic) and C(__releases), as the playbook C(status.yml) does.
  - The page has the mode 0600. An existing file is replaced in one step and keeps its mode.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Checks the options and the results, and writes no page.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  format:
    description:
      - Format of the output of C(status.yml). Only V(html) writes a page.
    type: str
    default: html
  to:
    description:
      - File of the page on the controller. Its folder must exist. A relative path starts at the folder in which
        C(ansible-playbook) was started.
    type: str
    default: ""
  hours:
    description:
      - Hours that the charts show, from 1 to 24.
    type: str
    default: "6"
  hosts:
    description:
      - Names of the hosts on the page. Without any, only the other options are checked.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Write the page
  pyweb.stack.webapp_status_page:
    to: status.html
    hosts: "{{ ansible_play_hosts_all }}"
  run_once: true
"""

RETURN = r"""
path:
  description: Absolute path of the page.
  type: str
  returned: if a page was written
"""
