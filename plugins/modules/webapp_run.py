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
  - Under systemd, the command runs in the sandbox and with the limits of the web process. Processes that it leaves are
    ended.
  - A command whose exit status is not 0 fails the task. The message has its last lines, the errors if there are any.
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
printed:
  description:
    - What the command printed, then what it printed as errors, for people. What a terminal would act on is written as
      its number, such as C(\x1b). A line says if an output was too long, so that its first part is left out.
  type: list
  elements: str
  returned: when it ran
ending:
  description: A sentence with the command and its exit status.
  type: str
  returned: when it ran
rc:
  description: Its exit status. A command that a signal has ended has 128 plus the number of the signal.
  type: int
  returned: when it ran
"""

import os  # the documentation stands first in a module
import secrets
import signal
import subprocess
import sys
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.outputs import as_printed, cut_note, ending, last_words
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import run_by_hand
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.release.sandbox import unit_of

# Bytes of each stream that are returned.
MOST_RETURNED = 16 * 1024**2


def argv_of(layout: Layout, command: str) -> list[str]:
    """The command in the live release. The lock prevents the removal of the release while the command uses it."""
    current = os.path.realpath(layout.current)
    launcher = os.path.join(current, "bin", "run")
    return ["/usr/bin/flock", "--shared", os.path.join(current, "env"), launcher, "/bin/sh", "-c", command]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "default": ""},
            "command": {"type": "str", "default": ""},
            # The action plugin reads the names.
            "names": {"type": "list", "elements": "str", "required": True},
            "root": {"type": "path", "default": "/srv/webapps"},
        },
        supports_check_mode=True,
    )
    name, command = module.params["app"], module.params["command"]
    layout = Layout(name, module.params["root"])
    if module.check_mode:
        module.exit_json(changed=True, skipped=True, msg="Command would have run if not in check mode")
    if layout.current_release() is None:
        module.fail_json(msg=f"webapps '{name}': no release is live, so no command can run. Deploy the application.")
    for number in (signal.SIGTERM, signal.SIGHUP):
        # The command ends with the module.
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        unit = unit_of(layout, f"run-{secrets.token_hex(4)}")
        answer = run_by_hand(layout, argv_of(layout, command), unit, MOST_RETURNED)
    except (HostError, OSError) as error:
        module.fail_json(msg=f"webapps '{name}': the command could not be started: {error}")
    module_result = result_of(command, answer)
    if answer.returncode != 0:
        words = last_words(answer.stdout, answer.stderr)
        module.fail_json(msg="\n".join([*([words] if words else []), module_result["ending"]]), **module_result)
    module.exit_json(**module_result)


def result_of(command: str, answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The result of a command that has run. ``printed`` is what people read: all output, then all errors."""
    output, errors = answer.stdout.rstrip("\r\n"), answer.stderr.rstrip("\r\n")
    printed = [
        *cut_note("output", len(answer.stdout.encode()), MOST_RETURNED),
        *as_printed(output),
        *cut_note("output of errors", len(answer.stderr.encode()), MOST_RETURNED),
        *as_printed(errors),
    ]
    return {
        "rc": answer.returncode,
        "cmd": command,
        "stdout": output,
        "stderr": errors,
        "stdout_lines": lines_of(output) if output else [],
        "stderr_lines": lines_of(errors) if errors else [],
        "printed": printed,
        "ending": ending(command, answer.returncode),
        "changed": True,
    }


if __name__ == "__main__":
    main()
