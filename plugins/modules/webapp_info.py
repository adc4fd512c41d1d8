#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""List the releases of web applications."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_info
short_description: List the releases of Python web applications
version_added: 0.1.0
description:
  - Reads the releases of applications and their log of deployments. Changes nothing.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  names:
    description:
      - Names of the applications.
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
- name: Look at the releases of the shop
  pyweb.stack.webapp_info:
    names: [shop]
  register: __info
"""

RETURN = r"""
apps:
  description: One dictionary for each application.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The application.
      type: str
    current:
      description: The live release, empty if there is none.
      type: str
    releases:
      description:
        - What is on the host, newest first. Each has C(id), C(state), C(revision), C(created), C(by) and C(reason).
      type: list
      elements: dict
    hold:
      description:
        - The release that was rolled back and is held, with C(release), C(revision), C(by), C(time) and C(to), the
          release that was live after the rollback. Null if none is held.
      type: dict
    lease:
      description:
        - The provisional switch under way, with C(run), C(by), C(release), C(before), C(until) (UTC), C(state),
          C(overdue) (the run did not decide in time) and C(guarded) (the process that then goes back still runs). Null
          if there is none.
      type: dict
    jobs:
      description:
        - The result of the last run of each job. Each has C(job), C(release), C(started), C(state) (V(running),
          V(succeeded), V(failed), V(timed out) or V(interrupted)), C(status) and C(seconds).
      type: list
      elements: dict
    history:
      description: The last hundred lines of the log of deployments, oldest first.
      type: list
      elements: dict
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.publishing.releases import look
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "root": {"type": "path", "default": "/srv/webapps"},
        },
        supports_check_mode=True,
    )
    apps = [look(Layout(name, module.params["root"])) for name in module.params["names"]]
    module.exit_json(changed=False, apps=apps)


if __name__ == "__main__":
    main()
