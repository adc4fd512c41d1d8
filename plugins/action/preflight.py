# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check everything that can be checked before a host is touched, and report all of it at once."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.pyweb.stack.plugins.plugin_utils.mapping import nginx_sites, resolved_process_manager
from ansible_collections.pyweb.stack.plugins.plugin_utils.model import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import SourceError, resolve
from ansible_collections.pyweb.stack.plugins.plugin_utils.spec import ROLES, Checker, nearest, role_options

# What the tests run on.
SUPPORTED = {("debian", "12"), ("debian", "13")}

UNCHANGED = "Nothing on the host has changed."


class ActionModule(ActionBase):
    """The controller's half of preflight."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        webapps = arguments.pop("webapps", [])
        apps, problems = normalised(webapps)
        problems += misspelt_inputs(task_vars) + self.wrong_inputs(task_vars)
        if not problems and arguments.pop("sources", True):
            problems += self.missing_sources(apps, task_vars)
        if not problems:
            # Whatever the model lets pass, the role nginx has the last word on its sites.
            problems += checked(nginx_sites(webapps), self.nginx_settings(task_vars))[2]
        keep = arguments.get("keep_releases", 5)
        if not problems and int(keep) < 2:
            problems.append(
                f"webapp_keep_releases: {keep} is too few. Keep at least 2: the live release and one to go back to."
            )
        if problems:
            return failed(problems)
        arguments.pop("sources", None)
        served = [app for app in apps if app["state"] == "present"]
        arguments["ports"] = sorted({app["site"]["port"] for app in served})
        result = self._execute_module(module_name="pyweb.stack.preflight", module_args=arguments, task_vars=task_vars)
        if result.get("failed"):
            return result
        problems = host_problems(served, result["ansible_facts"]["pyweb"], arguments.get("process_manager", "auto"))
        return {**result, **failed(problems)} if problems else result

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

    def missing_sources(self, apps: list[dict[str, Any]], task_vars: dict[str, Any]) -> list[str]:
        """Folders of the controller that are not there, or lack what the model says of them."""
        problems = []
        bases = [
            str(base) for base in (task_vars.get("inventory_dir"), self._loader.get_basedir(), os.getcwd()) if base
        ]
        for app in apps:
            path = (app["source"] or {}).get("path")
            if app["state"] != "present" or not path:
                continue
            try:
                folder = resolve(path, bases)
            except SourceError as error:
                problems.append(f"webapps '{app['name']}': {error}")
                continue
            subdir = app["source"]["subdir"]
            if subdir and not (folder / subdir).is_dir():
                problems.append(f"webapps '{app['name']}'.source.subdir: '{subdir}' is not a folder in {folder}.")
                continue
            for name in app["python"]["requirements"] or []:
                if not (folder / subdir / name).is_file():
                    problems.append(
                        f"webapps '{app['name']}'.python.requirements: '{name}' is not a file in {folder / subdir}."
                    )
        return problems


def failed(problems: list[str]) -> dict[str, Any]:
    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    listed = "\n".join(f"- {problem}" for problem in problems)
    return {
        "failed": True,
        "msg": f"{count} found before anything was changed:\n{listed}\n{UNCHANGED}",
        "problems": problems,
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
    if "webapp" in task_vars and "webapps" not in task_vars:
        problems.append("the variable 'webapp' is no input. Did you mean 'webapps'?")
    return problems


def host_problems(apps: list[dict[str, Any]], facts: dict[str, Any], process_manager: str) -> list[str]:
    """What on the host stands in the way."""
    problems = []
    found = facts["distribution"]
    if (found["id"], found["version"].split(".")[0]) not in SUPPORTED:
        problems.append(
            f"the host runs {found['id'] or 'an unknown system'} {found['version']}, but Debian 12 and 13 are what "
            "this collection is tested on. Use one of them."
        )
    if not facts["root"]:
        problems.append("the tasks don't run as root on the host. Set become: true, and give the account sudo.")
    for app in apps:
        if resolved_process_manager(app, process_manager, facts) == "systemd" and facts["init"] != "systemd":
            problems.append(
                f"webapps '{app['name']}'.process_manager: systemd is named, but it is not PID 1 on this host. Use "
                "supervisor, or auto."
            )
        if facts["init"] != "systemd":
            problems += [
                f"webapps '{app['name']}'.jobs '{job['name']}'.catch_up: cron, which runs jobs on this host, forgets "
                "what it missed. Set it to false here; only systemd makes up for it."
                for job in app["jobs"]
                if job["catch_up"]
            ]
        for listener in facts["listeners"]:
            if listener["port"] == app["site"]["port"] and listener["program"] != "nginx":
                problems.append(
                    f"webapps '{app['name']}'.site.port: port {listener['port']} is taken by "
                    f"{listener['program'] or 'another program'} "
                    f"(process {listener['pid']}, on {listener['address']}). Stop it, or choose another port."
                )
    return problems
