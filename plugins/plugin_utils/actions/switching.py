# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Switch to the new releases of a host, and then obtain the certificates that are due."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.loader import lookup_loader
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import barrier, own_runs
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import failures as failing
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.people import deployer
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.revisions import RevisionsAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.sending import SendingAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import host as plan
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import parts as sending
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import ROLES


class SwitchingAction(RevisionsAction, SendingAction):
    """An action that switches."""

    def left_out(self, wanted: list[dict[str, Any]]) -> dict[str, list[str]]:
        """The applications that do not switch, because their build or their commands failed on another host."""
        failed_on = self.failed_commands() if wanted else {}
        # A live release that only has to be started again has no candidate.
        new = [one["name"] for one in wanted if one["candidate"]]
        kept = barrier.kept_back(new, self.unbuilt() if new else {}, self.host)
        return failing.together([failing.led_elsewhere(wanted, failed_on, self.host), kept])

    def switch_for_good(self, deployment: dict[str, Any]) -> dict[str, Any]:
        """Switch at once, and to all new releases: on a single host, or in a playbook without the rollout."""
        wanted = deployment.get("switch") or []
        failures = self.left_out(wanted)
        kept_back = failures["names"]
        switches = [one for one in wanted if one["name"] not in {*kept_back, *self.failed_commands()}]
        answer: dict[str, Any] = {"changed": False, "apps": []}
        if switches:
            stamp = deployment["stamp"] if switches == wanted else {}
            apps = self.with_revisions(switches)
            answer = self.activate(apps, deployment["root"], stamp=stamp, report="later", lease={"run": self.play})
            own = failing.failures_of(answer, [one["name"] for one in switches])
            failures = failing.together([failures, own])
        answer |= {"failures": failures, "kept_back": kept_back, "token": deployment.get("token")}
        return self.certified(answer, deployment, failures)

    def certified(
        self, answer: dict[str, Any], deployment: Mapping[str, Any], failures: dict[str, list[str]]
    ) -> dict[str, Any]:
        """The answer of a stage, after the certificates that are due were obtained."""
        names = deployment.get("names") or []
        if not deployment.get("certificates") or answer.get("failed") or answer.get("unreachable"):
            return self.reported(answer, failures, names)
        look = self.check_inventory({"root": deployment["root"]})
        look.answer = {"ansible_facts": {"pyweb": self.facts()}}
        part = plan.nginx_part(self.roles, self.model(look))
        if part is None:
            raise AnsibleActionFail(
                "Certificates are due, but the role nginx is not in this host's plan. Add its task file 'plan' to "
                "this play and run again."
            )
        ready = sending.rendered(part, self.render)
        held, fetch = failing.held(deployment["apps"]), not deployment.get("waiting")
        fetching = plan.Part("nginx", {**ready.inputs, "fetch": fetch, "held": held}, ready.secrets)
        result = self.call([(fetching, "" if held else sending.key_of(part))])
        changed = bool(answer["changed"] or result.get("changed"))
        return self.reported({**result, **answer, "changed": changed}, failures, names)

    def render(self, role: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The templates of a role, rendered with their own variables only."""
        lookup = lookup_loader.get("pyweb.stack.templates", loader=self._loader, templar=self._templar)
        rendered: list[dict[str, Any]] = lookup.run(items, {"ansible_search_path": [str(ROLES / role)]})
        return rendered

    def activate(self, apps: list[dict[str, Any]], root: str, **more: Any) -> dict[str, Any]:
        arguments = {
            "apps": apps,
            "root": root,
            "owner": deployer(),
            "ended_runs": own_runs.ended(),
            **self.flags("end_lost_command"),
            **more,
        }
        return self._execute_module("pyweb.stack.webapp_activate", module_args=arguments, task_vars=self.task_vars)

    def reported(self, answer: dict[str, Any], failures: dict[str, list[str]], live: Any = ()) -> dict[str, Any]:
        """The answer of a stage, failed if an application failed and no later stage reports that.

        ``live`` are the applications that are deployed, unless they failed.
        """
        if self.later or not failures["problems"] or answer.get("failed"):
            return answer
        return {**answer, "failed": True, "msg": failing.message(failures, () if self._task.check_mode else live)}
