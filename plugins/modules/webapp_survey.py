#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Read the manual deployments on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_survey
short_description: Write the inventory for web applications that were deployed by hand
version_added: 0.2.0
description:
  - Reads server blocks of nginx, units of systemd, programs of supervisor, and gunicorn or uWSGI processes with their
    settings files. Changes nothing on the host, and runs nothing that it finds.
  - On the controller, the action plugin writes the list C(webapps) for it to a file. It reads settings files as
    literals. Whatever it can't translate becomes a comment.
  - Values that look secret go to a second file, which only its owner can read.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Reports the files and writes nothing.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  root:
    description:
      - Folder of the applications of this collection, whose processes are left out.
    type: path
    default: /srv/webapps
  folder:
    description:
      - Folder on the controller for the files, relative to the current folder. Read by the action plugin alone.
    type: str
    default: adopted
"""

EXAMPLES = r"""
- name: Write the inventory of applications that were deployed by hand
  pyweb.stack.webapp_survey:
    folder: adopted
  register: __adoption
"""

RETURN = r"""
report:
  description: Sentences about what was found, and about the files that were written.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.adoption.survey import survey


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/srv/webapps"},
            "folder": {"type": "str", "default": "adopted"},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, found=survey(module.params["root"]))


if __name__ == "__main__":
    main()
