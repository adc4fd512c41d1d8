#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
from __future__ import annotations

DOCUMENTATION = r"""
module: balancer
short_description: Spread the sites of web hosts with nginx and HAProxy
version_added: 0.2.0
description:
  - Reads the applications and addresses of the web hosts from the inventory, and checks them together. Then it
    configures HAProxy and nginx of this host, each as a transaction.
  - HAProxy keeps what nginx still uses, until nginx has its new configuration. So no request is lost when an
    application or a web host comes or goes.
  - The inputs are those of the role P(pyweb.stack.balancer#role), and of the role P(pyweb.stack.nginx#role).
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    support: full
    description: Predicts changes.
  diff_mode:
    support: full
    description: Shows files before and after.
options:
  fetch:
    description: Whether to order the certificates of the mode V(acme) that are due.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Spread the sites
  pyweb.stack.balancer:
"""

RETURN = r"""
actions:
  description: The changes that were made, or would be, in order.
  type: list
  elements: str
  returned: success
due:
  description: Sites whose certificates are to be ordered.
  type: list
  elements: str
  returned: success
ca:
  description: The file that a browser imports to trust certificates of the mode V(selfsigned). Empty without any.
  type: str
  returned: success
"""
