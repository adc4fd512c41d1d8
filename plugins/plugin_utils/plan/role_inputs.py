# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check the inputs of a role that is used alone, before it asks the host. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx import checks
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import supervisor, supervisor_settings, systemd
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import services
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import SERVERS
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import input_problems, is_single
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, role_options

Given = Mapping[str, Any]


def role_problems(role: str, given: Given) -> list[str]:
    """Every problem of the inputs of a role that are set, in words for the user."""
    singles = {
        name: given[name] for name, spec in role_options(role).items() if is_single(name, spec) and name in given
    }
    found = input_problems(singles)
    # The rules of a role rely on the types of its other inputs.
    return list(dict.fromkeys([*found, *ITEMS[role](given)] if role != "nginx" or not found else found))


def nginx_problems(given: Given) -> list[str]:
    options = role_options("nginx")
    settings = {name.removeprefix("nginx_"): given[name] for name in given if is_single(name, options[name])}
    sites = given.get("nginx_sites")
    return checks.checked([] if sites is None else sites, settings)[2]


def systemd_problems(given: Given) -> list[str]:
    return systemd.problems(given.get("systemd_services", []))


def supervisor_problems(given: Given) -> list[str]:
    problems = supervisor.problems(given.get("supervisor_programs", []), given.get("supervisor_groups", []))
    return problems + supervisor_settings.checked(given.get("supervisor_daemon", {}))[1]


def python_problems(given: Given) -> list[str]:
    checker = Checker()
    checker.value(given.get("python_archives", []), role_options("python")["python_archives"], "python_archives")
    return checker.problems


def no_problems(_given: Given) -> list[str]:
    """The role has no list of items. Its action checks what the web hosts have."""
    return []


def server_problems(server: str) -> Callable[[Given], list[str]]:
    return lambda given: services.checked(server, given.get(f"{server}_services", []))[1]


# The rules for the lists of items of each role. The role webapp checks its own, in the action apply.
ITEMS: dict[str, Callable[[Given], list[str]]] = {
    "balancer": no_problems,
    "nginx": nginx_problems,
    "systemd": systemd_problems,
    "supervisor": supervisor_problems,
    "python": python_problems,
    **{server: server_problems(server) for server in SERVERS},
}
