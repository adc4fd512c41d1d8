# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check the inventory, look at the host, make its plan and apply the differences.

A run with changes needs at least two module calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import CertificateError
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import failures as failing
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import fleet, orphaned, outcome
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.adoption import later_for_nginx, without_front
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.announcements import announce
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import checked_builds
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import Look, Refused, failed
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.revisions import reported_revisions
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.rolling_out import RolloutAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.sending import SendingAction, built_in, problems_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.stages import STAGES, STEPS
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import host as plan
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import parts as sending
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.reports import addresses_of, urls
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import (
    leaders_of,
    release_commands,
    runs_commands_first,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.publishing import part as published

display = Display()

UNCHANGED = "Unchanged since the last verified run; skipped."


class ActionModule(RolloutAction):
    """Look at the host in one module call, and change it in another."""

    returns = frozenset({"parts", "apps", "failures", "offers"}) | SendingAction.returns
    leaves_out = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "stage": {"type": "str", "choices": STAGES, "default": "deploy"},
                "batch": {"type": "int", "default": -1},
                "seconds": {"type": "int", "default": 0},
                "report": {"type": "str", "choices": ["now", "later"], "default": "now"},
                "roles": {"type": "list", "elements": "str", "choices": list(plan.ROLES), "default": []},
            }
        )
        self.arguments = arguments
        self.later = arguments["report"] == "later"
        self.check_registration(arguments["stage"], arguments["stage"] in STEPS or arguments["batch"] >= 0)
        self.check_strategy()
        self.check_plan_tasks()
        self.roles = arguments["roles"] or self.planned_roles()
        if not self.roles:
            raise AnsibleActionFail(
                "apply: no role has a part in the plan, so there is nothing to apply. Run the task file 'plan' of each "
                "role first, in the same run, as site.yml does. Or list the roles in the option roles."
            )
        succeeded = False
        try:
            answer = self.answer_of(arguments["stage"])
            succeeded = not (answer.get("failed") or answer.get("unreachable"))
            return answer
        finally:
            # Also after an exception.
            if not succeeded:
                self.once.forget()

    def answer_of(self, stage: str) -> dict[str, Any]:
        """The result of a stage."""
        try:
            answer: dict[str, Any] = getattr(self, f"stage_{stage}")()
            if "deployment" in answer:
                answer["deployment"] = {**self.of_transaction(), **answer["deployment"]}
            return {**answer, "play": self.play}
        except Refused as refused:
            return refused.answer
        except (plan.PlanError, CertificateError) as error:
            return failed([str(error)])

    def planned_roles(self) -> list[str]:
        """The roles that have run their task file ``plan`` in this play."""
        found = []
        for role in plan.ROLES:
            result = self.task_vars.get(f"__{role}_plan")
            if self.is_of_play(result) and result.get("role") == role:
                found.append(role)
        return found

    # The stages

    def stage_look(self) -> dict[str, Any]:
        """Look at this host of several, so that no host changes before all have been looked at."""
        if len(self.all_hosts) < 2:
            return {"changed": False}
        self.note_serial()
        look = self.look_for_roles(is_fleet=True)
        model = self.model(look)
        answer: dict[str, Any] = {"changed": False, "parts": {}, "apps": [], "diff": []}
        due, _origins = self.due_parts(model, look, answer)
        is_unchanged = not due and not self.missing_packages(model, look)
        address = str(self.task_vars.get("ansible_host") or self.host)
        lines = urls(look.apps, address, answer["apps"], check=self._task.check_mode)
        return {
            "changed": False,
            "apps": answer["apps"],
            "unchanged": is_unchanged,
            # The only lines about this host in a run that changes no host.
            **(
                {"lines": lines}
                if is_unchanged and not look.unfetched and not any(look.facts["orphans"].values())
                else {}
            ),
            "unfetched": look.unfetched,
            "fleet": {
                **fleet.seen([app for app in look.apps if app["state"] == "present"], look.facts),
                "revisions": reported_revisions(look.facts, look.names),
            },
            "rollout": self.rollout_settings,
            "ansible_facts": look.answer["ansible_facts"],
        }

    def stage_idle(self) -> dict[str, Any]:
        """Print the addresses if no host has anything to do. Then the other stages need not run on each of them."""
        looks = {host: self.stages_of(host)["look"] for host in self.all_hosts}
        is_idle = self.batch == self.all_hosts and fleet.are_idle(looks.values()) and not self.differing_settings()
        for host, look in looks.items() if is_idle else ():
            for line in look["lines"]:
                # A host may report anything.
                display.display(f"{host}: {one_line(line)}")
        return {"changed": False, "idle": is_idle, "msg": UNCHANGED}

    def stage_deploy(self) -> dict[str, Any]:
        """Apply everything that does not depend on other hosts."""
        seen = self.stages_of(self.host)["look"]
        if not seen.get("fleet"):
            return self.deployed(self.look_for_roles(), {})
        if stopped := self.missing_hosts() or self.differing_settings():
            return {"failed": True, "msg": stopped}
        webapp = self.complete_inputs("webapp", self.given_inputs())
        if self.is_unchanged(self.host, self.looks()):
            names = seen["fleet"]["names"]
            answer = {"changed": False, "parts": {}, "apps": seen["apps"], "diff": [], "msg": UNCHANGED}
            deployment = {"apps": seen["apps"], "names": names, "failures": failing.together([])}
            return {**answer, "deployment": {**deployment, "offers": self.gifts(webapp)}}
        answer = self.deployed(self.look_again(seen["unfetched"], self.commits()), self.shared_inputs())
        if not answer.get("failed"):
            offers = fleet.together([answer["deployment"]["offers"], self.gifts(webapp)])
            answer["deployment"] |= {"offers": offers, "waited": answer["deployment"]["unresolved"]}
        return answer

    def stage_build(self) -> dict[str, Any]:
        """Build what the stage deploy has left, with the versions that one host has resolved for all."""
        seen: dict[str, Any] = self.stages_of(self.host)["look"]
        before: dict[str, Any] = self.stages_of(self.host)["deploy"]
        waiting = self.deployment_of(self.host).get("unresolved")
        if not waiting:
            return {"changed": False} | {key: before[key] for key in ("parts", "apps", "deployment") if key in before}
        for line in self.announcements():
            display.display(line)
        built = built_in({"apps": before.get("apps")})
        more = {"resolutions": self.resolutions(waiting), **({"built": built} if built else {})}
        # A build that has failed is not tried again.
        left = {**seen["unfetched"], **problems_of(before["deployment"]["failures"])}
        answer = self.deployed(self.look_again(left, self.commits()), more)
        # Other hosts may begin this stage later, and must come to the same result.
        offers = fleet.together([before["deployment"]["offers"], answer["deployment"]["offers"]])
        answer["deployment"] |= {"offers": offers, "waited": waiting}
        return answer

    def deployed(self, look: Look, more: dict[str, Any]) -> dict[str, Any]:
        """Apply the plan. ``more`` are additions to the part webapp, about other hosts."""
        model = self.model(look)
        answer: dict[str, Any] = {"changed": False, "parts": {}, "apps": [], "diff": []}
        due, origins = self.due_parts(model, look, answer)
        self.install_packages(model, look, answer)
        pending: dict[str, Any] = {}
        if due and not answer.get("failed"):
            alone = self.is_alone(look)
            more = {**self.of_deployment(model, origins), **more}
            with self.sent_archives(self.prepared(due, model, alone, more)) as sent:
                result = self.send(sent, origins, finish=alone or self._task.check_mode)
            announce(origins)
            pending = self.merge(answer, result, look, alone)
        elif not due and not answer["changed"]:
            answer["msg"] = UNCHANGED
        answer["deployment"] = self.deployment(look, answer, pending)
        failures = failing.failures_of(answer["parts"].get("webapp", {}), [app["name"] for app in look.apps])
        answer["deployment"] |= {"failures": failures, "names": look.names}
        stamps = {} if answer["changed"] else look.facts["stamps"]
        answer["ansible_facts"] = {**look.answer["ansible_facts"], "pyweb": {**look.facts, "stamps": stamps}}
        return self.reported(answer, failures, [] if pending else look.names)

    def is_alone(self, look: Look) -> bool:
        """Whether this host can switch in the call that builds: no other host builds, and no release command runs."""
        served = [app for app in look.apps if app["state"] == "present"]
        is_only = len(self.batch) <= 1 and not any(map(runs_commands_first, served))
        # An earlier batch may have failed to build an application of this host.
        return is_only and not any(name in self.unbuilt() for name in look.names)

    def stage_commands(self) -> dict[str, Any]:
        """Run the release commands, and list the stages after them, in which the hosts switch."""
        return {**self.run_commands(), **self.steps()}

    def run_commands(self) -> dict[str, Any]:
        """Run the release commands of each application, on the first host that has a new release of it."""
        leaders = self.once.result(
            "leaders",
            lambda: leaders_of([[host, self.deployment_of(host).get("apps", [])] for host in self.commanding]),
        )
        if self.host not in [leader for leader, _candidate in leaders.values()]:
            return {"changed": False, "apps": []}
        look = self.check_inventory({"sources": False})
        inputs = self.complete_inputs("webapp", look.inputs)
        left = {*self.unbuilt(), *self.failed_commands()}
        apps = release_commands(
            look.apps.where(lambda app: app["name"] not in left),
            leaders,
            self.host,
            self.facts(),
            inputs["webapp_process_manager"],
        )
        if not apps:
            return {"changed": False, "apps": []}
        answer = self.activate(apps, inputs["webapp_root"], stage="commands", report="later")
        answer["failures"] = failing.failures_of(answer, [app["name"] for app in apps])
        return self.reported(answer, answer["failures"])

    def stage_report(self) -> dict[str, Any]:
        """Fail if an application failed in an earlier stage of this run, on this host."""
        own, names = self.result_of_run(self.host)
        orphaned.warn(self.facts(), self.task_vars)
        # Each look at another host costs time, so one host compares them for all.
        if self.is_first and not self._task.check_mode:
            for line in outcome.table(self.outcome_of_run(), {*self.hosts}, self.addresses()):
                display.display(line)
        self.later = False
        return self.reported({"changed": False}, own, names)

    def outcome_of_run(self) -> dict[str, Mapping[str, dict[str, Any]]]:
        """The results of the stages on all hosts. A single host has no stage look, so its facts have the revisions."""
        results = self.results()
        if len(self.all_hosts) > 1:
            return results
        stages = results[self.host]
        names = (stages["deploy"].get("deployment") or {}).get("names") or []
        # The message of the failed task describes the others.
        whole = [name for name in names if name not in outcome.failures_in(stages)]
        seen = {"names": whole, "revisions": reported_revisions(self.facts(), whole)}
        return {self.host: {**stages, "look": {"fleet": seen}}}

    def addresses(self) -> dict[str, str]:
        """The first address of each application, for the table at the end."""
        host = str(self.task_vars.get("ansible_host") or self.host)
        apps = self.check_inventory({"sources": False}).apps
        return {app["name"]: addresses_of(app, host)[0] for app in apps if app["state"] == "present"}

    # Changes sent to the host

    def install_packages(self, model: plan.Model, look: Look, answer: dict[str, Any]) -> None:
        """Install the missing packages, but do not start their services before they are configured."""
        missing = self.missing_packages(model, look)
        if not missing:
            return
        result = self.install(missing, False, self.task_vars)
        if result.get("failed"):
            raise Refused(result)
        answer["changed"] = True
        answer["parts"]["packages"] = {"changed": True, "installed": missing}
        look.facts["packages"] = sorted({*look.facts["packages"], *missing})

    def prepared(
        self, due: list[tuple[plan.Part, str]], model: plan.Model, alone: bool, more: dict[str, Any]
    ) -> list[tuple[plan.Part, str]]:
        """Render the templates of the parts, and add the owner and the activations, which do not affect the keys.

        ``more`` is added to the part webapp in the same way.
        """
        found = []
        for part, key in due:
            ready = published.with_program(sending.rendered(part, self.render))
            if part.role == "webapp":
                switches = plan.switches(self.roles, model) if alone else []
                timing = {**self.of_this_run(model.facts), "activations": switches, **more}
                ready = plan.Part(part.role, {**ready.inputs, **timing}, ready.secrets)
            found.append((ready, key))
        return found

    # Results and facts for later stages

    def merge(self, answer: dict[str, Any], result: dict[str, Any], look: Look, alone: bool) -> dict[str, Any]:
        """Add the answer of the host to the result of this task; return the values that the stage switch needs."""
        packages = answer["parts"]
        changed = answer["changed"]
        answer |= result
        answer["parts"] = {**packages, **result.get("parts", {})}
        answer["changed"] = bool(changed or result.get("changed"))
        webapp = answer["parts"].get("webapp", {})
        answer["apps"] = webapp.get("apps", answer.get("apps", []))
        unresolved, resolved = webapp.pop("unresolved", {}), webapp.pop("resolved", {})
        if not answer.get("failed"):
            answer["apps"] = checked_builds(answer["apps"], [app["name"] for app in look.apps], self.host)
            waiting = fleet.checked_offers(unresolved, look.names, self.host)
            answer["unresolved"] = {name: offer["inputs"] for name, (offer, *_rest) in waiting.items()}
            offers = {**waiting, **fleet.checked_offers(resolved, look.names, self.host)}
            answer["offers"] = offers if len(self.all_hosts) > 1 else {}
        if alone or self._task.check_mode or answer.get("failed"):
            return {}
        pending: dict[str, Any] = later_for_nginx(answer["parts"].get("nginx", {}))
        return {**pending, "stamp": webapp.get("stamp", {})}

    def deployment(self, look: Look, answer: dict[str, Any], pending: dict[str, Any]) -> dict[str, Any]:
        """The values that the later stages need from this host."""
        # A host that reports applications of others would become the one that runs their release commands.
        declared = {app["name"] for app in look.apps if app["state"] == "present"}
        deployment: dict[str, Any] = {"apps": [app for app in answer["apps"] if app["name"] in declared], **pending}
        deployment |= {key: answer.pop(key, {}) for key in ("unresolved", "offers")}
        if pending:
            model = self.model(look)
            deployment["root"] = model.webapp["webapp_root"]
            switches = plan.decided_switches(self.roles, model, answer["apps"])
            deployment["switch"] = [without_front(one, pending) for one in switches]
            deployment["commands"] = [app["name"] for app in look.apps if app["commands"]["release"]]
            deployment["exclusive"] = {
                app["name"]: names
                for app in look.apps
                if (names := [one["name"] for one in app["processes"] if one["exclusive"]])
            }
        return deployment
