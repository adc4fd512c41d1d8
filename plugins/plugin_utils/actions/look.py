# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The first step of a run: check the inventory, look at the host in one trip, check the host."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import printable
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import Request
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import becoming, orphaned, own_runs
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.ahead import Ahead, connect, pack
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.balancers import balancers_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.busy import after_first_boot, tell_of_apt
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.flags import flag_problems, given_flags
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import (
    HostAction,
    answer_of,
    checked_facts,
    listed,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.people import deployer
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.preload import preload
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.progress import progress
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.addresses import AddressError
from ansible_collections.pyweb.stack.plugins.plugin_utils.draining.choice import drained_notice
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.cut_connections import cut_connections
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.unused import unused_settings
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variable import resolved_webapps
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import Applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.given import folders, part_of, pem, with_texts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates, packages
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import orphans
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.adopted import notices
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.containers import packages_of_containers
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.obstacles import Wanted, host_problems, ports_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.platforms import notices as platform_notices
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.source_folders import folder_problems, python_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import (
    app_problems,
    checked_inventory,
    keep_problems,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.publishing import site as publishing
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import has_environment, is_given, source_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.builds import RunOfBuilds
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import FetchError, SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import pin
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import find_folder
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import (
    input_problems,
    is_single,
    misspelt_inputs,
    role_names,
    typed,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options

preload()

display = Display()

UNCHANGED = "Nothing on the host has changed."

# The number of servers that are asked for sources at a time.
MOST_AT_A_TIME = 8


@dataclass
class Look:
    """The findings of a run about one host, before it changes anything.

    ``apps`` are all applications of the inventory, normalised, and ``inputs`` the inputs of the roles that are set.
    ``sites`` and ``settings`` are those of nginx, checked, ``certificates`` those of the sites, and ``own_sites`` the
    sites of the inventory beside those of the applications. ``unfetched`` holds the problem of each application whose
    source can't be fetched. ``expired`` holds fingerprint and problem of each expired certificate. ``answer`` is the
    task's result, with the host's facts.
    """

    apps: Applications
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    sites: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    certificates: list[dict[str, Any]] = field(default_factory=list)
    own_sites: list[dict[str, Any]] = field(default_factory=list)
    unfetched: dict[str, str] = field(default_factory=dict)
    expired: dict[str, tuple[str, str]] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of the applications that the host is to have."""
        return [app["name"] for app in self.apps if app["state"] == "present"]

    @property
    def certificate_packages(self) -> list[str]:
        """The Debian packages that make or fetch the certificates of the sites."""
        return packages([*self.apps, *self.own_sites])

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.answer["ansible_facts"]["pyweb"]
        return facts


class Refused(Exception):
    """The inventory or the host has problems; ``answer`` is the failed result of the task."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer.get("msg", ""))
        self.answer = answer


class LookAction(HostAction):
    """An action that begins with the look."""

    task_vars: dict[str, Any]
    # Whether an application whose source can't be fetched is left out. Otherwise, it is a problem like others.
    leaves_out = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        self.task_vars = task_vars or {}
        return super().run(tmp, task_vars)

    def check_inventory(
        self,
        arguments: dict[str, Any],
        inputs: dict[str, dict[str, Any]] | None = None,
    ) -> Look:
        """Check and normalise the inventory of one host; raises Refused with every problem."""
        builds = arguments.get("sources", True)
        root = str(arguments.get("root", "/srv/webapps"))
        webapps = arguments.get("webapps")
        problems: list[str] = []
        if webapps is None:
            webapps, problems = resolved_webapps(self.task_vars, self._templar.template)
        if problems:
            raise Refused(failed(problems))
        inputs = self.given_inputs() if inputs is None else inputs
        own_sites = given_sites = self.own_sites() if builds else []
        page = self.status_site(inputs) if builds else None
        if isinstance(own_sites, list):
            own_sites = [*own_sites, *publishing.status_sites(page)]
        apps, problems, sites, settings = checked_inventory(
            webapps, root, nginx_settings(inputs.get("nginx", {})), own_sites, own_port(inputs)
        )
        problems = publishing.problems(page, given_sites, sites, problems)
        look = Look(apps, inputs, sites, settings, own_sites=own_sites)
        for text in [*unused_settings(webapps, apps), *cut_connections(apps)] if apps and builds else ():
            display.warning(text)
        if builds and inputs.get("supervisor", {}).get("supervisor_daemon"):
            display.warning("supervisor_daemon: the site playbook does not apply it. Run the role supervisor alone.")
        name, required = str(arguments.get("app") or ""), bool(arguments.get("app_required"))
        if not (name and arguments.get("app_on_host")):
            problems = problems or app_problems([app["name"] for app in apps], name, required=required)
        problems += misspelt_inputs(self.task_vars)
        problems += flag_problems(self.task_vars, self._templar.template, [app["name"] for app in apps])
        problems += input_problems({name: value for given in inputs.values() for name, value in given.items()})
        problems = problems or keep_problems(arguments.get("keep_releases", 5))
        if not problems:
            names = [app["name"] for app in apps]
            look.certificates, problems = with_texts(certificates(look.sites), self.pem, names, look.expired)
        if problems:
            raise Refused(failed(problems))
        return look

    def pem(self, value: str, kind: str = "any") -> str:
        """The text of a certificate or key that is one, or that is the path of a file of the controller."""
        return part_of(pem(value, folders(self.task_vars, self._loader), self._loader), kind)

    def look(
        self,
        arguments: dict[str, Any],
        inputs: dict[str, dict[str, Any]] | None = None,
    ) -> Look:
        """Check the inventory, then ask the host, then check its answer; raises Refused."""
        look = self.check_inventory(arguments, inputs)
        builds = arguments.get("sources", True)
        served = [app for app in look.apps if app["state"] == "present"]
        requests: dict[str, Request] = {}
        commits: dict[str, dict[str, str]] = {}
        if builds:
            problems, requests, commits = self.look_at_sources(served, look)
            if not self.leaves_out:
                problems += look.unfetched.values()
            if problems:
                raise Refused(failed(problems))
        module_arguments: dict[str, Any] = {
            "packages": [*arguments.get("packages", []), *look.certificate_packages, *packages_of_containers(served)],
            "ports": sorted({port for app in served for port in ports_of(app).values()}),
            "certificates": [item for item in look.certificates if item["certificate_path"]],
            "names": [app["name"] for app in served],
            "known": [app["name"] for app in look.apps],
            "interpreters": sorted({app["python"]["interpreter"] or "python3" for app in served}),
            "expired": {name: one for name, (one, _problem) in look.expired.items()},
            **{name: arguments[name] for name in ("uv_home", "pythons", "root", "fleet") if name in arguments},
        }
        look.answer = self.look_at_host(module_arguments)
        if look.answer.get("failed"):
            raise Refused(look.answer)
        wanted = Wanted(
            served,
            process_manager=arguments.get("process_manager", "auto"),
            packages=module_arguments["packages"],
            builds=builds,
            requires_python={name: request.requires for name, request in requests.items()},
            python_versions={name: request.version for name, request in requests.items()},
        )
        look.facts["sources"] = commits
        look.facts["balancers"] = {"balancers": look.settings["balancers"], "port": own_port(look.inputs)}
        foreign = orphaned.foreign_applications(self.task_vars, self._templar.template)
        look.facts["orphans"] = orphans.checked(look.facts["orphans"], foreign)
        # A run that brings an expired certificate is refused. One that is deployed already only causes a warning.
        brought = look.expired.keys() - {*look.facts["deployed_certificates"]} if builds else ()
        problems = [look.expired[name][1] for name in sorted(brought)]
        page = self.status_site(look.inputs) if builds else None
        problems += publishing.host_problems(page, look.facts)
        if problems := [*problems, *host_problems(wanted, look.facts)]:
            raise Refused(failed(problems))
        if builds:
            self.tell_of_orphans(look, served)
        if builds:
            host = str(self.task_vars.get("inventory_hostname", "the host"))
            tell_of_apt(host, look.facts, module_arguments["packages"])
            texts = [*platform_notices(served, look.facts), *notices(served, look.facts["handmade"])]
            for text in texts:
                display.warning(printable(text))
            if text := drained_notice(host, look.facts["drained"]):
                display.warning(text)
        return look

    def tell_of_orphans(self, look: Look, served: list[dict[str, Any]]) -> None:
        """Refuse a conflict with applications that only the host knows. Warn of them, unless a later stage does."""
        sites = look.sites if "nginx" in getattr(self, "roles", ("nginx",)) else []
        if problems := orphans.conflicts(served, sites, look.facts["orphans"]):
            raise Refused(failed(problems))
        if not getattr(self, "later", False):
            orphaned.warn(look.facts, self.task_vars)

    def look_at_host(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The host's half, and by how much its clock differs."""
        host = str(self.task_vars.get("inventory_hostname", "the host"))
        try:
            with Ahead(lambda: connect(self._connection)):
                pack("pyweb.stack.preflight", self.task_vars, self._templar)
            times: list[float] = []

            def ask() -> dict[str, Any]:
                times[:] = [time.time()]
                # As it comes, for the facts are checked below.
                answer = ActionBase._execute_module(self, "pyweb.stack.preflight", arguments, task_vars=self.task_vars)
                times.append(time.time())
                return dict(answer)

            answer = after_first_boot(ask, host)
            before, after = times
        except AnsibleError as error:
            if "sudo password" in str(error) or "become password" in str(error):
                account = self.task_vars.get("ansible_user") or "that Ansible logs in as"
                return failed([becoming.sudo_problem(str(account), host)])
            if "privilege escalation prompt" in str(error):
                return failed([becoming.PROMPT.format(host=host)])
            raise
        if problem := becoming.become_problem(str(answer.get("module_stderr", "")), host):
            return failed([problem])
        found = answer.get("ansible_facts")
        result = answer_of(answer, ())
        if not result.get("failed"):
            facts = checked_facts(found.get("pyweb") if isinstance(found, dict) else None, host)
            result["ansible_facts"] = {"pyweb": facts}
            if self._discovered_interpreter_key:
                result["ansible_facts"][self._discovered_interpreter_key] = self._discovered_interpreter
            facts["ahead"] = min(facts["time"] - before, 0) + max(facts["time"] - after, 0)
        return result

    def given_inputs(self) -> dict[str, dict[str, Any]]:
        """The inputs that are set, by role, with their templates resolved.

        Without the lists of items: those are made from the applications, and their roles' own filters check them.
        """
        found: dict[str, dict[str, Any]] = {
            role: {
                name: typed(self._templar.template(self.task_vars[name]), spec)
                for name, spec in role_options(role).items()
                if name in self.task_vars and is_single(name, spec)
            }
            for role in role_names()
        }
        if found["nginx"].get("nginx_balancers") is None:
            found["nginx"]["nginx_balancers"] = self.balancers()
        return found

    def balancers(self) -> list[str]:
        """The addresses of the hosts in the group balancer; raises Refused."""
        try:
            return balancers_of(self.task_vars, self._templar.template)
        except AddressError as error:
            raise Refused(failed(str(error).split("\n"))) from None

    def flags(self, *names: str) -> dict[str, bool]:
        """The variables of the command line that differ from their defaults."""
        return given_flags(self.task_vars, self._templar.template, *names)

    def of_this_run(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Inputs of a deployment that no key of a part covers: the user, the flags, and the live releases seen."""
        flags = self.flags("release_hold", "end_lost_command")
        own_runs.record(self.play)
        return {"owner": deployer(), "seen": facts["releases"], "ended_runs": own_runs.ended(), **flags}

    def own_sites(self) -> Any:
        """The sites of the role nginx that the site playbook serves beside those of the applications."""
        sites = self._templar.template(self.task_vars["nginx_sites"]) if "nginx_sites" in self.task_vars else None
        return [] if sites is None else sites

    def status_site(self, inputs: dict[str, dict[str, Any]]) -> Any:
        """The site on which the host publishes its status page. It needs the roles nginx and webapp."""
        takes_part = {"nginx", "webapp"} <= {*getattr(self, "roles", ("nginx", "webapp"))}
        return inputs.get("webapp", {}).get(publishing.VARIABLE) if takes_part else None

    def bases(self) -> list[str]:
        """The folders that relative paths of sources start from."""
        return [
            str(base) for base in (self.task_vars.get("inventory_dir"), self._loader.get_basedir(), os.getcwd()) if base
        ]

    def look_at_sources(
        self, apps: list[dict[str, Any]], look: Look
    ) -> tuple[list[str], dict[str, Request], dict[str, dict[str, str]]]:
        """The problems of the sources, the Python versions they require, and the commits that versions stand for.

        A source that can't be fetched is added to the ``unfetched`` ones of the look.
        """
        problems: list[str] = []
        requests: dict[str, Request] = {}
        commits: dict[str, dict[str, str]] = {}
        bases = self.bases()
        # Side by side: one server that does not answer takes as long as ten of them.
        host = str(self.task_vars.get("inventory_hostname", "the host"))
        # A run that upgrades packages upgrades those of images, too.
        renews = bool(look.inputs.get("webapp", {}).get("webapp_upgrade_packages"))
        run = RunOfBuilds(self.play, renews, bool(self._task.check_mode))
        what = "asking the servers of the sources"
        if any(app["source"].get("containerfile") or has_environment(app) for app in apps):
            what += " and building images"
        with progress(host, what), ThreadPoolExecutor(MOST_AT_A_TIME) as pool:
            pins = {app["name"]: pool.submit(pin, source_of(app), bases, run) for app in apps}
        servers = self._templar.template(
            self.task_vars.get(
                "webapp_server_requirements", role_options("webapp")["webapp_server_requirements"]["default"]
            )
        )
        for app in apps:
            try:
                commits[app["name"]] = pins[app["name"]].result()
                if app["source"].get("path") and not is_given(app["source"]):
                    root = find_folder(app["source"]["path"], bases)
                    problems += folder_problems(app, root, servers)
                    requests[app["name"]] = python_of(app, root)
            except FetchError as error:
                look.unfetched[app["name"]] = str(error)
            except SourceError as error:
                problems.append(f"webapps '{app['name']}': {error}")
        return problems, requests, commits


def nginx_settings(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of the role nginx that all sites share, without their prefix."""
    return {name.removeprefix("nginx_"): value for name, value in inputs.items()}


def own_port(inputs: dict[str, dict[str, Any]]) -> int | None:
    """The port on which the host serves balancers, if it is another one than visitors use."""
    port = inputs.get("balancer", {}).get("balancer_port")
    return int(port) if isinstance(port, int) and port else None


def failed(problems: list[str]) -> dict[str, Any]:
    """The failed result of a task that found these problems."""
    return {"failed": True, "msg": f"{listed(problems, 'found before anything was changed')}\n{UNCHANGED}"}
