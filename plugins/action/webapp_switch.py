# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Roll applications back, or restart them, on all hosts of a play as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import failures as failing
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import own_runs, rollout, transactions
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import Refused, failed
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.modelling import ModelAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.people import deployer
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.stages import StagesAction, registered, registers
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.transactions import STAGES
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import common_revision
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import unknown_app
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import switches

display = Display()

OPTIONS = {
    "stage": {"type": "str", "choices": list(STAGES), "required": True},
    "switch": {"type": "str", "choices": ["rollback", "restart"], "default": "rollback"},
    "app": {"type": "str", "default": ""},
    "release": {"type": "str", "default": ""},
    "revision": {"type": "str", "default": ""},
    "batch": {"type": "int", "default": 0},
}
# The options of the stage choose, which the later ones find in its result.
CHOICES = ("switch", "app", "release", "revision")


class ActionModule(ModelAction, StagesAction):
    """Take one stage. The later ones find the options and the findings of the stage choose."""

    returns = frozenset({"apps", "failures", "lines", "steps"})
    later = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=OPTIONS)
        self.stage = str(arguments["stage"])
        self.check_play(self.stage)
        self.check_strategy()
        try:
            if self.stage == "choose":
                answer = self.choose({key: str(arguments[key]).strip() for key in CHOICES})
            elif self.stage == "switch":
                answer = self.switch(int(arguments["batch"]))
            else:
                answer = getattr(self, self.stage)()
        except Refused as refused:
            return refused.answer
        return {**answer, "play": self.play}

    def check_play(self, stage: str) -> None:
        """Refuse a play whose later stages would not find the results of this one, or in which hosts do not wait."""
        if not registers(self._task, STAGES[stage]):
            raise AnsibleActionFail(
                f"webapp_switch: the stage {stage} must register its result as {STAGES[stage]}. Otherwise, the later "
                "stages do not find it."
            )
        if len(self.hosts) > len(self.batch):
            raise AnsibleActionFail(
                "webapp_switch: this play has 'serial', so its hosts can't switch as one. Remove 'serial', or use "
                "--limit for a part of the hosts. Nothing was switched on any host."
            )

    # The stages

    def choose(self, given: dict[str, str]) -> dict[str, Any]:
        """Look at this host, and read which releases it has. Nothing changes."""
        inputs = self.given_inputs()
        webapp = self.complete_inputs("webapp", inputs)
        look = self.look({"process_manager": webapp["webapp_process_manager"], "sources": False}, inputs)
        app, kind = given["app"], given["switch"]
        if given["release"] and given["revision"]:
            raise Refused(failed(["release and revision are given together. Give one of them."]))
        names = [name for name in look.names if app in ("", name)]
        if kind == "rollback" and not app:
            raise Refused(failed([unknown_app("", look.names)]))
        if not names and app and self.is_single:
            raise Refused(failed([unknown_app(app, look.names)]))
        answer = {"changed": False, "names": names, "given": given, "known": look.names}
        answer["ansible_facts"] = look.answer["ansible_facts"]
        answer["stop_first"] = [
            app["name"] for app in look.apps if app["name"] in names and app["switch"] == "stop_first"
        ]
        if names and kind == "rollback" and not (self.is_single and not given["revision"]):
            found = self.call("webapp_info", {"names": names, "root": webapp["webapp_root"]})
            if found.get("failed"):
                raise Refused(found)
            own = next((one for one in found.get("apps") or [] if isinstance(one, dict)), {})
            answer["found"] = {key: own.get(key) for key in ("current", "releases", "targets", "skipped")}
        return answer

    def batches(self) -> dict[str, Any]:
        """List the batches, once for all hosts. Applications that keep their old release running switch at once."""
        results, settings = self.results(), self.rollout_settings
        found = transactions.batches_of(results, settings["first"], settings["batch"])
        for name in transactions.stopping_first(results):
            display.display(rollout.notice_of_final(name))
        return {"changed": False, "batches": found, "steps": transactions.steps_of(found)}

    def switch(self, number: int) -> dict[str, Any]:
        """Switch this host if it is in the batch, provisionally if it is one of several.

        Nothing is switched if any host can't do so.
        """
        if self.is_single and not self.given["revision"]:
            return self.activate(self.given["release"], self.choice["names"])
        if stopped := transactions.missing(self.results(), self.skips_unreachable):
            return {"failed": True, "msg": self.told(stopped)}
        if not any(stages["choose"].get("names") for stages in self.results().values()):
            return {"failed": True, "msg": unknown_app(self.given["app"], self.choice["known"])}
        if not self.choice["names"]:
            return {"changed": False, "apps": []}
        if (done := self.stages["switch"]) and not done.get("waits"):
            return {**done, "changed": False, "warnings": []}
        release = revision = ""
        if self.given["switch"] == "rollback":
            chosen = self.chosen()
            if chosen.refusal:
                return {"failed": True, "msg": self.told(chosen.refusal)}
            release, revision = chosen.releases[self.host], chosen.revisions[self.host]
            if not release:
                return {"changed": False, "apps": [], "staying": True, "revision": revision}
        if self.host not in self.listed[number]:
            return {"changed": False, "waits": True}
        return {**self.switch_batch(release, number), "revision": revision}

    def switch_batch(self, release: str, number: int) -> dict[str, Any]:
        """Switch to a release, except the applications that failed in an earlier batch."""
        results = self.results()
        earlier = {host: results[host] for hosts in self.listed[:number] for host in hosts}
        failed = {name: transactions.failed_on(earlier, name, "switch") for name in self.choice["names"]}
        behind = {name: hosts for name, hosts in failed.items() if hosts}
        names = [name for name in self.choice["names"] if name not in behind]
        answer: dict[str, Any] = self.activate(release, names) if names else {"changed": False, "apps": []}
        if behind and not answer.get("failed"):
            problems = [transactions.problem_of_behind(name, hosts) for name, hosts in behind.items()]
            own = {"names": list(behind), "problems": problems}
            answer |= {"behind": list(behind), "failures": failing.together([answer.get("failures") or {}, own])}
        return answer

    def confirm(self) -> dict[str, Any]:
        """Wait until the probation of the provisional switches has ended, unless another host has failed."""
        names = [name for name in self.provisional if not self.failed_on(name, "switch")]
        return self.end("confirm", names) if names else {"changed": False, "apps": []}

    def finish(self) -> dict[str, Any]:
        """Commit what all hosts have confirmed, and revert everything else. Fail if anything failed."""
        if self.is_single:
            return self.finished(self.stages["switch"].get("apps") or [], failing.together([]))
        names = self.choice["names"]
        # After a failed switch, no host has confirmed.
        lost = {name: self.failed_on(name, "switch") or self.failed_on(name, "confirm") for name in names}
        own = [self.stages[stage].get("failures") or {} for stage in ("switch", "confirm")]
        problems = [failing.together(own)]
        is_confirmed = {one["name"] for one in self.stages["confirm"].get("apps") or []}
        held = [name for name in self.provisional if name not in problems[0]["names"]]
        commit = [name for name in held if not lost[name] and name in is_confirmed]
        answers = []
        for stage, some in (("commit", commit), ("revert", [name for name in held if name not in commit])):
            if some:
                answer = self.end(stage, some, reason=self.reason(some[0], lost))
                problems.append(transactions.failures_of_end(answer, some, stage))
                answers.append({} if answer.get("failed") else answer)
        reverted = [one for answer in answers for one in answer.get("apps") or [] if one.get("reverted") is not None]
        final = [one for one in self.stages["switch"].get("apps") or [] if not one.get("provisional")]
        problems.append(self.other_failures(reverted, final, lost))
        live = [one for answer in answers for one in answer.get("apps") or [] if one not in reverted]
        return self.finished([*live, *final], failing.together(problems))

    # The hosts

    @property
    def is_single(self) -> bool:
        return len(self.all_hosts) < 2

    @property
    def stages(self) -> Mapping[str, dict[str, Any]]:
        return self.results()[self.host]

    def results(self) -> dict[str, Mapping[str, dict[str, Any]]]:
        return {host: self.stages_of(host) for host in self.all_hosts}

    def stages_of(self, host: str) -> dict[str, dict[str, Any]]:
        known = registered(self.task_vars["hostvars"], host)
        found = {stage: known.get(name) for stage, name in STAGES.items()}
        return {stage: result if self.is_of_play(result) else {} for stage, result in found.items()}

    @property
    def listed(self) -> list[list[str]]:
        """The batches. A playbook without the stage that lists them switches all hosts at once."""
        return self.stages["batches"].get("batches") or [self.all_hosts]

    @property
    def choice(self) -> dict[str, Any]:
        return self.stages["choose"]

    @property
    def given(self) -> dict[str, str]:
        given: dict[str, str] = self.choice["given"]
        return given

    def chosen(self) -> common_revision.Choice:
        """The release of each host that has the application, or why none switches."""
        choices = {host: stages["choose"] for host, stages in self.results().items() if stages["choose"].get("found")}
        hosts = {host: common_revision.host_of(choice["found"]) for host, choice in choices.items()}
        app, wanted = self.given["app"], {host: choice["given"]["release"] for host, choice in choices.items()}
        if any(wanted.values()):
            return common_revision.by_releases(app, hosts, wanted)
        if self.given["revision"]:
            return common_revision.named(app, hosts, self.given["revision"])
        return common_revision.newest_common(app, hosts)

    def told(self, message: str) -> str:
        """The message of a refusal: the whole one on the first host that could be reached, a short one on others."""
        found = [host for host, stages in self.results().items() if not transactions.why_lost(stages["choose"])]
        if self.host == found[0]:
            return message
        return f"Nothing was switched on any host. The message of {found[0]} says why: {message[:60]}…"

    def failed_on(self, name: str, last: str) -> list[str]:
        return transactions.failed_on(self.results(), name, last)

    @property
    def provisional(self) -> list[str]:
        """The applications that this host has switched provisionally."""
        return [one["name"] for one in self.stages["switch"].get("apps") or [] if one.get("provisional")]

    # Calls

    def call(self, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return self._execute_module(f"pyweb.stack.{module}", module_args=arguments, task_vars=self.task_vars)

    def specs(self, names: list[str], release: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The settings for the switches of these applications, and the inputs of the role."""
        inputs = self.given_inputs()
        webapp = self.complete_inputs("webapp", inputs)
        apps = self.check_inventory({"sources": False}, inputs).apps
        manager, keep = webapp["webapp_process_manager"], webapp["webapp_keep_releases"]
        found = switches(apps, self.facts(), self.given["switch"], self.given["app"], release, manager, keep)
        return [one for one in found if one["name"] in names], webapp

    def lease_seconds(self, specs: list[dict[str, Any]]) -> int:
        forks = int(context.CLIARGS.get("forks") or 5)
        return transactions.lease_seconds(len(self.all_hosts), forks, specs, len(self.listed))

    def activate(self, release: str, names: list[str]) -> dict[str, Any]:
        """Switch to a release, finally on a single host."""
        specs, webapp = self.specs(names, release)
        seconds = self.lease_seconds(specs)
        arguments: dict[str, Any] = {
            "apps": [{**one, "provisional": not self.is_single} for one in specs],
            "root": webapp["webapp_root"],
            "owner": deployer(),
            "lease": own_runs.lease(self.play, seconds),
            "report": "now" if self.is_single else "later",
            "ended_runs": own_runs.ended(),
            **self.flags("end_lost_command"),
        }
        return self.checked(self.call("webapp_activate", arguments), names)

    def end(self, stage: str, names: list[str], **more: Any) -> dict[str, Any]:
        """Confirm, commit or revert provisional switches."""
        specs, webapp = self.specs(names, "")
        seconds = self.lease_seconds(specs)
        arguments = {
            "apps": specs,
            "root": webapp["webapp_root"],
            "owner": deployer(),
            "stage": stage,
            "lease": own_runs.lease(self.play, seconds),
            "report": "later",
            **more,
        }
        return self.checked(self.call("webapp_activate", arguments), names)

    def checked(self, answer: dict[str, Any], names: list[str]) -> dict[str, Any]:
        if not answer.get("failed"):
            answer["apps"] = transactions.checked_results(answer.get("apps"), names, self.host)
            answer["failures"] = failing.failures_of(answer, names)
        return answer

    # The end

    def reason(self, name: str, lost: dict[str, list[str]]) -> str:
        return transactions.why_reverted(name, lost[name], self.host)

    def other_failures(
        self, reverted: list[dict[str, Any]], final: list[dict[str, Any]], lost: dict[str, list[str]]
    ) -> dict[str, list[str]]:
        """The applications of this host that failed only on others."""
        problems = [
            transactions.problem_of_reverted(one["name"], one["release"], lost[one["name"]]) for one in reverted
        ]
        staying = [one for one in final if lost.get(one["name"])]
        problems += [transactions.problem_of_final(one["name"], one["release"], lost[one["name"]]) for one in staying]
        return {"names": [one["name"] for one in [*reverted, *staying]], "problems": problems}

    def finished(self, apps: list[dict[str, Any]], failures: dict[str, list[str]]) -> dict[str, Any]:
        """The answer at the end of the run on this host."""
        switched = self.stages["switch"]
        stays = dict.fromkeys(self.choice["names"], self.choice["found"]["current"]) if switched.get("staying") else {}
        skipped = [] if any(self.given[key] for key in ("release", "revision")) else self.skipped()
        apps = [{**one, "skipped": one.get("skipped") or skipped} for one in apps]
        revisions = {one["name"]: str(switched.get("revision") or "") for one in apps}
        answer: dict[str, Any] = {
            "changed": bool(apps),
            "apps": apps,
            "failures": failures,
            "lines": transactions.lines_of(apps, stays, revisions),
        }
        if not failures["problems"]:
            return answer
        return {**answer, "failed": True, "msg": "\n\n".join(failures["problems"])}

    def skipped(self) -> list[str]:
        """The releases that a rollback without a name has passed over on this host."""
        found = (self.choice.get("found") or {}).get("skipped")
        return [str(one) for one in found] if isinstance(found, list) else []
