# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The stages that switch to new releases: provisionally, batch by batch, and then for good on all hosts or on none."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible import context
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import failures as failing
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import own_runs, rollout
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.overview import Overview, overview_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.progress import progress
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.switching import SwitchingAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.rollout.traffic import questions

display = Display()

State = dict[str, Any]
# The number of hosts that Ansible works on at the same time, unless it is result otherwise.
DEFAULT_FORKS = 5
# The IDs in the answer of a host, and the length of one.
KEPT = ("release", "replaced")
MOST_ID = 100
# The result of a stage on a host that can no longer be reached.
LOST = ("unreachable", "msg")


class RolloutAction(SwitchingAction):
    """The stages switch, wait, confirm and finish, on one host.

    The state of a host records its switches. It is the result of each of these stages.
    """

    arguments: dict[str, Any]

    # The rollout of this host and of those that deploy with it

    @property
    def number(self) -> int:
        """The batch of this stage, or the one after it."""
        return int(self.arguments["batch"])

    def overview(self) -> Overview:
        """The facts that this stage needs about the hosts that build and switch together with this one."""
        return Overview(**self.once.result("overview", lambda: asdict(self.look_at_group())))

    def look_at_group(self) -> Overview:
        names = str(self.deployment_of(self.host).get("batch") or "").split("\n")
        found = {host: self.stages_of(host) for host in names}
        results = {host: stages for host, stages in found.items() if stages["deploy"].get("deployment")}
        forks = int(context.CLIARGS.get("forks") or DEFAULT_FORKS)
        return overview_of(results, self.unbuilt(), self.arguments["stage"], self.number, forks)

    def steps(self) -> dict[str, Any]:
        """The stages after the release commands, the same for all hosts, and the batch of this host."""
        if not self.deployment_of(self.host) or self._task.check_mode:
            return {"steps": [], "batch": 0}
        found = self.overview()
        if found.problem:
            raise AnsibleActionFail(f"{found.problem} No host has switched.")
        if self.is_first:
            for line in found.lines:
                display.display(line)
        return {"steps": found.steps, "batch": found.batch_of(self.host)}

    def lease(self, found: Overview) -> dict[str, Any]:
        """The lease of a provisional switch: its run, and how long it lasts."""
        return own_runs.lease(self.play, found.lease_seconds)

    # The stages

    def stage_switch(self) -> dict[str, Any]:
        """Switch provisionally if this host is in the batch; go back if another host has failed meanwhile."""
        deployment = self.deployment_of(self.host)
        self.check_built(deployment)
        if self.number < 0:
            self.warn_without_rollout(deployment)
            return self.switch_for_good(deployment)
        state = self.state() if self.number else rollout.fresh(deployment.get("token"))
        is_turn = self.stages_of(self.host)["commands"].get("batch") == self.number and bool(deployment.get("switch"))
        if not is_turn and not self.is_under_way(state) and not (self.is_first and self.is_after_watch()):
            return self.result_of(state)
        found = self.overview()
        answer = self.kept_up(state, found)
        if not answer and is_turn:
            answer = self.switch_batch(state, found)
        return self.result_of(state, answer)

    def stage_wait(self) -> dict[str, Any]:
        """Wait on one host for all, between renewals of the leases. Without an application left, do not wait."""
        state = self.state()
        if not self.is_first and not self.is_under_way(state):
            return self.result_of(state)
        found = self.overview()
        answer = self.kept_up(state, found)
        if self.is_first and set(found.shared) - set(found.failed):
            seconds = int(self.arguments["seconds"])
            with progress("rollout", f"waiting {seconds} s before batch {self.number + 1} of {len(found.batches)}"):
                time.sleep(seconds)
        return self.result_of(state, answer)

    def stage_watch(self) -> dict[str, Any]:
        """Count the requests to this host, with the new or with the old release."""
        deployment = self.deployment_of(self.host)
        result: dict[str, Any] = {"changed": False, "token": deployment.get("token")}
        found = self.overview()
        names = [name for name, hosts in found.shared.items() if self.host in hosts and name not in found.failed]
        if not names:
            return result
        look = self.check_inventory({"root": deployment["root"], "sources": False})
        arguments = {"seconds": found.settings["watch"], "apps": questions(names, look.apps, deployment["root"])}
        try:
            traffic = self._execute_module(
                "pyweb.stack.webapp_traffic", module_args=arguments, task_vars=self.task_vars
            )
        except AnsibleConnectionFailure as error:
            return {**result, "unreachable": True, "msg": one_line(str(error))}
        return {**result, "traffic": traffic}

    def stage_confirm(self) -> dict[str, Any]:
        """Wait until the new releases have passed their probation. The lease is renewed until the stage finish."""
        state = self.state()
        if not self.is_under_way(state):
            return self.result_of(state)
        found = self.overview()
        answer = self.kept_up(state, found, renew=False)
        names = list(state["provisional"])
        if answer or not names:
            return self.result_of(state, answer)
        answer = self.ask(state, names, "confirm", lease=self.lease(found))
        if answer.get("unreachable"):
            return self.result_of(state, answer)
        for name in names:
            if name in state["provisional"]:
                state["confirmed"].append(name)
        return self.result_of(state, answer)

    def stage_finish(self) -> dict[str, Any]:
        """Commit the applications that all hosts have confirmed, and revert the others; then obtain certificates."""
        deployment = self.deployment_of(self.host)
        state = self.state()
        if not self.is_under_way(state) and not state["live"]:
            return self.certified(self.result_of(state), deployment, state["failures"])
        found = self.overview()
        answer = self.kept_up(state, found, renew=False)
        names = list(state["provisional"])
        if names and not answer:
            wanted = {one["name"] for one in deployment["switch"]}
            is_whole = not state["failures"]["names"] and wanted == {*names, *state["live"]}
            more = {"stamp": deployment["stamp"]} if is_whole else {}
            answer = self.ask(state, names, "commit", lease=self.lease(found), **more)
        for name in state["live"]:
            if name in found.failed:
                display.warning(
                    f"webapps '{name}': {found.failed[name]}, but {self.host} stays on its new release, because it "
                    "can't be kept provisional (switch: stop_first, or no release was live before). Correct the cause "
                    "and run again, or use rollback.yml."
                )
        return self.certified(self.result_of(state, answer), deployment, state["failures"])

    def warn_without_rollout(self, deployment: Mapping[str, Any]) -> None:
        """Say that a playbook with the stage switch alone has no rollout."""
        if self.is_first and deployment.get("switch") and (shared := self.overview().shared):
            display.warning(
                f"This playbook switches all hosts at once and for good ({', '.join(shared)}). If a new release fails "
                "on one host, only that host keeps the old one. Replace the stage switch by the task file 'rollout' of "
                "the role webapp, as in site.yml."
            )

    # The steps of a stage. Each returns the answer of the host if it was lost.

    def state(self) -> State:
        """The state of this host, which a stage may change."""
        found = copy.deepcopy(rollout.state_of(self.stages_of(self.host)))
        return {**(found or rollout.fresh(self.deployment_of(self.host).get("token"))), "changed": False}

    @staticmethod
    def is_under_way(state: State) -> bool:
        """Whether this host may hold leases."""
        return bool(state["provisional"] or state["asked"])

    def is_after_watch(self) -> bool:
        """Whether this is the step that uses the verdict first."""
        is_switch = self.arguments["stage"] == "switch" and self.number == 1
        return is_switch and bool(self.stages_of(self.host)["watch"])

    def kept_up(self, state: State, found: Overview, renew: bool = True) -> dict[str, Any]:
        """Go back from releases that have failed on some host. Renew the leases of the others, if they are due."""
        if self.is_first and self.is_after_watch():
            for line in found.lines:
                display.display(line)
        failed = found.failed
        undone = [name for name in (*state["provisional"], *state["asked"]) if name in failed]
        if undone:
            answer = self.ask(state, undone, "revert", lease=self.lease(found), failed=failed)
            if answer.get("unreachable"):
                return answer
        if not renew or not state["provisional"]:
            return {}
        lease = self.lease(found)
        now = time.time()
        due = [
            name for name, one in state["provisional"].items() if rollout.is_due(one["until"], lease["seconds"], now)
        ]
        if due:
            answer = self.ask(state, list(state["provisional"]), "renew", lease=lease)
            return answer if answer.get("unreachable") else {}
        return {}

    def switch_batch(self, state: State, found: Overview) -> dict[str, Any]:
        """Switch to the new releases of this host, except those that have failed on other hosts."""
        deployment = self.deployment_of(self.host)
        failed = found.failed
        wanted = deployment.get("switch") or []
        left_out = self.left_out(wanted)
        switches = [one for one in wanted if one["name"] not in {*left_out["names"], *self.failed_commands()}]
        behind = [one["name"] for one in switches if one["name"] in failed and one["candidate"]]
        problems = [
            f"webapps '{name}': {failed[name]}, so this host does not switch to the new release either."
            f"{undo_notes(deployment, name)}"
            for name in behind
        ]
        state["failures"] = failing.together([left_out, {"names": behind, "problems": problems}])
        state["kept_back"] = list(state["failures"]["names"])
        apps = [
            {**one, "provisional": True}
            if one["name"] in found.shared and one["candidate"] and not one["stop_first"]
            else one
            for one in switches
            if one["name"] not in behind
        ]
        if not apps:
            return {}
        is_final = not any(one.get("provisional") for one in apps)
        more: dict[str, Any] = {"stamp": deployment["stamp"]} if is_final and len(apps) == len(wanted) else {}
        lease = self.lease(found)
        return self.ask(state, [one["name"] for one in apps], "switch", apps=apps, lease=lease, **more)

    def ask(
        self,
        state: State,
        names: list[str],
        stage: str,
        *,
        apps: list[dict[str, Any]] | None = None,
        failed: Mapping[str, str] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Run a stage of the module webapp_activate for these applications, and note its result in the state."""
        deployment = self.deployment_of(self.host)
        specs = apps or [one for one in deployment["switch"] if one["name"] in names]
        # The later stages continue what the switch has noted.
        specs = self.with_revisions(specs) if stage == "switch" else specs
        began = time.time()
        until = began + more.get("lease", {}).get("seconds", 0)
        if failed:
            more["reason"] = "; ".join(dict.fromkeys(failed[name] for name in names))
        try:
            answer = self.activate(specs, deployment["root"], stage=stage, report="later", **more)
        except AnsibleConnectionFailure as error:
            # The host reverts by itself. It stays in the results of the run with what is known of it.
            answer = {"unreachable": True, "msg": one_line(str(error))}
        if stage == "switch":
            state["revisions"] = {one["name"]: one.get("revision") or "" for one in specs}
        for name in names:
            state["began"].setdefault(name, began)
            state["ended"][name] = time.time()
        if answer.get("unreachable") or answer.get("failed"):
            # The module may have switched before it ended.
            state["asked"] |= {one["name"]: until for one in specs if stage != "switch" or one.get("provisional")}
            state["committing"] = names if stage == "commit" else []
        if answer.get("unreachable"):
            return answer
        unsuccessful = state["unsuccessful"]
        state["changed"] = state["changed"] or (stage not in ("confirm", "renew") and bool(answer.get("changed")))
        note(state, names, stage, answer, until)
        if state["unsuccessful"] != unsuccessful:
            self.once.forget()
        if stage == "revert":
            self.note_reverted(state, names, failed or {})
        return answer

    def note_reverted(self, state: State, names: list[str], failed: Mapping[str, str]) -> None:
        """Note that the host went back because of another one."""
        deployment = self.deployment_of(self.host)
        problems = []
        for name in names:
            known = state["provisional"].pop(name, {})
            state["asked"].pop(name, None)
            if name in state["unsuccessful"]:
                continue
            state["reverted"][name] = failed[name]
            serving = f"to the release {known['replaced']}" if known.get("replaced") else "to the state before this run"
            problems.append(
                f"webapps '{name}': {failed[name]}, so this host went back {serving}.{undo_notes(deployment, name)}"
            )
        state["failures"] = failing.together([state["failures"], {"names": names, "problems": problems}])

    @staticmethod
    def result_of(state: State, answer: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The result of a stage: the state of this host."""
        answer = answer or {}
        lost = {key: answer[key] for key in LOST if answer.get("unreachable")}
        warnings = {"warnings": answer["warnings"]} if answer.get("warnings") else {}
        return {"changed": False, **state, **warnings, **lost}


def undo_notes(deployment: Mapping[str, Any], name: str) -> str:
    """Further sentences about a revert: the commands that it does not undo, the processes that it starts again."""
    commands = " Its release commands have run, and are not undone." if name in deployment.get("commands", ()) else ""
    exclusive = (deployment.get("exclusive") or {}).get(name)
    return (
        f"{commands} Exclusive processes of the old release run again: {', '.join(exclusive)}."
        if exclusive
        else commands
    )


def note(state: State, names: list[str], stage: str, answer: Mapping[str, Any], until: float) -> None:
    """Note the answer of a host. A module that failed as a whole has failed for all these applications."""
    own = failing.failures_of(answer, names)
    found = {one["name"]: one for one in answer.get("apps") or [] if isinstance(one, dict) and one.get("name") in names}
    for name in names:
        if name in own["names"] or (name in found and not answer.get("failed")):
            continue
        why = str(answer.get("msg") or "the host did not report its result")
        own["names"].append(name)
        own["problems"].append(f"webapps '{name}': the stage {stage} failed: {why}")
    state["failures"] = failing.together([state["failures"], own])
    state["apps"] = [*(one for one in state["apps"] if one.get("name") not in found), *found.values()]
    for name in names:
        known = state["provisional"].get(name, {})
        if name in own["names"]:
            state["unsuccessful"] = list(dict.fromkeys([*state["unsuccessful"], name]))
            # The lease of a module that did not answer may still be there.
            if stage not in ("switch", "renew") or not answer.get("failed"):
                state["provisional"].pop(name, None)
            continue
        release = {key: one_line(str(found[name].get(key) or known.get(key) or ""))[:MOST_ID] for key in KEPT}
        if found[name].get("provisional") is True:
            state["provisional"][name] = {**release, "until": until}
        elif stage != "revert":
            state["provisional"].pop(name, None)
            state["live"][name] = release
