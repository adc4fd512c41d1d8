#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Let releases of web applications take over."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_activate
short_description: Let releases of Python web applications take over
version_added: 0.1.0
description:
  - Starts each candidate beside the live release, on a socket of its own, and requests its health URL there. When it is
    healthy, an atomic rename switches the link that nginx follows. Then the health URL is requested through nginx, and
    the old release is drained and stopped.
  - A candidate that does not become healthy is stopped, marked as bad and kept for inspection. The previous
    release continues to serve.
  - With C(stop_first), the live release stops before the candidate starts, and starts again if the candidate fails.
  - Without a candidate, makes sure that the live release runs, and ends everything that an interrupted run has left
    beside it.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Reports a change and does nothing.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  apps:
    description:
      - What to activate, as the filter M(pyweb.stack.apply) and P(pyweb.stack.webapp_switches#filter) make it.
    type: list
    elements: dict
    required: true
  stage:
    description:
      - V(commands) only runs the release commands, on the host that is given them; V(switch) lets the releases take
        over.
    type: str
    choices: [commands, switch]
    default: switch
  root:
    description:
      - Folder of the applications on the host.
    type: path
    default: /srv/webapps
  owner:
    description:
      - The user who deploys, for the log of deployments and for the message to other users during the lock.
    type: str
    default: unknown
  end_lost_command:
    description:
      - Whether to end a command or a build that a run has left on the host which is gone, and which holds the lock of
        an application.
    type: bool
    default: false
  report:
    description:
      - V(now) fails if an application fails. V(later) returns the messages as RV(failures) instead, and a later task
        has to report them.
    type: str
    choices: [now, later]
    default: now
  stamp:
    description:
      - The releases that M(pyweb.stack.apply) has built, with the key of their plan. If all of them are live in the
        end, that is recorded, so that the next run need not look again.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Restart every application
  pyweb.stack.webapp_activate:
    apps: "{{ webapps | pyweb.stack.webapp_switches(ansible_facts['pyweb'], 'restart') }}"
"""

RETURN = r"""
failures:
  description: The C(names) of the applications that failed, and the C(problems).
  type: dict
  returned: if an application failed
apps:
  description: One dictionary for each application that was activated or removed.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The application.
      type: str
    release:
      description: The release that is live now.
      type: str
    replaced:
      description: The release that was live before, empty if there was none or it is the same.
      type: str
    skipped:
      description: The releases that a rollback has passed over, each with the reason.
      type: list
      elements: str
    held:
      description: The release that a rollback holds, empty if it holds none.
      type: str
    without_service:
      description: Seconds in which no release served, for an application whose old release stops first.
      type: float
    found:
      description:
        - What the accounts of a removed application had left outside its folders, and what was ended or removed.
      type: list
      elements: str
    account:
      description: V(kept) if the account of a removed application still owns data, V(removed) if it had one.
      type: str
"""

import os  # the documentation stands first in a module
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.plan.failures import Failures
from ansible_collections.pyweb.stack.plugins.module_utils.plan.live import verified
from ansible_collections.pyweb.stack.plugins.module_utils.plan.releases import report, with_versions
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import settings
from ansible_collections.pyweb.stack.plugins.module_utils.switching.activation import activate, warnings_of
from ansible_collections.pyweb.stack.plugins.module_utils.switching.commands import run_release_commands


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "required": True},
            "stage": {"type": "str", "choices": ["commands", "switch"], "default": "switch"},
            "root": {"type": "path", "default": "/srv/webapps"},
            "owner": {"type": "str", "default": "unknown"},
            "end_lost_command": {"type": "bool", "default": False},
            "report": {"type": "str", "choices": ["now", "later"], "default": "now"},
            "stamp": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    apps = module.params["apps"]
    if module.check_mode:
        module.exit_json(changed=bool(apps), apps=[])
    settings.end_lost = module.params["end_lost_command"]
    work = run_release_commands if module.params["stage"] == "commands" else activate
    results, problems = work(apps, module.params["root"], run_on_host, module.params["owner"])
    own = [one for result in results for one in result.pop("warnings", [])]
    for warning in [*settings.take_notes(), *own, *warnings_of(results)]:
        module.warn(warning)
    if problems:
        done = {result["name"] for result in results}
        failures = Failures([app["name"] for app in apps if app["name"] not in done], problems)
        answer: dict[str, Any] = {"apps": results, **failures.answer}
        if module.params["report"] == "now":
            module.fail_json(msg="\n\n".join(problems), changed=bool(results), **answer)
        module.exit_json(changed=True, **answer)
    stamp = module.params["stamp"]
    if stamp and work is activate:
        seen = with_versions(stamp["seen"], verified(stamp["releases"], module.params["root"], run_on_host))
        if seen is not None:
            stamps.record("webapp", stamp["key"], seen, report(stamp["releases"]))
    module.exit_json(changed=any(result.get("removed", True) for result in results), apps=results)


if __name__ == "__main__":
    main()
