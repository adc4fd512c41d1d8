# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The stages of a run: what the tasks of each have registered, on all hosts of the play."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import barrier, fleet, rollout
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import failures as failing
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.once import Once
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, role_options

display = Display()

STAGES = ["look", "idle", "deploy", "build", "commands", "switch", "wait", "watch", "confirm", "finish", "report"]
# Those that only a rollout has.
STEPS = frozenset({"wait", "watch", "confirm", "finish"})
# The variables that the results of the stages are registered in. The stage build replaces the result of deploy, and the
# stage wait continues the result of switch.
REGISTERED = "__deployment"
REGISTERED_NAMES = {
    "look": "__look",
    "deploy": REGISTERED,
    "build": REGISTERED,
    "commands": "__commands",
    "switch": "__switch",
    "wait": "__switch",
    "watch": "__watch",
    "confirm": "__confirm",
    "finish": "__finish",
}


# Their result has the token of the deployment.
DEPLOYING = ("deploy", "build")


def registered(hostvars: Any, host: str) -> Any:
    """The registered variables of a host. Ansible would compute all its variables for each look at one of them."""
    try:
        return hostvars._variable_manager._nonpersistent_fact_cache.get(host, {})
    except AttributeError:
        return hostvars[host]


def tasks_of(blocks: Iterable[Any]) -> Iterator[Any]:
    """The tasks of blocks, and of the blocks in them."""
    for one in blocks:
        if hasattr(one, "block"):
            yield from tasks_of([*one.block, *one.rescue, *one.always])
        else:
            yield one


def registers(task: Any, name: str | None) -> bool:
    """Whether a task registers its result as this variable. Since ansible-core 2.21, it has a dictionary of names."""
    given = getattr(task, "register", None)
    return name in given if isinstance(given, dict) else given == name


class StageResults(Mapping[str, dict[str, Any]]):
    """The results of the stages on a host: those of this play and of its last deployment. All others are empty.

    Each is found when it is asked for. With many hosts, each task of each host asks all of them for one or two.
    """

    def __init__(self, known: Mapping[str, Any], play: str) -> None:
        self.known, self.play = known, play
        self.found: dict[str, dict[str, Any]] = {}

    def __getitem__(self, stage: str) -> dict[str, Any]:
        if stage not in self.found:
            self.found[stage] = self.find(stage)
        return self.found[stage]

    def __iter__(self) -> Iterator[str]:
        return iter(REGISTERED_NAMES)

    def __len__(self) -> int:
        return len(REGISTERED_NAMES)

    def find(self, stage: str) -> dict[str, Any]:
        result = self.known.get(REGISTERED_NAMES[stage])
        if not isinstance(result, dict) or result.get("play", self.play) != self.play:
            return {}
        if "token" in result and stage not in DEPLOYING:
            deployment = self["deploy"].get("deployment") or {}
            return result if result["token"] == deployment.get("token") else {}
        return result


