# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check everything that can be checked before a host is touched, and report all of it at once."""

from __future__ import annotations

import os
import re
import time
import tomllib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.release import __version__
from ansible_collections.pyweb.stack.plugins.module_utils.release import requirements
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.ahead import Ahead, connect, pack
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction, checked_facts
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.preload import preload
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variable import resolved_webapps
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked_with_applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.given import folders, pem, with_texts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates, packages
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.mapping import nginx_sites, server_packages, unknown_app
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.obstacles import Wanted, host_problems, ports_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import SourceError, is_inside, resolve
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import settle
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import ROLES, Checker, nearest, role_options

preload()

# What nginx takes as a path without quotes.
ROOT = re.compile(r"(/[A-Za-z0-9._+-]+)+/?")
# Bytes; the kernel's sun_path holds 108, and a zero ends it.
SOCKET_BYTES = 107

UNCHANGED = "Nothing on the host has changed."


# The oldest ansible-core that this collection runs on.
OLDEST_CORE = (2, 19)


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
        served, problems = model_problems(webapps, root, self.nginx_settings(task_vars), own_sites)
        problems = problems or app_problems([app["name"] for app in webapps], arguments)
        problems += core_problems(__version__) + misspelt_inputs(task_vars) + self.wrong_inputs(task_vars)
        problems = problems or keep_problems(arguments.get("keep_releases", 5))
        given, wrong = self.given_certificates(webapps, own_sites, task_vars) if not problems else ([], [])
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
        """Inputs of the roles, other than the applications, that are not of the type their role wants."""
        checker = Checker()
        for role in role_names():
            for name, spec in role_options(role).items():
                # The lists of items are made from the applications, and their roles' own filters check them.
                if name in task_vars and spec.get("elements") != "dict":
                    checker.choice(checker.value(self._templar.template(task_vars[name]), spec, name), spec, name)
        return checker.problems

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
        self, webapps: Any, own_sites: list[dict[str, Any]], task_vars: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """The certificates of all sites, and what is wrong with those that are on the controller."""
        places = folders(task_vars, self._loader)
        sites = checked_with_applications(own_sites, {}, nginx_sites(webapps))[0]
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
                settled[app["name"]] = settle(app["source"], bases)
                if app["source"].get("path"):
                    root = resolve(app["source"]["path"], bases)
                    problems += folder_problems(app, root, servers)
                    project = root / app["source"]["subdir"] / "pyproject.toml"
                    requires_python[app["name"]] = python_of(project) if is_inside(root, project) else ""
            except SourceError as error:
                problems.append(f"webapps '{app['name']}': {error}")
        return problems, requires_python, settled


def folder_problems(app: dict[str, Any], folder: Path, servers: dict[str, Any] | None = None) -> list[str]:
    """What an application names in its source, a folder of the controller, and that is not there.

    ``servers`` are the requirements that bring the app servers.
    """
    subdir = app["source"]["subdir"]
    if subdir and not (folder / subdir).is_dir():
        return [f"webapps '{app['name']}'.source.subdir: '{subdir}' is not a folder in {folder}."]
    root = folder / subdir
    return (
        dependency_problems(app, root, folder, servers or {})
        + [
            f"webapps '{app['name']}'.python.requirements: '{name}' is not a file in {root}."
            for name in app["python"]["requirements"] or []
            if not (root / name).is_file()
        ]
        + [
            f"webapps '{app['name']}'.site.static '{item['url']}': '{item['path']}' is not a folder in {root}."
            f"{same_name(root, item['path'])} If a command makes it: that is one of commands.build."
            for item in app["site"]["static"]
            if not (
                app["commands"]["build"] or is_shared(item["path"], app["shared"]) or (root / item["path"]).is_dir()
            )
        ]
    )


def dependency_problems(app: dict[str, Any], root: Path, folder: Path, servers: dict[str, Any]) -> list[str]:
    """Locks that would be ignored, and an app server that is pinned too low."""
    where = f"webapps '{app['name']}'.python"
    problem = requirements.ignored(str(root), str(folder), app["python"]["requirements"])
    if problem:
        return [f"{where}: {problem}"]
    files = app["python"]["requirements"]
    files = [requirements.automatic(str(root), str(folder))] if files is None else files
    for server in server_packages(app, servers)[:1]:
        problem = requirements.pinned_too_old(str(root), files, app["python"]["packages"], server)
    return [f"{where}: {problem}"] if problem else []


