# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Drain web hosts: check first that others serve their applications, and afterwards that no request is open."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.people import deployer
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.serving import label_of, serving
from ansible_collections.pyweb.stack.plugins.plugin_utils.draining import choice

OF_MODULE = ("look", "drained", "up", "idle")
# Steps that the controller takes alone.
OWN = ("check", "judge_drained", "judge_up")
LONGEST = 86400


class ActionModule(HostAction):
    """Run the module of the same name, or compare answers of balancers and web hosts."""

    returns = frozenset({"drained", "answers_checks", "open"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "state": {"type": "str", "choices": [*OF_MODULE, *OWN], "required": True},
                "by": {"type": "str", "default": ""},
                "seconds": {"type": "int", "default": 60},
                "until": {"type": "float"},
                "force": {"type": "bool", "default": False},
                "hosts": {"type": "list", "elements": "str", "default": []},
                "balancers": {"type": "raw", "default": []},
                "looks": {"type": "raw", "default": []},
                "idle": {"type": "raw", "default": {}},
            }
        )
        host, state = str(variables.get("inventory_hostname")), arguments["state"]
        if not 0 <= arguments["seconds"] <= LONGEST:
            raise AnsibleActionFail(f"timeout is {arguments['seconds']}. Give seconds from 0 to {LONGEST}.")
        if state == "check":
            return self.check(arguments, variables)
        if state in OWN:
            return self.judge(host, arguments, variables)
        if arguments["until"] is not None:
            arguments["seconds"] = max(0, round(arguments["until"] - time.time()))
        options = {"state": state, "by": author(arguments["by"]), "seconds": arguments["seconds"]}
        result = self._execute_module("pyweb.stack.webapp_drain", options, task_vars=task_vars)
        return {**result, "label": label_of(host), "until": time.time() + arguments["seconds"]}

    def check(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Refuse to drain the last host of an application, before any host changes."""
        leaving = [str(host) for host in variables.get("ansible_play_batch") or [variables["inventory_hostname"]]]
        hosts = list(dict.fromkeys([*leaving, *arguments["hosts"]]))
        known = serving(hosts, variables, self._templar.template)
        labels = {host: label_of(host) for host in hosts}
        seen = choice.seen_by(arguments["balancers"])
        problem = choice.refusal(leaving, known, seen, choice.away_by(arguments["looks"]), labels)
        if problem and not arguments["force"]:
            return {"failed": True, "msg": problem}
        return {"changed": False, "msg": problem}

    def judge(self, host: str, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Whether the host has left, or has come back."""
        if self._task.check_mode:
            return {"changed": False, "msg": f"{host}: nothing has changed, because of --check."}
        seen = choice.seen_by(arguments["balancers"], host)
        idle = arguments["idle"] if isinstance(arguments["idle"], dict) else {}
        if arguments["state"] == "judge_up":
            problem = choice.not_up(host, seen, bool(serving([host], variables, self._templar.template)[host]))
            told = choice.back(host, seen)
            remedy = f"{host} is no longer drained. See: doctor.yml --limit {host}"
        else:
            problem = choice.not_drained(host, seen, idle)
            told = choice.gone(host, seen, idle)
            remedy = choice.REMEDY.format(host=host, timeout=arguments["seconds"])
        if problem and not arguments["force"]:
            return {"failed": True, "msg": f"{host}: {problem}. {remedy}"}
        return {
            "changed": False,
            "msg": f"{host}: {problem}. This run continues, because of force." if problem else told,
        }


def author(playbook: str) -> str:
    """The account that runs Ansible, and the playbook that drains hosts by itself."""
    return f"{deployer()} ({playbook})" if playbook else deployer()
