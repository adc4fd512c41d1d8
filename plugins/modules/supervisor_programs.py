# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = """
module: supervisor_programs
short_description: Install program files for supervisor and bring the programs to their state
version_added: 0.1.0
description:
  - Handles all programs in one call, so its cost does not grow with their number.
  - Keeps the daemon running. Where systemd is PID 1, the daemon is the service supervisor. That service gets a drop-in,
    so that a killed daemon is back in half a second and starts no second copies of its programs. Elsewhere the module
    starts the daemon fully detached.
  - Ends the programs that a killed daemon has left running, before the next daemon starts second copies of them.
  - Checks copies of the changed files by supervisor's own parser before any is installed. If the daemon still can't
    read its configuration, the files are restored.
  - Talks to supervisord by XML-RPC over its unix socket. Only the programs of the list are touched, and of them only
    those that changed.
  - cron runs a program with a schedule. The daemon keeps cron running; if another cron runs already, the daemon's waits
    until that one has ended. Without systemd, C(pam_loginuid) becomes optional in C(/etc/pam.d/cron), because cron runs
    nothing where its audit identity can't be set.
  - Only writes the files of templates, whose name ends in C(@). Deployments start their instances; only the removal of
    a template ends them.
  - Programs of a group are known as C(GROUP:PROGRAM). supervisor can replace a group only as a whole, so all its
    programs restart when one of them changes, joins or leaves. Nothing outside of the group does.
  - A file that does not carry the mark C(Managed by pyweb.stack) is never overwritten or removed.
author: The pyweb.stack contributors (@pyweb)
options:
  programs:
    description: The programs and their groups.
    type: list
    elements: dict
    required: true
    suboptions:
      kind:
        description: V(group) is a group of programs. A group on the host that is not in the list stays as it is.
        type: str
        choices: [program, group]
        default: program
      members:
        description: The programs of a present group, by their names.
        type: list
        elements: str
        default: []
      name:
        description:
          - Name of the program or group. A trailing C(@) makes a program a template.
          - With O(programs[].state=absent), C(NAME.*) stands for every program with the mark whose name begins with
            C(NAME.) and that is not in the list, and C(NAME.*@) for every such template.
        type: str
        required: true
      state:
        description:
          - V(absent) stops it, with all its instances, and removes its file.
          - The programs of an absent group continue as programs of their own, unless they are absent too.
        type: str
        choices: [present, absent]
        default: present
      content:
        description:
          - The file of the program or group, or the script of a program with a schedule. Required unless it is absent.
        type: str
      schedule:
        description: When cron runs it, as the five fields of a crontab.
        type: str
      started:
        description: Whether it runs. Ignored for templates and groups.
        type: bool
        default: true
      stop_timeout:
        description: Seconds to wait for its end before it is killed.
        type: float
        default: 40
  config_file:
    description:
      - The daemon's configuration, which names the socket and the pid file.
      - Programs go into C(conf.d) beside it, which its C([include]) must name. Templates go into C(templates).
    type: path
    default: /etc/supervisor/supervisord.conf
  cron_directory:
    description: The folder of cron's own tables.
    type: path
    default: /etc/cron.d
  cron_pam_file:
    description: The PAM configuration of cron.
    type: path
    default: /etc/pam.d/cron
  supervisord:
    description: The daemon's program.
    type: path
    default: /usr/bin/supervisord
  start_program:
    description:
      - Where the daemon is no unit of systemd, a program that starts nginx and the daemon after a restart of the host
        is installed here. The start command of a container can run it.
    type: path
    default: /usr/local/sbin/pyweb-start
  service:
    description: The daemon's unit where systemd is PID 1. If empty, the module always starts the daemon itself.
    type: str
    default: supervisor.service
attributes:
  check_mode: {support: full, description: Predicts all changes and makes none.}
  diff_mode: {support: full, description: Shows the files before and after.}
"""

EXAMPLES = """
- name: Install a template and an ordinary program
  pyweb.stack.supervisor_programs:
    programs: "{{ query('pyweb.stack.templates', *(supervisor_programs | pyweb.stack.supervisor_definitions)) }}"

- name: Keep programs, two of which start and stop together
  pyweb.stack.supervisor_programs:
    programs: "{{ query('pyweb.stack.templates', *(supervisor_programs | pyweb.stack.supervisor_definitions(mine))) }}"
  vars:
    mine:
      - {name: mail, programs: [mailer, sorter]}

- name: Remove a program
  pyweb.stack.supervisor_programs:
    programs:
      - {name: mailer, state: absent}
"""

RETURN = """
files:
  description: Files that were written or removed.
  type: list
  elements: str
  returned: success
started:
  description: Programs that were started. One of a group is C(GROUP:PROGRAM), here and below.
  type: list
  elements: str
  returned: success
restarted:
  description: Programs that were restarted because their definition or their group changed.
  type: list
  elements: str
  returned: success
stopped:
  description: Programs that were stopped, and programs and groups that were removed from the daemon.
  type: list
  elements: str
  returned: success
orphans:
  description: Programs that a dead daemon had left running and that were ended.
  type: list
  elements: str
  returned: success
daemon_started:
  description: Whether the daemon had to be started.
  type: bool
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.processes import supervisor


def main() -> None:
    module = AnsibleModule(argument_spec=supervisor.ARGUMENTS, supports_check_mode=True)
    # The output of commands is parsed, so it must not be translated.
    try:
        result, _seen = supervisor.apply(module.params, run_on_host, module.check_mode)
    except (HostError, OSError, KeyError) as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
