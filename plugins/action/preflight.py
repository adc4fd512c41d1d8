# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check everything that can be checked before a host is touched, and report all of it at once."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible.errors import AnsibleError
from ansible.release import __version__
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.ahead import Ahead, connect, pack
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction, checked_facts
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.preload import preload
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variable import resolved_webapps
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked_with_applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.given import folders, pem, with_texts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates, packages
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.mapping import nginx_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.obstacles import Wanted, host_problems, ports_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.source_folders import folder_problems, required_python
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import (
    app_problems,
    core_problems,
    keep_problems,
    validated,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import is_inside
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import pin
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import find_folder
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import (
    input_problems,
    misspelt_inputs,
    single_inputs,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options

preload()

UNCHANGED = "Nothing on the host has changed."


class ActionModule(HostAction):
    """The controller's half of preflight."""

    returns = frozenset({"ansible_facts"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        builds = bool(arguments.pop("sources", True))
        root = str(arguments.get("root", "/srv/webapps"))
        webapps, problems = arguments.pop("webapps", None), []
        if webapps is None:
            webapps, problems = resolved_webapps(task_vars, self._templar.template)
        if problems:
            return failed(problems)
        own_sites = self.own_sites(task_vars) if builds else []
        apps, problems = validated(webapps, root, self.nginx_settings(task_vars), own_sites)
        served = apps.present
        name, required = str(arguments.pop("app", "") or ""), bool(arguments.pop("app_required", False))
        problems = problems or app_problems([app["name"] for app in apps], name, required=required)
        problems += core_problems(__version__) + misspelt_inputs(task_vars) + self.wrong_inputs(task_vars)
        problems = problems or keep_problems(arguments.get("keep_releases", 5))
        given, wrong = self.given_certificates(apps, own_sites, task_vars) if not problems else ([], [])
        problems += wrong
        requires_python: dict[str, str] = {}
        settled: dict[str, dict[str, str]] = {}
        if not problems and builds:
            more, requires_python, settled = self.look_at_sources(served, task_vars)
            problems += more
        if problems:
            return failed(problems)
        arguments["packages"] = [*arguments.get("packages", []), *packages(webapps), *packages(own_sites)]
        arguments["ports"] = sorted({port for app in served for port in ports_of(app).values()})
        arguments["certificates"] = [item for item in given if item["certificate_path"]]
        arguments["names"] = [app["name"] for app in served]
        arguments["interpreters"] = sorted({app["python"]["interpreter"] for app in served})
        result = self.look_at_host(arguments, task_vars, ["pyweb.stack.webapp_release"] if builds else [])
        if result.get("failed"):
            return result
        wanted = Wanted(
            served,
            process_manager=arguments.get("process_manager", "auto"),
            packages=arguments["packages"],
            builds=builds,
            requires_python=requires_python,
        )
        result["ansible_facts"]["pyweb"]["sources"] = settled
        problems = host_problems(wanted, result["ansible_facts"]["pyweb"])
        return failed(problems) if problems else result

    def look_at_host(
        self, arguments: dict[str, Any], task_vars: dict[str, Any], following: list[str]
    ) -> dict[str, Any]:
        """The host's half, and by how much its clock differs. ``following`` are modules that a later task will need."""
        try:
            with Ahead(lambda: connect(self._connection)):
                pack("pyweb.stack.preflight", task_vars, self._templar)
            with Ahead(lambda: [pack(name, task_vars, self._templar) for name in following]):
                before = time.time()
                result = self._execute_module(
                    module_name="pyweb.stack.preflight", module_args=arguments, task_vars=task_vars
                )
                after = time.time()
        except AnsibleError as error:
            if "sudo password" in str(error) or "become password" in str(error):
                account = task_vars.get("ansible_user") or "that Ansible logs in as"
                return failed([sudo_problem(str(account), task_vars.get("inventory_hostname", "the host"))])
            raise
        found = result.pop("ansible_facts", None)
        if not result.get("failed"):
            host = str(task_vars.get("inventory_hostname", "the host"))
            facts = checked_facts(found.get("pyweb") if isinstance(found, dict) else None, host)
            result["ansible_facts"] = {"pyweb": facts}
            if self._discovered_interpreter_key:
                result["ansible_facts"][self._discovered_interpreter_key] = self._discovered_interpreter
            facts["ahead"] = min(facts["time"] - before, 0) + max(facts["time"] - after, 0)
        return result

    def wrong_inputs(self, task_vars: dict[str, Any]) -> list[str]:
        """What is wrong with inputs of the roles, other than the applications."""
        names = [name for name in single_inputs() if name in task_vars]
        return input_problems({name: self._templar.template(task_vars[name]) for name in names})

    def nginx_settings(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The inputs of the role nginx that all sites share."""
        names = [name for name, spec in role_options("nginx").items() if spec.get("elements") != "dict"]
        return {
            name.removeprefix("nginx_"): self._templar.template(task_vars[name]) for name in names if name in task_vars
        }

    def own_sites(self, task_vars: dict[str, Any]) -> Any:
        """The sites of the role nginx that the site playbook serves beside those of the applications."""
        sites = self._templar.template(task_vars["nginx_sites"]) if "nginx_sites" in task_vars else None
        return [] if sites is None else sites

    def given_certificates(
        self, apps: list[dict[str, Any]], own_sites: list[dict[str, Any]], task_vars: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """The certificates of all sites, and what is wrong with those that are on the controller."""
        places = folders(task_vars, self._loader)
        sites = checked_with_applications(own_sites, {}, nginx_sites(apps))[0]
        return with_texts(certificates(sites), lambda value: pem(value, places, self._loader))

    def look_at_sources(
        self, apps: list[dict[str, Any]], task_vars: dict[str, Any]
    ) -> tuple[list[str], dict[str, str], dict[str, dict[str, str]]]:
        """What is wrong with the sources, which Python they want, and what is settled of them."""
        problems: list[str] = []
        requires_python: dict[str, str] = {}
        settled: dict[str, dict[str, str]] = {}
        bases = [
            str(base) for base in (task_vars.get("inventory_dir"), self._loader.get_basedir(), os.getcwd()) if base
        ]
        servers = self._templar.template(
            task_vars.get("webapp_server_requirements", role_options("webapp")["webapp_server_requirements"]["default"])
        )
        for app in apps:
            try:
                settled[app["name"]] = pin(app["source"], bases)
                if app["source"].get("path"):
                    root = find_folder(app["source"]["path"], bases)
                    problems += folder_problems(app, root, servers)
                    project = root / app["source"]["subdir"] / "pyproject.toml"
                    requires_python[app["name"]] = required_python(project) if is_inside(root, project) else ""
            except SourceError as error:
                problems.append(f"webapps '{app['name']}': {error}")
        return problems, requires_python, settled


def sudo_problem(account: str, host: str) -> str:
    return (
        f"the account '{account}' may not become root on {host} without a password. Let sudo ask you for it "
        f"(--ask-become-pass), or allow it there: echo '{account} ALL=(ALL) NOPASSWD: ALL' | sudo tee "
        f"/etc/sudoers.d/{account}; an account that may not use sudo at all can't deploy."
    )


def failed(problems: list[str]) -> dict[str, Any]:
    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    listed = "\n".join(f"- {problem}" for problem in problems)
    return {
        "failed": True,
        "msg": f"{count} found before anything was changed:\n{listed}\n{UNCHANGED}",
    }
