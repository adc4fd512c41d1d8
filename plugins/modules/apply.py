#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: apply
short_description: Look at a host and change what differs from its plan
version_added: 0.2.0
description:
  - Checks the inventory of a host, looks at the host in one trip, makes the plan of the roles that take part, and
    changes what differs in a second trip. Where nothing differs there is no second trip.
  - A role takes part when it has run its task file C(plan) before, or is named in O(roles).
  - New releases are built beside the live ones. On a single host without release commands they are also switched to.
    Otherwise the stages after V(commands) do that, after all hosts have built. Register the result of the stage
    V(deploy) as C(__deployment), where the later stages find it.
  - A first run may need two more trips, for Debian packages and for the upload of large sources.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Predicts changes without making them.
    support: full
  diff_mode:
    description: Shows files before and after.
    support: full
options:
  stage:
    description:
      - V(look) looks at a host of several. The later stages begin when all hosts have been looked at. On a single host,
        V(deploy) does it.
      - V(idle) runs once for all hosts, after V(look). Its result C(idle) is true if no host has anything to do. Then
        it prints the addresses of the applications, and the later stages need not run.
      - V(deploy) does everything that one host can do without waiting for the others.
      - V(build) builds the applications whose packages one host has resolved for all. Without V(look), each host
        resolves for itself, and this stage does nothing.
      - V(commands) runs the release commands of each application, on the first host that has a new release of it.
        This is the place for anything that happens once per deployment. Its result C(steps) lists the stages that have
        to follow, the same for all hosts. The task file C(rollout) of the role webapp runs them.
      - V(switch) with a O(batch) switches the hosts of that batch provisionally. Without one, it switches to the new
        releases for good on all hosts at the same time, then obtains certificates that are due.
      - V(wait) waits on one host, and renews leases on the others. V(watch) counts the requests to each host.
      - V(confirm) waits until the new releases have passed their checks. V(finish) keeps them if all hosts have
        confirmed them, and goes back on all hosts if one has not. Then it obtains certificates that are due.
      - V(report) fails if an application failed in an earlier stage, and lists all problems.
    type: str
    choices: [look, idle, deploy, build, commands, switch, wait, watch, confirm, finish, report]
    default: deploy
  batch:
    description:
      - The batch of a rollout, from 0, as the stage V(commands) lists it. V(-1) is a switch without a rollout.
    type: int
    default: -1
  seconds:
    description:
      - How long the stage V(wait) waits, as the stage V(commands) lists it.
    type: int
    default: 0
  report:
    description:
      - An application that fails holds up no other application. V(now) fails at the end of the stage. V(later) leaves
        that to the stage V(report), so that the later stages deploy the other applications. Then register the results
        of the stages as C(__look), C(__deployment), C(__commands), C(__switch), C(__watch), C(__confirm) and
        C(__finish). V(build) replaces the result of V(deploy), so register it as C(__deployment), too.
    type: str
    choices: [now, later]
    default: now
  roles:
    description:
      - The roles that take part, in place of those that have run their task file C(plan).
    type: list
    elements: str
    default: []
  parts:
    description:
      - The parts of the plan, each with its C(role), C(inputs) and C(key). Filled by the action plugin.
    type: list
    elements: dict
    default: []
  finish:
    description:
      - Whether certificates that are due are obtained in the end. Filled by the action plugin.
    type: bool
    default: true
  give:
    description:
      - The recorded resolutions to return for other hosts, by application, instead of applying parts. Filled by the
        action plugin.
    type: dict
    default: {}
  root:
    description:
      - The folder of the applications, for O(give). Filled by the action plugin.
    type: path
    default: /srv/webapps
  secrets:
    description:
      - Inputs of the parts that no log may show, as JSON. Filled by the action plugin.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Plan the releases
  ansible.builtin.import_role:
    name: pyweb.stack.webapp
    tasks_from: plan

