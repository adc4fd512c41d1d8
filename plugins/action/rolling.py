# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Record and report the course of the playbook rolling.yml. Runs on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import printable
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.extra_vars import as_written
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.serving import label_of, serving
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.stages import registered
from ansible_collections.pyweb.stack.plugins.plugin_utils.draining import choice, rolling

display = Display()

# The name under which the playbook registers the result of a host.
REGISTERED = "__rolling"


class ActionModule(HostAction):
    """Each step knows the results of all hosts of the play."""

    _requires_connection = False
    returns = frozenset({"state", "reason", "command", "roles", "tasks", "reboot"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        self.task_vars = task_vars or {}
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "step": {"type": "str", "choices": ["begin", "done", "failed", "report"], "required": True},
                "hosts": {"type": "list", "elements": "str", "default": []},
                **{name: {"type": "bool", "default": False} for name in ("drains", "force", "reboot", "stays_drained")},
                **{name: {"type": "str", "default": ""} for name in ("command", "tasks", "task")},
                "roles": {"type": "raw", "default": []},
                "result": {"type": "raw", "default": {}},
            }
        )
        step = arguments["step"]
        if step == "done":
            reason = rolling.STAYS if arguments["stays_drained"] else ""
            return {"changed": False, "state": rolling.DONE, "reason": reason, "play": self.play}
        if step == "failed":
            result = arguments["result"] if isinstance(arguments["result"], dict) else {}
            reason = rolling.reason_of(arguments["task"], result)
            return {"changed": False, "state": rolling.FAILED, "reason": reason, "play": self.play}
        return self.begin(arguments) if step == "begin" else self.report()

    @property
    def hosts(self) -> list[str]:
        return [str(host) for host in self.task_vars["ansible_play_hosts_all"]]

    @property
    def batch(self) -> list[str]:
        """The hosts of the batch, also those that have left it."""
        found = self.task_vars.get("ansible_play_batch") or [self.task_vars["inventory_hostname"]]
        return [str(host) for host in found]

    def results(self) -> dict[str, Mapping[str, str]]:
        """The results of the hosts, as far as they are those of this play."""
        found = {host: registered(self.task_vars["hostvars"], host).get(REGISTERED) for host in self.hosts}
        return {host: result for host, result in found.items() if self.is_of_play(result) and "state" in result}

    def begin(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Refuse wrong variables, and to continue after a host that has failed."""
        # Ansible would cut the command at its first space.
        arguments["command"] = as_written("command") or arguments["command"]
        if problems := rolling.option_problems(*(arguments[key] for key in ("command", "roles", "tasks", "reboot"))):
            raise AnsibleActionFail("\n".join(problems))
        results, hosts, batch = self.results(), self.hosts, self.batch
        first = not results
        if rolling.earlier_problem(hosts, batch, results):
            return {"failed": True, "msg": self.told(hosts, hosts[: hosts.index(batch[0])], results)}
        if first:
            lone = self.lone(arguments["hosts"], hosts, batch)
            text = printable(rolling.lone_text(lone, arguments["drains"]))
            if text and arguments["drains"] and not arguments["force"]:
                return {"failed": True, "msg": f"{text} Nothing has changed. To continue, add -e force=true."}
            if text:
                display.warning(text)
            if not arguments["drains"]:
                display.warning(
                    "The inventory has no group balancer, so no host is drained. Visitors can notice what is done."
                )
        rows = rolling.course(hosts, [], results)
        wanted = {key: arguments[key] for key in ("command", "tasks", "reboot")}
        told = "\n".join(rolling.table(rows))
        return {"changed": False, "msg": told, **wanted, "roles": rolling.names_of(arguments["roles"])}

    def lone(self, web_hosts: list[str], hosts: list[str], batch: list[str]) -> dict[str, list[str]]:
        """The applications that the hosts of one batch serve alone. Later batches have at most this size."""
        known = serving(dict.fromkeys([*hosts, *web_hosts]), self.task_vars, self._templar.template)
        labels = {host: label_of(host) for host in known}
        found: dict[str, list[str]] = {}
        size = max(1, len(batch))
        for start in range(0, len(hosts), size):
            found.update(choice.lone(hosts[start : start + size], known, [], {}, labels))
        return found

    def report(self) -> dict[str, Any]:
        """Fail if a host of the batch has failed. Print all results after the last batch."""
        hosts, results = self.hosts, self.results()
        text = self.told(hosts, self.batch, results)
        wrong = any(results.get(host, {}).get("state") != rolling.DONE for host in self.batch)
        return {"failed": True, "msg": text} if wrong else {"changed": False, "msg": text}

    def told(self, hosts: list[str], batch: list[str], results: Mapping[str, Mapping[str, str]]) -> str:
        rows = rolling.course(hosts, batch, results)
        stopped = rolling.stopped(rows)
        return "\n".join([*rolling.table(rows), *([stopped] if stopped else [])])
