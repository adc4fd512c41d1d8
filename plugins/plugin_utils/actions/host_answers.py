# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The answer of a managed host is untrusted on the controller: it sets no input, and only named keys are passed on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, TypeGuard

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.release import __version__
from ansible.vars.plugins import get_vars_from_inventory_sources, get_vars_from_path
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import (
    one_line,
    printable,
    printable_data,
    redacted,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.bytecode import with_bytecode
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.progress import doing, progress
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.requirements import (
    core_problems,
    mitogen_problem,
    root_problem,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.short_failures import with_short_failures
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import ROLES, role_options

# Inputs of the playbooks that no role has.
PLAYBOOK_INPUTS = frozenset(
    {"webapps", "app", "release", "command", "confirm", "purge", "maintenance", "allow", "retry_after", "page", "lines"}
    | {"release_hold", "lift_hold", "revision", "end_lost_command", "since", "level", "request", "folder"}
    | {"drain", "timeout", "force", "batch", "roles", "tasks", "reboot", "reboot_timeout", "healthy"}
    | {"format", "to", "hours", "base", "front", "port"}
)

# Keys that any module may return. Ansible acts on others, such as add_host, add_group, ansible_stats and ansible_facts.
COMMON = frozenset(
    {"changed", "failed", "msg", "diff", "exception", "invocation", "warnings", "deprecations"}
    | {"module_stdout", "module_stderr", "_ansible_parsed"}
)
# Keys of Ansible's own that hold lists.
LISTS = frozenset({"warnings", "deprecations"})
# How many warnings of one answer are shown.
MOST_WARNINGS = 200

# The prefixes of the names of gathered facts.
PREFIXES = ("ansible_", "facter_", "ohai_")

# Variables of Ansible's own that hold other variables, and no templates of the inventory.
ANSIBLES = frozenset({"hostvars", "vars", "ansible_facts", "groups", "environment"})
NAME = re.compile(r"[A-Za-z_]\w*")

NUMBER = (int, float)
# The facts of the preflight, and of what type each is.
FACTS: dict[str, type | tuple[type, ...]] = {
    "distribution": dict,
    "platform": dict,
    "init": str,
    "cpus": int,
    "memory_bytes": int,
    "packages": list,
    "uv": str,
    "supervisor": bool,
    "timezone": str,
    "timers": bool,
    "root": bool,
    "listeners": list,
    "stamps": dict,
    "resolutions": dict,
    "revisions": dict,
    "releases": dict,
    "maintenance": dict,
    "clashes": dict,
    "interpreters": dict,
    "pythons": list,
    "provided_pythons": list,
    "disks": list,
    "time": NUMBER,
    "certificate_problems": list,
    "orphans": dict,
    "handmade": dict,
    "drained": dict,
    "deployed_certificates": list,
    "status_site": bool,
}


def input_names() -> set[str]:
    """All inputs of the roles and of the playbooks."""
    roles = [path.name for path in ROLES.iterdir() if path.is_dir()]
    return {name for role in roles for name in role_options(role)} | PLAYBOOK_INPUTS


def raw_facts(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """The host's facts as Ansible keeps them, with their prefix; without it where the cache can't be reached."""
    try:
        cache = variables["hostvars"]._variable_manager._fact_cache
        facts: Mapping[str, Any] = cache.get(variables["inventory_hostname"])
        return facts
    except (AttributeError, KeyError, TypeError):
        return variables.get("ansible_facts") or {}


def inventory_names(variables: Mapping[str, Any]) -> set[str]:
    """The variables that the inventory gives the host, in its files and in group_vars and host_vars beside them."""
    manager = variables["hostvars"]._variable_manager
    inventory, loader = manager._inventory, manager._loader
    host = inventory.get_host(variables["inventory_hostname"])
    entities = [*host.get_groups(), host]
    found = set(host.get_vars()) | {name for group in host.get_groups() for name in group.get_vars()}
    for stage in ("inventory", "task"):
        found |= set(get_vars_from_inventory_sources(loader, inventory._sources, entities, stage))
        found |= set(get_vars_from_path(loader, variables["playbook_dir"], entities, stage))
    return found


def shadowed(variables: Mapping[str, Any]) -> list[str]:
    """Inputs and variables of the inventory that facts have the names of, and so would replace."""
    # Only those without a prefix can have the name of an input.
    told = {str(name) for name in raw_facts(variables) if not str(name).startswith(PREFIXES)} - {"pyweb"}
    if not told:
        return []
    own = inventory_names(variables) if "hostvars" in variables else set()
    own |= template_names(variables, told)
    return sorted(name for name in told if name in input_names() or name in own or name.startswith("__"))


def template_names(variables: Mapping[str, Any], facts: set[str]) -> set[str]:
    """The words in the templates of all variables, such as ``shop_path`` in ``{{ shop_path | default('shop') }}``.

    Where the inventory does not define such a variable, a fact of its name would set it.
    """
    found: set[str] = set()
    left = [value for name, value in variables.items() if name not in facts | ANSIBLES]
    while left:
        value = left.pop()
        if isinstance(value, str):
            found |= set(NAME.findall(value)) if "{{" in value or "{%" in value else set()
        elif isinstance(value, Mapping):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple)):
            left += value
    return found


def shadow_problem(variables: Mapping[str, Any]) -> str:
    """The problem with the facts of a host; empty if no fact has the name of an input."""
    names = shadowed(variables)
    if not names:
        return ""
    host = variables.get("inventory_hostname", "the host")
    return (
        f"{host} reports facts that have the names of inputs: {', '.join(names)}. Facts can't set inputs, because a "
        "compromised host could then read files of the controller. Find the task or the fact script that reports "
        "them, remove it, clear the fact cache (--flush-cache), and set inputs in the inventory only."
    )


def checked_facts(found: Any, host: str) -> dict[str, Any]:
    """The preflight's facts: those that are known, each of its type."""
    if not isinstance(found, dict):
        raise AnsibleActionFail(
            f"{host} answered with facts of the wrong kind: pyweb is {type(found).__name__}. {REMEDY}"
        )
    for name, kinds in FACTS.items():
        value = found.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise AnsibleActionFail(
                f"{host} answered with facts of the wrong kind: pyweb.{name} is {type(value).__name__}. {REMEDY}"
            )
    return {name: shown(found[name]) for name in FACTS}


# The keys of a host's answer about an application that it has built, as far as later stages rely on them.
BUILD: dict[str, type | tuple[type, ...]] = {"name": str, "candidate": (str, type(None)), "action": str}


def checked_builds(found: Any, names: Iterable[str], host: str) -> list[dict[str, Any]]:
    """The builds of a host: one for each application at most, each key of its type."""
    known = set(names)
    builds = found if isinstance(found, list) else [found]
    for build in builds:
        right = isinstance(build, dict) and all(isinstance(build.get(key), kinds) for key, kinds in BUILD.items())
        if not right or build["name"] not in known:
            raise AnsibleActionFail(
                f"{host} answered with a build of the wrong kind: {one_line(str(build))[:200]}. {REMEDY}"
            )
        known.remove(build["name"])
    return builds


REMEDY = "Check the host: its Python or a module on it was changed. Nothing of the answer was used."


def shown(value: Any) -> Any:
    """Data of a host with all texts printable, because a terminal would act on others."""
    try:
        return printable_data(value)
    except ValueError as error:
        raise AnsibleActionFail(f"the host answered with {error}. {REMEDY}") from None


def answer_of(result: Mapping[str, Any], returns: Iterable[str], discovered: str | None = None) -> dict[str, Any]:
    """The part of a module's answer that is passed on; of its facts only the interpreter that Ansible found.

    All texts of it are printable.
    """
    known = COMMON | set(returns)
    answer: dict[str, Any] = {name: shown(value) for name, value in result.items() if name in known}
    for name in LISTS & set(answer):
        answer[name] = answer[name][:MOST_WARNINGS] if isinstance(answer[name], (list, tuple)) else []
    facts = result.get("ansible_facts")
    if discovered and isinstance(facts, Mapping) and discovered in facts:
        answer["ansible_facts"] = {discovered: shown(facts[discovered])}
    return answer


def listed(problems: list[str], where: str) -> str:
    """Problems as a message: their number, and a line for each."""
    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    return "\n".join([f"{count} {where}:", *(f"- {printable(redacted(problem))}" for problem in problems)])


class HostAction(ActionBase):
    """An action that runs a module and passes on what the module is known to return."""

    returns: frozenset[str] = frozenset()
    # The keys among these that a failed result has, too.
    kept_in_failures: frozenset[str] = frozenset()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "run" in vars(cls):
            cls.run = with_short_failures(cls.run)  # type: ignore[method-assign]

    @cached_property
    def play(self) -> str:
        """The play of this task. A variable may still hold the result of an earlier one."""
        return str(self._task.get_play()._uuid)

    def is_of_play(self, result: Any) -> TypeGuard[dict[str, Any]]:
        """Whether a variable holds the result of a task of this play. Results of Ansible's own do not say it."""
        return isinstance(result, dict) and result.get("play", self.play) == self.play

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        for problem in core_problems(__version__):
            raise AnsibleActionFail(problem)
        if problem := mitogen_problem(self):
            raise AnsibleActionFail(f"{problem} This task has changed nothing.")
        if problem := shadow_problem(variables):
            raise AnsibleActionFail(problem)
        # A module that lacks root finds causes that are none, such as a process that it may not end.
        host = str(variables.get("inventory_hostname", "the host"))
        if self._requires_connection and (problem := root_problem(self, host)):
            raise AnsibleActionFail(f"{problem} This task has changed nothing.")
        return result

    def _configure_module(self, *args: Any, **kwargs: Any) -> tuple[Any, str]:
        built, path = super()._configure_module(*args, **kwargs)
        return with_bytecode(built), path

    def _execute_module(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        module = str(args[0] if args else kwargs.get("module_name") or self._task.action)
        arguments = kwargs.get("module_args") or self._task.args
        host = str((kwargs.get("task_vars") or {}).get("inventory_hostname", "the host"))
        with progress(host, doing(module, arguments)):
            result = super()._execute_module(*args, **kwargs)
        return answer_of(result, self.returns, self._discovered_interpreter_key)


class ModuleAction(HostAction):
    """Runs the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        return self._execute_module(task_vars=task_vars)
