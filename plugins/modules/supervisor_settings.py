#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = """
module: supervisor_settings
short_description: Write the settings of supervisord itself, and restart it if it may
version_added: 0.2.0
description:
  - Writes C(conf.d/daemon@settings.conf), which only root can read, beside Debian's configuration.
  - supervisord reads its own settings only when it starts. If no program runs, it is restarted. Otherwise a restart
    would stop every program, so it needs O(restart). Until then, each run warns.
  - If supervisord does not start with the new settings, the former ones are restored.
author: The pyweb.stack contributors (@pyweb)
options:
  content:
    description: The file. If it is empty, supervisord gets the settings of Debian's package.
    type: str
    default: ""
  minfds:
    description: The number of open files in O(content), to check whether the host allows it; 0 if it is not set.
    type: int
    default: 0
  restart:
    description: Whether supervisord may restart, and all of its programs with it.
    type: bool
    default: false
  config_file:
    description: The daemon's configuration, which includes C(conf.d) beside it.
    type: path
    default: /etc/supervisor/supervisord.conf
  supervisord:
    description: The daemon's program.
    type: path
    default: /usr/bin/supervisord
  service:
    description: The daemon's unit where systemd is PID 1.
    type: str
    default: supervisor.service
attributes:
  check_mode: {support: full, description: Predicts all changes and makes none.}
  diff_mode: {support: none, description: "The file may hold a password, so no difference is shown."}
"""

EXAMPLES = """
- name: Let supervisord open more files
  pyweb.stack.supervisor_settings:
    content: |
      ; Managed by pyweb.stack (role supervisor).
      [supervisord]
      minfds=65536
    minfds: 65536
"""

RETURN = """
files:
  description: The file, if it was written.
  type: list
  elements: str
  returned: success
restarted:
  description: Whether supervisord was restarted.
  type: bool
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.processes import supervisor_settings


def main() -> None:
    module = AnsibleModule(argument_spec=supervisor_settings.ARGUMENTS, supports_check_mode=True)
    try:
        result = supervisor_settings.apply(module.params, run_on_host, module.check_mode)
    except (HostError, OSError, KeyError) as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
