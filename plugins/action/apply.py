# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check the inventory, look at the host, make its plan and apply the differences.

A run with changes needs at least two module calls.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.loader import lookup_loader
from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import CertificateError
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import failures as failing
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.announcements import announce
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import answer_of, checked_builds
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import (
    Look,
    Refused,
    failed,
    nginx_settings,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.people import deployer
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.python_archives import ArchivesAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.sending import SendingAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import host as plan
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import parts as sending
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import release_commands, runs_commands_first
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import FetchError, SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin, origin_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import ROLES, role_options

# The variables that the results of the stages are registered in.
REGISTERED = "__deployment"
REGISTERED_NAMES = {"deploy": REGISTERED, "commands": "__commands", "switch": "__switch"}

display = Display()

UNCHANGED = "Unchanged since the last verified run; skipped."


class ActionModule(ArchivesAction, SendingAction):
    """Look at the host in one module call, and change it in another."""

    returns = frozenset({"parts", "apps", "failures"}) | SendingAction.returns
    leaves_out = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "stage": {"type": "str", "choices": ["deploy", "commands", "switch", "report"], "default": "deploy"},
                "report": {"type": "str", "choices": ["now", "later"], "default": "now"},
                "roles": {"type": "list", "elements": "str", "choices": list(plan.ROLES), "default": []},
            }
        )
        self.later = arguments["report"] == "later"
        self.check_registration(arguments["stage"])
        self.roles = arguments["roles"] or self.planned_roles()
        if not self.roles:
            raise AnsibleActionFail(
                "apply: no role has a part in the plan, so there is nothing to apply. Run the task file 'plan' of each "
                "role first, in the same run, as site.yml does. Or list the roles in the option roles."
            )
        try:
            answer: dict[str, Any] = getattr(self, arguments["stage"])()
            return answer
        except Refused as refused:
            return refused.answer
        except (plan.PlanError, CertificateError) as error:
            return failed([str(error)])

    def check_registration(self, stage: str) -> None:
        """Refuse a stage that leaves its failures to a later one that could not find them."""
        name = REGISTERED_NAMES.get(stage)
        if self.later and getattr(self._task, "register", None) != name:
            raise AnsibleActionFail(
                f"apply: the stage {stage} with 'report: later' must register its result as {name}. Otherwise, the "
                "stage report does not find the applications that failed."
            )

    def planned_roles(self) -> list[str]:
        """The roles that have run their task file ``plan`` in this play."""
        found = []
        for role in plan.ROLES:
            result = self.task_vars.get(f"__{role}_plan")
            if isinstance(result, dict) and result.get("role") == role:
                found.append(role)
        return found

    # The stages

    def deploy(self) -> dict[str, Any]:
        """Apply everything that does not depend on other hosts."""
        look = self.look_for_roles()
        model = self.model(look)
        answer: dict[str, Any] = {"changed": False, "parts": {}, "apps": [], "diff": []}
        due, origins = self.due_parts(model, look, answer)
        self.install_packages(model, look, answer)
        pending: dict[str, Any] = {}
        if due and not answer.get("failed"):
            alone = self.is_alone(look)
            with self.sent_archives(self.prepared(due, model, alone)) as sent:
                result = self.send(sent, origins, finish=alone or self._task.check_mode)
            announce(origins)
            pending = self.merge(answer, result, look, alone)
        elif not due and not answer["changed"]:
            answer["msg"] = UNCHANGED
        answer["deployment"] = self.deployment(look, answer, pending)
        failures = failing.failures_of(answer["parts"].get("webapp", {}), [app["name"] for app in look.apps])
        names = [app["name"] for app in look.apps if app["state"] == "present"]
        answer["deployment"] |= {"failures": failures, "names": names}
        stamps = {} if answer["changed"] else look.facts["stamps"]
        answer["ansible_facts"] = {**look.answer["ansible_facts"], "pyweb": {**look.facts, "stamps": stamps}}
        return self.reported(answer, failures, [] if pending else names)

    def is_alone(self, look: Look) -> bool:
        """Whether this host can switch in the call that builds: no other host builds, and no release command runs."""
        hosts = self.task_vars.get("ansible_play_batch", [])
        return len(hosts) <= 1 and not any(runs_commands_first(app) for app in look.apps if app["state"] == "present")

    def commands(self) -> dict[str, Any]:
        """Run the release commands of each application, on the first host that has a new release of it."""
        hosts = self.task_vars.get("ansible_play_hosts", [])
        builds = [[host, self.deployment_of(host).get("apps", [])] for host in hosts]
        if not any(app["candidate"] for _host, apps in builds for app in apps):
            return {"changed": False, "apps": []}
        look = self.check_inventory({"sources": False})
        inputs = self.complete_inputs("webapp", look.inputs)
        apps = release_commands(
            look.apps,
            builds,
            self.task_vars["inventory_hostname"],
            self.facts(),
            inputs["webapp_process_manager"],
        )
        if not apps:
            return {"changed": False, "apps": []}
        answer = self.activate(apps, inputs["webapp_root"], stage="commands", report="later")
        answer["failures"] = failing.failures_of(answer, [app["name"] for app in apps])
        return self.reported(answer, answer["failures"])

    def switch(self) -> dict[str, Any]:
        """Switch to the releases that were built, then obtain the certificates that are due."""
        deployment = self.deployment_of(self.host)
        answer: dict[str, Any] = {"changed": False, "apps": []}
        wanted = deployment.get("switch") or []
        failed_on = self.failed_commands() if wanted else {}
        switches = [one for one in wanted if one["name"] not in failed_on]
        failures = failing.led_elsewhere(wanted, failed_on, self.host)
        if switches:
            stamp = deployment["stamp"] if switches == wanted else {}
            answer = self.activate(switches, deployment["root"], stamp=stamp, report="later")
            own = failing.failures_of(answer, [one["name"] for one in switches])
            failures = failing.together([failures, own])
        answer["failures"] = failures
        if deployment.get("certificates") and not answer.get("failed"):
            look = self.check_inventory({"root": deployment["root"]})
            look.answer = {"ansible_facts": {"pyweb": self.facts()}}
            part = plan.nginx_part(self.roles, self.model(look))
            if part is None:
                raise AnsibleActionFail(
                    "Certificates are due, but the role nginx is not in this host's plan. Add its task file 'plan' to "
                    "this play and run again."
                )
            ready = sending.rendered(part, self.render)
            held = failing.held(deployment["apps"])
            fetching = plan.Part("nginx", {**ready.inputs, "fetch": True, "held": held}, ready.secrets)
            result = self.call([(fetching, "" if held else sending.key_of(part))])
            changed = bool(answer["changed"] or result.get("changed"))
            answer = {**result, "apps": answer["apps"], "failures": failures, "changed": changed}
        return self.reported(answer, failures, deployment.get("names") or [])

    def report(self) -> dict[str, Any]:
        """Fail if an application failed in an earlier stage of this run, on this host."""
        own, names = self.result_of_run(self.host)
        # Each look at another host costs time, so one host compares them for all.
        if self.host == (self.task_vars.get("ansible_play_batch") or [self.host])[0]:
            hosts = self.task_vars.get("ansible_play_hosts_all") or []
            for warning in failing.differences({host: self.result_of_run(host) for host in hosts}):
                display.warning(warning)
        self.later = False
        return self.reported({"changed": False}, own, names)

    def result_of_run(self, host: str) -> tuple[dict[str, list[str]], list[str]]:
        """The failures of all stages on a host, and its applications."""
        stages = self.stages_of(host)
        deployment = stages["deploy"].get("deployment") or {}
        failures = [stage.get("failures") or {} for stage in (deployment, stages["commands"], stages["switch"])]
        return failing.together(failures), deployment.get("names") or []

    def reported(self, answer: dict[str, Any], failures: dict[str, list[str]], live: Any = ()) -> dict[str, Any]:
        """The answer of a stage, failed if an application failed and no later stage reports that.

        ``live`` are the applications that are deployed, unless they failed.
        """
        if self.later or not failures["problems"] or answer.get("failed"):
            return answer
        return {**answer, "failed": True, "msg": failing.message(failures, () if self._task.check_mode else live)}

    def failed_commands(self) -> dict[str, str]:
        """The applications whose release commands failed, and the host on which they ran."""
        return {
            name: host
            for host in self.task_vars.get("ansible_play_hosts", [])
            for name in (self.stages_of(host)["commands"].get("failures") or {}).get("names", [])
        }

    @property
    def host(self) -> str:
        return str(self.task_vars["inventory_hostname"])

    # The look at this host, and the model of its desired state

    def look_for_roles(self) -> Look:
        inputs = self.given_inputs()
        given = {role: self.complete_inputs(role, inputs) for role in ("python", "webapp", "supervisor", "nginx")}
        names = {
            "python": ["python_required_packages", "python_packages"],
            "nginx": ["nginx_required_packages", "nginx_packages"],
            "supervisor": ["supervisor_required_packages", "supervisor_packages", "supervisor_cron_packages"],
        }
        packages = [
            package
            for role, lists in names.items()
            if role in self.roles
            for name in lists
            for package in given[role][name] or []
        ]
        webapp = given["webapp"]
        arguments = {
            "process_manager": webapp["webapp_process_manager"],
            "keep_releases": webapp["webapp_keep_releases"],
            "root": webapp["webapp_root"],
            "packages": list(dict.fromkeys(packages)),
            "uv_home": given["python"]["python_uv_home"],
        }
        return self.look(arguments, inputs)

    @staticmethod
    def complete_inputs(role: str, inputs: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """The inputs of a role. Missing inputs get the role's defaults."""
        defaults = {name: option.get("default") for name, option in role_options(role).items()}
        return {**defaults, **inputs.get(role, {})}

    def model(self, look: Look) -> plan.Model:
        """The model of this host, from which its plan is made."""
        if look.facts["maintenance"]:
            root = self.complete_inputs("webapp", look.inputs)["webapp_root"]
            settings = nginx_settings(look.inputs["nginx"])
            look.sites, _settings, problems = checked_sites(
                look.apps, root, settings, look.own_sites, look.facts["maintenance"]
            )
            if problems:
                raise Refused(failed([f"{problem} See {root}/NAME/maintenance.json." for problem in problems]))
        inputs = {role: self.complete_inputs(role, look.inputs) for role in plan.ROLES}
        # The look does not resolve lists of items.
        inputs["nginx"]["nginx_sites"] = self.templated("nginx_sites")
        inputs["python"]["python_archives"] = self.archives(self.templated("python_archives"))
        inputs["webapp"]["webapp_release_files"] = self.templated("webapp_release_files") or []
        for name, kind in (("nginx_ca_certificate", "certificate"), ("nginx_ca_key", "key")):
            inputs["nginx"][name] = self.pem(inputs["nginx"][name] or "", kind)
        files = ROLES / "nginx" / "files"
        texts = {path.name: path.read_text(encoding="utf-8") for path in files.iterdir()}
        return plan.Model(look.apps, look.sites, look.settings, look.certificates, inputs, look.facts, texts)

    def templated(self, name: str) -> Any:
        """The value of a variable with its templates resolved; None if it is not set."""
        return self._templar.template(self.task_vars[name]) if name in self.task_vars else None

    def due_parts(
        self, model: plan.Model, look: Look, answer: dict[str, Any]
    ) -> tuple[list[tuple[plan.Part, str]], dict[str, Origin]]:
        """The parts that the stamp does not verify, with their keys, and the origin of each application's source."""
        due: list[tuple[plan.Part, str]] = []
        origins: dict[str, Origin] = {}
        for part in plan.host_plan(self.roles, model):
            if part.role == "webapp":
                origins = self.origins(part, look.unfetched)
                part = sending.with_sources(part, origins, look.unfetched)
            key = sending.key_of(part)
            verified = look.facts["stamps"].get(part.role, {})
            if key not in verified:
                due.append((part, key))
            elif part.role == "webapp":
                answer["apps"] = answer_of(verified[key], {"apps"}).get("apps", [])
        return due, origins

    def origins(self, part: plan.Part, unfetched: dict[str, str]) -> dict[str, Origin]:
        """The origin of each application's source; raises AnsibleActionFail with every problem.

        A source that can't be fetched is added to ``unfetched``.
        """
        found: dict[str, Origin] = {}
        problems = []
        for app in part.inputs["apps"]:
            if app["state"] != "present" or app["name"] in unfetched:
                continue
            try:
                found[app["name"]] = origin_of(app["source"], self.bases())
            except FetchError as error:
                unfetched[app["name"]] = str(error)
            except SourceError as error:
                problems.append(f"webapps '{app['name']}': {error}")
        if problems:
            raise AnsibleActionFail("\n".join([*problems, "Nothing on the host has changed."]))
        return found

    # Changes sent to the host

    def install_packages(self, model: plan.Model, look: Look, answer: dict[str, Any]) -> None:
        """Install the missing packages, but do not start their services before they are configured."""
        wanted = plan.wanted_packages(self.roles, model, look.certificate_packages)
        missing = sorted(set(wanted) - set(look.facts["packages"]))
        if not missing:
            return
        result = self.install(missing, False, self.task_vars)
        if result.get("failed"):
            raise Refused(result)
        answer["changed"] = True
        answer["parts"]["packages"] = {"changed": True, "installed": missing}
        look.facts["packages"] = sorted({*look.facts["packages"], *missing})

    def prepared(self, due: list[tuple[plan.Part, str]], model: plan.Model, alone: bool) -> list[tuple[plan.Part, str]]:
        """Render the templates of the parts, and add the owner and the activations, which do not affect the keys."""
        found = []
        for part, key in due:
            ready = sending.rendered(part, self.render)
            if part.role == "webapp":
                switches = plan.switches(self.roles, model) if alone else []
                timing = {**self.of_this_run(model.facts), "activations": switches}
                ready = plan.Part(part.role, {**ready.inputs, **timing}, ready.secrets)
            found.append((ready, key))
        return found

    def render(self, role: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The templates of a role, rendered with their own variables only."""
        lookup = lookup_loader.get("pyweb.stack.templates", loader=self._loader, templar=self._templar)
        rendered: list[dict[str, Any]] = lookup.run(items, {"ansible_search_path": [str(ROLES / role)]})
        return rendered

    def activate(self, apps: list[dict[str, Any]], root: str, **more: Any) -> dict[str, Any]:
        arguments = {"apps": apps, "root": root, "owner": deployer(), **self.flags("end_lost_command"), **more}
        return self._execute_module("pyweb.stack.webapp_activate", module_args=arguments, task_vars=self.task_vars)

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
        if not answer.get("failed"):
            host = self.task_vars["inventory_hostname"]
            answer["apps"] = checked_builds(answer["apps"], [app["name"] for app in look.apps], host)
        if alone or self._task.check_mode or answer.get("failed"):
            return {}
        pending: dict[str, Any] = {"certificates": bool(answer["parts"].get("nginx", {}).get("due"))}
        return {**pending, "stamp": webapp.get("stamp", {})}

    def deployment(self, look: Look, answer: dict[str, Any], pending: dict[str, Any]) -> dict[str, Any]:
        """The values that the later stages need from this host."""
        # A host that reports applications of others would become the one that runs their release commands.
        declared = {app["name"] for app in look.apps if app["state"] == "present"}
        deployment: dict[str, Any] = {"apps": [app for app in answer["apps"] if app["name"] in declared], **pending}
        if pending:
            model = self.model(look)
            deployment["root"] = model.webapp["webapp_root"]
            deployment["switch"] = plan.decided_switches(self.roles, model, answer["apps"])
        return deployment

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.task_vars.get("ansible_facts", {}).get("pyweb", {})
        return facts

    def deployment_of(self, host: str) -> dict[str, Any]:
        """The result of the stage deploy on a host of this play.

        It is a registered variable, because a fact cache could hold the result of another run.
        """
        found = self.stages_of(host)["deploy"].get("deployment")
        return found if isinstance(found, dict) else {}

    def stages_of(self, host: str) -> dict[str, dict[str, Any]]:
        """The results of the stages on a host of this play; empty if its task registers none."""
        known = self.task_vars["hostvars"][host]
        found = {stage: known.get(name) for stage, name in REGISTERED_NAMES.items()}
        return {stage: result if isinstance(result, dict) else {} for stage, result in found.items()}
