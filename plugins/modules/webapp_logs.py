#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Show the output of the processes of a web application."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_logs
short_description: Show the output of the processes and jobs of a Python web application
version_added: 0.2.0
description:
  - Reads the last lines of the web process, of each background process and of each job, from the journal and from the
    log files of supervisor. Changes nothing.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Changes nothing in either mode.
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
  names:
    description:
      - Names of the applications of the host.
    type: list
    elements: str
    required: true
  lines:
    description:
      - Lines of each, 1 to 10000.
    type: raw
    default: 50
"""

EXAMPLES = r"""
- name: Read the logs of the shop
  pyweb.stack.webapp_logs:
    app: shop
    names: [shop]
    lines: 20
  register: __logs
"""

RETURN = r"""
logs:
  description: The lines of each service, the web process first, all of them with a heading.
  type: list
  elements: str
  returned: success
"""

import os  # the documentation stands first in a module

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.logs import from_supervisor, from_systemd
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import printable

MOST_LINES = 10000


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "default": ""},
            "names": {"type": "list", "elements": "str", "required": True},
            "lines": {"type": "raw", "default": 50},
        },
        supports_check_mode=True,
    )
    app, names, wanted = module.params["app"], module.params["names"], str(module.params["lines"])
    if app not in names:
        problem = f"'{app}' is not an application on this host" if app else "no application is given"
        module.fail_json(msg=f"{problem}. Set -e app=NAME. Available applications: {', '.join(names) or 'none'}.")
    if not (wanted.isdecimal() and 1 <= int(wanted) <= MOST_LINES):
        module.fail_json(
            msg=f"{wanted} is not a valid number of lines. Give a number from 1 to {MOST_LINES} with -e lines=NUMBER."
        )
    lines = int(wanted)
    found = {"supervisor": from_supervisor(app, lines)}
    if os.path.isdir("/run/systemd/system"):
        found["systemd"] = from_systemd(app, lines, run_on_host)
    told = []
    for manager, services in found.items():
        for service, written in services.items():
            # Without what keeps YAML from printing them as they are.
            tidied = [printable(line).expandtabs().rstrip() for line in written]
            told += [f"== {service} ({manager}) ==", *(tidied or ["(nothing)"]), ""]
    module.exit_json(changed=False, logs=told or [f"{app} has no process on this host."])


if __name__ == "__main__":
    main()