class StagesAction(HostAction):
    """An action that is run once for each stage, and knows the results of the earlier ones."""

    task_vars: dict[str, Any]
    # Whether a later stage reports the failures of this one.
    later: bool

    @property
    def host(self) -> str:
        return str(self.task_vars["inventory_hostname"])

    @property
    def all_hosts(self) -> list[str]:
        """The hosts of the play, in its order: those of all batches, and those that failed or were not reached."""
        return list(self.task_vars.get("ansible_play_hosts_all") or [self.host])

    @property
    def hosts(self) -> list[str]:
        """The hosts of the play that have not failed."""
        return list(self.task_vars.get("ansible_play_hosts") or [])

    @property
    def batch(self) -> list[str]:
        """Those of them that this task runs on, before or after this host."""
        return list(self.task_vars.get("ansible_play_batch") or [])

    def check_registration(self, stage: str, is_step: bool) -> None:
        """Refuse a stage that leaves its failures to a later one that could not find them.

        ``is_step`` is a step of a rollout. It always does, because all hosts go back if one of them fails.
        """
        name = REGISTERED_NAMES.get(stage, "")
        if is_step and not self.later:
            raise AnsibleActionFail(
                f"apply: the stage {stage} of a rollout needs 'report: later'. Nothing was changed."
            )
        if self.later and not registers(self._task, name):
            raise AnsibleActionFail(
                f"apply: the stage {stage} with 'report: later' must register its result as {name}. Otherwise, the "
                "later stages do not find it."
            )

    def check_strategy(self) -> None:
        """Refuse a strategy by which hosts do not wait for each other: each stage needs the results of all hosts."""
        strategy = str(self._task.get_play().strategy)
        if len(self.batch) > 1 and strategy.endswith(("free", "host_pinned")):
            raise AnsibleActionFail(
                f"apply: with the strategy '{strategy}', hosts do not wait for each other. Release commands could run "
                "twice, and hosts could switch to a release that others can't build. Set 'strategy: linear' in this "
                "play. This task has changed nothing."
            )

    def check_plan_tasks(self) -> None:
        """Refuse a role that takes part in the plan of all hosts or of none, by the condition of the first host."""
        for task in tasks_of(getattr(self._task.get_play(), "tasks", [])):
            if task.action == "pyweb.stack.plan" and task.run_once and task.when:
                raise AnsibleActionFail(
                    f"apply: the task '{task.get_name()}' has 'run_once' and the condition {task.when}. The first host "
                    "would decide for all. Remove 'run_once' from the import of this role. Nothing was changed."
                )

    @staticmethod
    def check_built(deployment: dict[str, Any]) -> None:
        """Refuse to continue without the stage build: applications that wait for it would be left out."""
        if waiting := deployment.get("unresolved"):
            raise AnsibleActionFail(
                f"apply: {', '.join(waiting)} waits for the stage build, which did not run. Add it to your playbook, "
                "after the stage deploy, as in site.yml. Or remove the stage look: each host then resolves for itself."
            )

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.task_vars.get("ansible_facts", {}).get("pyweb", {})
        return facts

    def deployment_of(self, host: str) -> dict[str, Any]:
        """The result of the stages deploy and build on a host of this play.

        It is a registered variable, because a fact cache could hold the result of another run.
        """
        found = self.stages_of(host)["deploy"].get("deployment")
        return found if isinstance(found, dict) else {}

    def stages_of(self, host: str) -> Mapping[str, dict[str, Any]]:
        """The results of the stages on a host of this play; empty if its task registers none.

        They are found once for each task: a task on each of many hosts asks for all hosts, and more than once.
        """
        if host not in self.found_stages:
            self.found_stages[host] = StageResults(registered(self.task_vars["hostvars"], host), self.play)
        return self.found_stages[host]

    @cached_property
    def found_stages(self) -> dict[str, StageResults]:
        return {}

    def result_of_run(self, host: str) -> tuple[dict[str, list[str]], list[str]]:
        """The failures of all stages on a host, and its applications."""
        stages = self.stages_of(host)
        deployment = stages["deploy"].get("deployment") or {}
        found = [deployment, *(stages[name] for name in ("commands", "switch", "confirm", "finish"))]
        return failing.together(one.get("failures") or {} for one in found), deployment.get("names") or []

    @property
    def commanding(self) -> list[str]:
        """The hosts of the play that run release commands, or have run them in an earlier batch and failed later."""
        hosts = {*self.hosts}
        return [host for host in self.all_hosts if host in hosts or self.stages_of(host)["commands"]]

    def failed_commands(self) -> dict[str, str]:
        """The applications whose release commands failed, and the host on which they ran."""
        return self.once.result(
            "failed_commands",
            lambda: {
                name: host
                for host in self.commanding
                for name in (self.stages_of(host)["commands"].get("failures") or {}).get("names", [])
            },
        )

    @cached_property
    def once(self) -> Once:
        """The results of this task that are the same for all hosts."""
        token = self.deployment_of((self.batch or [self.host])[0]).get("token")
        task = f"{self._task._uuid} {self._task.args} {token}"
        return Once(Path(constants.DEFAULT_LOCAL_TMP), task, " ".join(self.batch))  # type: ignore[attr-defined]

    # The hosts as one transaction

    def results(self) -> dict[str, Mapping[str, dict[str, Any]]]:
        """The results of the stages on all hosts of the play."""
        return {host: self.stages_of(host) for host in self.all_hosts}

    @property
    def skips_unreachable(self) -> bool:
        """Whether the run continues without hosts that can't be reached."""
        return bool(self.rollout_settings["unreachable"] == "skip")

    @property
    def rollout_settings(self) -> dict[str, Any]:
        """The settings of rollouts of this host, with all defaults. The look has checked them."""
        given = self._templar.template(self.task_vars.get("webapp_rollout") or {})
        options = role_options("webapp")["webapp_rollout"]["options"]
        return Checker().mapping(given, options, "webapp_rollout")

    def differing_settings(self) -> str:
        """The problem of hosts with different settings of rollouts; empty if there is none."""
        results = self.results()
        given = {host: stages["look"]["rollout"] for host, stages in results.items() if stages["look"].get("rollout")}
        problem = rollout.differing(given)
        return f"{problem} Nothing was built on any host." if problem else ""

    def of_transaction(self) -> dict[str, Any]:
        """The hosts that build and switch together with this one, and the settings of their rollout.

        ``token`` ties the results of later stages to this deployment: a play may deploy twice. The batch is one text,
        because each host has it: of many hosts, Ansible would keep a great number of objects.
        """
        return {"batch": "\n".join(self.batch), "rollout": self.rollout_settings, "token": time.time_ns()}

    def missing_hosts(self) -> str:
        """The message of a run with missing hosts; empty if it may continue. One host names those that are skipped."""
        results = self.results()
        lost = barrier.missing(results, {*self.hosts})
        stopped = barrier.message_of_missing(lost, self.skips_unreachable, barrier.begun(results))
        if lost and not stopped and self.is_first:
            display.warning(
                f"{', '.join(lost)} can't be reached. This run continues without them, because "
                "webapp_rollout.unreachable is skip. The next run that reaches them deploys to them."
            )
        return stopped

    def unbuilt(self) -> dict[str, list[str]]:
        """The applications that a host of the play could not build, and these hosts."""
        return self.once.result(
            "unbuilt", lambda: barrier.unbuilt(self.results(), {*self.hosts}, self.skips_unreachable)
        )

    @property
    def is_first(self) -> bool:
        """Whether this host speaks for all hosts of the batch."""
        return self.host == (self.batch or [self.host])[0]

    def note_serial(self) -> None:
        """Say that batches of Ansible are separate transactions."""
        if self.is_first and len(self.hosts) > len(self.batch):
            display.warning(
                "This play has 'serial', so each batch is a transaction of its own. An application that fails in one "
                "batch stays switched in earlier batches. If its build has failed, later batches do not switch to it."
            )

    # The versions that the hosts install

    def looks(self) -> dict[str, dict[str, Any]]:
        """The results of the stage look on all hosts of the play. Hosts of later batches have none yet."""
        hosts = {*self.hosts}
        found = {host: self.stages_of(host)["look"].get("fleet") for host in self.all_hosts if host in hosts}
        return {host: look for host, look in found.items() if look}

    def commits(self) -> dict[str, dict[str, str]]:
        """The commits to deploy, the same on all hosts."""
        return fleet.commits(self.looks(), self.host)

    def offers(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """The versions that each host of the play has resolved."""
        return {host: self.deployment_of(host).get("offers") or {} for host in self.all_hosts}

    def shared_inputs(self) -> dict[str, Any]:
        """The addition to the part webapp for hosts that have to agree on versions; empty without the stage look."""
        looks = self.looks()
        return {"shared_inputs": fleet.shared_inputs(looks, self.host)} if self.host in looks else {}

    def is_unchanged(self, host: str, looks: dict[str, dict[str, Any]]) -> bool:
        """Whether the look at a host has found nothing to do."""
        seen = self.stages_of(host)["look"]
        return bool(seen.get("unchanged")) and fleet.commits(looks, host) == looks[host]["commits"]

    def gifts(self, webapp: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """The versions of finished releases that other hosts lack. They are read only if a host may need them.

        ``webapp`` are the inputs of the role. An upgrade needs no recorded versions, which would come before its own.
        """
        looks = self.looks()
        is_followed = len(self.hosts) > len(self.batch)
        if self.host not in looks or self._task.check_mode or webapp["webapp_upgrade_packages"]:
            return {}
        wanted = fleet.gifts(looks, self.host, is_followed)
        if not wanted or not (is_followed or any(not self.is_unchanged(host, looks) for host in looks)):
            return {}
        arguments = {"give": wanted, "root": webapp["webapp_root"]}
        answer = self._execute_module("pyweb.stack.apply", module_args=arguments, task_vars=self.task_vars)
        if answer.get("failed"):
            raise AnsibleActionFail(str(answer.get("msg")))
        return fleet.checked_offers(answer.get("offers"), list(wanted), self.host)

    def resolutions(self, waiting: dict[str, str]) -> dict[str, Any]:
        """The versions that all hosts install, for the applications that wait for them."""
        offers = self.offers()
        return {name: fleet.agreed(offers, name, inputs) for name, inputs in waiting.items()}

    def announcements(self) -> list[str]:
        """Which hosts install the versions of another one. The first host that waits says it for all."""
        waited = {host: self.deployment_of(host).get("waited") or {} for host in self.hosts}
        if self.host != next((host for host, inputs in waited.items() if inputs), ""):
            return []
        return fleet.announcements(self.offers(), waited)