- name: Look at all hosts
  pyweb.stack.apply:
    stage: look
    report: later
  register: __look

- name: Apply the plan
  pyweb.stack.apply:
    report: later
  register: __deployment

- name: Build what waits for packages that one host resolves for all
  pyweb.stack.apply:
    stage: build
    report: later
  register: __deployment

- name: Run the release commands, once for all hosts
  pyweb.stack.apply:
    stage: commands
    report: later
  register: __commands
  any_errors_fatal: true

- name: Switch to the new releases, batch by batch
  ansible.builtin.import_role:
    name: pyweb.stack.webapp
    tasks_from: rollout

- name: Report the results, and fail if an application has failed
  pyweb.stack.apply:
    stage: report
"""

RETURN = r"""
deployment:
  description: What the later stages have to know, such as C(apps), the result of each application.
  type: dict
  returned: with O(stage=deploy) and O(stage=build)
parts:
  description: The result of each part that was applied, by role. A part that was verified before is left out.
  type: dict
  returned: always
"""

import json  # the documentation stands first in a module
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.plan.apply import Application, PartFailed
from ansible_collections.pyweb.stack.plugins.module_utils.release.resolutions import given_away

# Secrets that belong to items of a part.
ITEMS = ("apps", "certificate_keys")

STAGES = ["look", "idle", "deploy", "build", "commands", "switch", "wait", "watch", "confirm", "finish", "report"]


def with_secrets(parts: list[dict[str, Any]], secrets: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts with their secret inputs. They are copies, because Ansible shows the arguments of a module."""
    found = []
    for part in parts:
        secret = secrets.get(part["role"], {})
        inputs = {**part["inputs"], **{name: value for name, value in secret.items() if name not in ITEMS}}
        if part["role"] == "webapp":
            apps = secret.get("apps", {})
            inputs["apps"] = [with_app_secrets(app, apps.get(app["name"], {})) for app in inputs["apps"]]
        if "certificate_keys" in secret:
            keys = secret["certificate_keys"]
            inputs["certificates"] = [{**item, "key": keys.get(item["name"], "")} for item in inputs["certificates"]]
        found.append({**part, "inputs": inputs})
    return found


def with_app_secrets(app: dict[str, Any], secret: dict[str, Any]) -> dict[str, Any]:
    app = {**app, "env": secret.get("env", {}), "files": secret.get("files", [])}
    if app["state"] == "present" and "problem" not in app:
        app["python"] = {**app["python"], **secret.get("python", {})}
        app["source"] = {**app["source"], "data": secret.get("data")}
        for key in ("package", "registry"):
            if key in secret:
                app["source"][key] = secret[key]
        app["server_packages"] = secret.get("server_packages", app.get("server_packages", []))
    return app


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            # The action plugin reads these five.
            "stage": {"type": "str", "choices": STAGES, "default": "deploy"},
            "report": {"type": "str", "choices": ["now", "later"], "default": "now"},
            "roles": {"type": "list", "elements": "str", "default": []},
            "batch": {"type": "int", "default": -1},
            "seconds": {"type": "int", "default": 0},
            "parts": {"type": "list", "elements": "dict", "default": []},
            "finish": {"type": "bool", "default": True},
            "give": {"type": "dict", "default": {}},
            "root": {"type": "path", "default": "/srv/webapps"},
            "secrets": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    if module.params["give"]:
        module.exit_json(changed=False, offers=given_away(module.params["give"], module.params["root"]))
    # The words of commands are parsed, so they must not be translated.
    parts = with_secrets(module.params["parts"], json.loads(module.params["secrets"] or "{}"))
    try:
        answer = Application(run_on_host, module.check_mode, module.params["finish"]).apply(parts)
    except PartFailed as failure:
        answer = {**failure.answer, "failed": True}
    for warning in answer.pop("warnings"):
        module.warn(warning)
    if answer.pop("failed", False):
        module.fail_json(**answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
