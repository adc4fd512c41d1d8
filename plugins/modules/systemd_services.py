# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = """
module: systemd_services
short_description: Install unit files and bring their services to their state
version_added: 0.1.0
description:
  - Handles all services in one call, so its cost does not grow with their number.
  - Checks a copy of each changed unit file by C(systemd-analyze verify) before any is installed. A directive that
    systemd would ignore becomes a warning. One that it would refuse is an error, and nothing is changed.
  - Reloads systemd's unit files when one has changed, and also when an interrupted run has left that to do.
  - Starts, stops, enables and disables ordinary services, and restarts a service whose file is newer than its process.
    Instances of templates are never restarted; only the removal of a template ends its instances.
  - A unit file that does not carry the mark C(Managed by pyweb.stack) is never overwritten or removed.
author: The pyweb.stack contributors (@pyweb)
options:
  services:
    description: The services.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the unit without C(.service), or with C(.timer). A trailing C(@) makes it a template.
          - With O(services[].state=absent), C(NAME.*) stands for every unit with the mark whose name begins with
            C(NAME.) and that is not in the list, and C(NAME.*@) for every such template.
        type: str
        required: true
      state:
        description: V(absent) stops and disables it, with its timer and all its instances, and removes its unit file.
        type: str
        choices: [present, absent]
        default: present
      content:
        description: The unit file. Required unless the service is absent.
        type: str
      started:
        description: Whether it runs. Ignored for templates.
        type: bool
        default: true
      enabled:
        description: Whether it starts with the host. Ignored for templates.
        type: bool
        default: true
      triggered:
        description: Whether a timer starts it. The module then neither starts, stops nor enables it.
        type: bool
        default: false
  unit_directory:
    description: The folder of the unit files.
    type: path
    default: /etc/systemd/system
attributes:
  check_mode: {support: full, description: Predicts all changes and makes none.}
  diff_mode: {support: full, description: Shows the unit files before and after.}
"""

EXAMPLES = """
- name: Install a template and an ordinary service
  pyweb.stack.systemd_services:
    services: "{{ query('pyweb.stack.templates', *(systemd_services | pyweb.stack.systemd_units)) }}"

- name: Remove a service
  pyweb.stack.systemd_services:
    services:
      - {name: mailer, state: absent}
"""

RETURN = """
files:
  description: Unit files that were written or removed.
  type: list
  elements: str
  returned: success
started:
  description: Units that were started.
  type: list
  elements: str
  returned: success
restarted:
  description: Units that were restarted because their definition changed.
  type: list
  elements: str
  returned: success
stopped:
  description: Units that were stopped.
  type: list
  elements: str
  returned: success
enabled:
  description: Units that were enabled.
  type: list
  elements: str
  returned: success
disabled:
  description: Units that were disabled.
  type: list
  elements: str
  returned: success
reloaded:
  description: Whether systemd's unit files were reloaded.
  type: bool
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.processes import systemd


def main() -> None:
    module = AnsibleModule(argument_spec=systemd.ARGUMENTS, supports_check_mode=True)
    # The output of commands is parsed, so it must not be translated.
    try:
        result, _seen = systemd.apply(module.params, run_on_host, module.check_mode)
    except (HostError, OSError, KeyError) as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