def is_shared(path: str, shared: list[str]) -> bool:
    """Whether a folder is, or lies in, one that outlives releases: that one is made on the host."""
    return any(f"{path.strip('/')}/".startswith(f"{folder.strip('/')}/") for folder in shared)


def same_name(root: Path, path: str) -> str:
    """A question that offers a folder which lies elsewhere, not too deep."""
    name = Path(path).name
    found = sorted(place for depth in ("*", "*/*", "*/*/*") for place in root.glob(f"{depth}/{name}") if place.is_dir())
    return f" Did you mean '{found[0].relative_to(root)}'?" if found and name else ""


def python_of(path: Path) -> str:
    """What a pyproject.toml says of the Python that it wants; empty where it says nothing that can be read."""
    try:
        with open(path, "rb") as stream:
            project = tomllib.load(stream).get("project", {})
    except (OSError, tomllib.TOMLDecodeError):
        return ""
    return str(project.get("requires-python", "")) if isinstance(project, dict) else ""


def model_problems(
    webapps: Any, root: str, settings: dict[str, Any], own_sites: Any = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """The applications that are to serve, and what the controller alone can tell to be wrong with them."""
    apps, problems = normalised(webapps)
    if problems:
        return [], problems
    served = [app for app in apps if app["state"] == "present"]
    # Whatever the model lets pass, the role nginx has the last word on its sites.
    return served, root_problems(served, root) or checked_with_applications(
        [] if own_sites is None else own_sites, settings, nginx_sites(webapps, root)
    )[2]


def app_problems(names: list[str], arguments: dict[str, Any]) -> list[str]:
    """A run that is for one application, and does not name one of this host."""
    name, required = str(arguments.pop("app", "") or ""), bool(arguments.pop("app_required", False))
    if name in names or not (name or required):
        return []
    return [unknown_app(name, names)]


def core_problems(version: str) -> list[str]:
    """An ansible-core that is too old."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers >= OLDEST_CORE:
        return []
    wanted = ".".join(map(str, OLDEST_CORE))
    return [
        f"this is ansible-core {version}, but {wanted} is the oldest that this collection runs on. Install a newer "
        f"one, such as: pip install 'ansible-core>={wanted}'"
    ]


def keep_problems(keep: Any) -> list[str]:
    if int(keep) >= 2:
        return []
    return [f"webapp_keep_releases: {keep} is too few. Keep at least 2: the live release and one to go back to."]


def root_problems(apps: list[dict[str, Any]], root: str) -> list[str]:
    """A folder of the applications that nginx could not reach their sockets in."""
    if not ROOT.fullmatch(root):
        return [
            f"webapp_root: '{root}' can't be the folder of the applications. Give an absolute path of letters, digits "
            "and '._+-', such as /srv/webapps."
        ]
    problems = []
    for app in apps:
        path = f"{root}/{app['name']}/current.sock"
        if len(path) > SOCKET_BYTES:
            problems.append(
                f"webapps '{app['name']}': the path of its socket, {path}, has {len(path)} characters, but the kernel "
                f"takes {SOCKET_BYTES}. Use a shorter name or a shorter webapp_root."
            )
    return problems


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


def role_names() -> list[str]:
    return sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def misspelt_inputs(task_vars: dict[str, Any]) -> list[str]:
    """Variables that look like an input of one of the roles, but are none: Ansible itself lets them pass unnoticed."""
    problems = []
    for role in role_names():
        known = list(role_options(role))
        for name in task_vars:
            if name.startswith(f"{role}_") and name not in known:
                # Close, so that a variable of the user's own, such as python_version, passes.
                hint = nearest(name, known, cutoff=0.93)
                if hint:
                    problems.append(f"the variable '{name}' is no input of the role {role}.{hint}")
    return problems
