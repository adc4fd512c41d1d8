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
      - The applications to activate, as M(pyweb.stack.apply) and P(pyweb.stack.webapp_switches#filter) make them.
    type: list
    elements: dict
    required: true
  stage:
    description:
      - V(commands) only runs the release commands, on the host that is given them; V(switch) lets the releases take
        over.
      - The other stages are for switches that an earlier call of the same run has made provisionally, and require
        O(lease). All of them can be repeated.
      - V(confirm) waits for the end of the probation, checks the release, and renews the lease. If the release has
        failed, it goes back to the old one at once, and reports the application in RV(failures).
      - V(renew) only renews the lease.
      - V(commit) makes the switch final. The old release is drained and stopped.
      - V(revert) goes back to the old release. The new one is stopped, and can be switched to again.
    type: str
    choices: [commands, switch, confirm, renew, commit, revert]
    default: switch
  lease:
    description:
      - The run that switches applications provisionally, with C(run), its ID, and C(seconds), the length of a lease.
      - In the stage V(switch), an application with C(provisional=true) gets the new release while the old one keeps
        running. Until the stage V(commit) or V(revert), only this run can change the application. When the lease
        expires before, the host goes back to the old release by itself.
      - The switch of an application with C(stop_first) is always final, and so is one that only starts the live release
        again.
      - With a run and without C(provisional), the switch is final, and the log of deployments has the ID of the run.
    type: dict
    default: {}
    version_added: 0.2.0
    suboptions:
      run:
        description:
          - The ID of the run.
        type: str
        default: ""
      seconds:
        description:
          - The seconds of a lease, from the switch and from each renewal. At least 10.
        type: int
        default: 300
  reason:
    description:
      - Why the stage V(revert) goes back, for the log of deployments.
    type: str
    default: the run failed on another host
    version_added: 0.2.0
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
  ended_runs:
    description:
      - IDs of runs whose process is gone, so that they can't commit their leases. Such a lease ends at once.
    type: list
    elements: str
    default: []
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
    seconds:
      description: Seconds from the start of the new release until its switch was completed. Missing for a removal.
      type: float
    skipped:
      description: The releases that a rollback has passed over, each with the reason.
      type: list
      elements: str
    held:
      description: The release that a rollback holds, empty if it holds none.
      type: str
    provisional:
      description: Whether the switch still has to be committed. Missing for a final switch.
      type: bool
    expires:
      description: When the lease of a provisional switch ends, in UTC.
      type: str
    committed:
      description: V(true) if this call has committed the switch.
      type: bool
    reverted:
      description: V(true) if the application is back on the release that was live before this run.
      type: bool
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

import functools  # the documentation stands first in a module
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.plan.failures import Failures
from ansible_collections.pyweb.stack.plugins.module_utils.plan.live import verified
from ansible_collections.pyweb.stack.plugins.module_utils.plan.releases import report, with_versions
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import settings
from ansible_collections.pyweb.stack.plugins.module_utils.switching.activation import activate, settle, warnings_of
from ansible_collections.pyweb.stack.plugins.module_utils.switching.commands import run_release_commands
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.stages import end

# The stages that end provisional switches.
STAGES = ("confirm", "renew", "commit", "revert")
# The least seconds of a lease. A shorter one could expire during the probation.
LEAST_SECONDS = 10


def problem_of(given: dict[str, Any]) -> str:
    """The problem of the options about leases; empty if there is none."""
    lease, stage = given["lease"], given["stage"]
    provisional = [app["name"] for app in given["apps"] if app.get("provisional")] if stage == "switch" else []
    if lease.get("run"):
        least = lease["seconds"] >= LEAST_SECONDS
        return "" if least else f"lease.seconds is {lease['seconds']}. Set at least {LEAST_SECONDS}."
    if stage in STAGES:
        return f"stage: {stage} ends provisional switches of one run. Set lease.run to the ID of that run."
    if provisional:
        return f"provisional: true needs the ID of the run as lease.run ({', '.join(provisional)})."
    return ""


def is_change(result: dict[str, Any]) -> bool:
    return bool(result.get("removed", True)) and bool(result.get("reverted", True))


def work(stage: str, given: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Take the stage for all applications; return results and problems."""
    root, owner, lease = given["root"], given["owner"], given["lease"]
    if stage in STAGES:
        return end(stage, given["apps"], root, run_on_host, owner, lease["run"], lease["seconds"], given["reason"])
    apps = [{**app, "lease": lease} for app in given["apps"]]
    return (run_release_commands if stage == "commands" else activate)(apps, root, run_on_host, owner)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "required": True},
            "stage": {"type": "str", "choices": ["commands", "switch", *STAGES], "default": "switch"},
            "lease": {
                "type": "dict",
                "default": {},
                "options": {"run": {"type": "str", "default": ""}, "seconds": {"type": "int", "default": 300}},
            },
            "reason": {"type": "str", "default": "the run failed on another host"},
            "root": {"type": "path", "default": "/srv/webapps"},
            "owner": {"type": "str", "default": "unknown"},
            "end_lost_command": {"type": "bool", "default": False},
            "ended_runs": {"type": "list", "elements": "str", "default": []},
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
    settings.ended_runs = module.params["ended_runs"]
    settings.settle = functools.partial(settle, run=run_on_host)
    if problem := problem_of(module.params):
        module.fail_json(msg=problem)
    settings.run = module.params["lease"].get("run", "")
    stage = module.params["stage"]
    results, problems = work(stage, module.params)
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
    if stamp and stage in ("switch", "commit"):
        seen = with_versions(stamp["seen"], verified(stamp["releases"], module.params["root"], run_on_host))
        if seen is not None:
            stamps.record("webapp", stamp["key"], seen, report(stamp["releases"]))
    module.exit_json(changed=any(is_change(result) for result in results), apps=results)


if __name__ == "__main__":
    main()
