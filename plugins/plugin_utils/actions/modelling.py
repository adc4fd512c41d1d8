# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The look at the host, and the model of its desired state."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import answer_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import (
    Look,
    Refused,
    failed,
    nginx_settings,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.python_archives import ArchivesAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import host as plan
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import parts as sending
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.publishing import part as published
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import FetchError, SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin, origin_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import ROLES, role_options


class ModelAction(ArchivesAction):
    """An action that makes the plan of a host."""

    roles: list[str]

    def look_for_roles(self, is_fleet: bool = False) -> Look:
        """Look at the host. ``is_fleet`` asks for what only a run with several hosts needs."""
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
            "fleet": is_fleet,
        }
        return self.look(arguments, inputs)

    def look_again(self, unfetched: dict[str, str], commits: dict[str, dict[str, str]]) -> Look:
        """The look of an earlier stage of this run. The inventory is read again, but the host is not asked.

        ``commits`` are those that all hosts deploy.
        """
        inputs = self.given_inputs()
        webapp = self.complete_inputs("webapp", inputs)
        arguments = {"root": webapp["webapp_root"], "keep_releases": webapp["webapp_keep_releases"]}
        look = self.check_inventory(arguments, inputs)
        look.unfetched = dict(unfetched)
        look.answer = {"ansible_facts": {"pyweb": {**self.task_vars["ansible_facts"]["pyweb"], "sources": commits}}}
        return look

    def missing_packages(self, model: plan.Model, look: Look) -> list[str]:
        """The Debian packages that the host lacks."""
        wanted = plan.wanted_packages(self.roles, model, look.certificate_packages)
        return sorted(set(wanted) - set(look.facts["packages"]))

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
        host = str(self.task_vars.get("inventory_hostname", "the host"))
        for part in [*plan.host_plan(self.roles, model), *published.parts(self.roles, model, host)]:
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
