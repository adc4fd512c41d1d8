# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for the inputs of all roles, apart from their lists of applications, sites and services. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.requirement import NO_INDEX, is_index, is_requirement
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import ROLES, Checker, nearest, role_options
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.texts import check_texts

# apt would take a name that begins with '-' as an option.
PACKAGE = re.compile(r"[A-Za-z0-9]\S*")
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]*")
HOSTS = re.compile(r"[0-9]{1,6}|[0-9]{1,3}%")
# Seconds of a pause or a watch. Meanwhile, the hosts run two releases of an application.
LONGEST_WAIT = 3600
# The least bounds of a watch. A smaller one would refuse equal releases.
LEAST_BOUNDS = {"errors": 0, "p50": 1, "p95": 1, "p99": 1, "delay": 0, "requests": 1}


def role_names() -> list[str]:
    return sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def is_single(name: str, spec: Mapping[str, Any]) -> bool:
    """Whether an input is checked here. Each role has rules of its own for its list of items."""
    return spec.get("elements") != "dict" or name == "webapp_release_files"


def single_inputs() -> dict[str, dict[str, Any]]:
    """The inputs that preflight checks here, with their specifications."""
    options = (option for role in role_names() for option in role_options(role).items())
    return {name: spec for name, spec in options if is_single(name, spec)}


def input_problems(values: Mapping[str, Any]) -> list[str]:
    """Problems of the values of these inputs."""
    checker, specs = Checker(), single_inputs()
    for name, value in values.items():
        spec, before = specs[name], len(checker.problems)
        if value is None and "default" not in spec:
            # As if it were not set.
            continue
        value = checker.value(value, spec, name)
        checker.choice(value, spec, name)
        if len(checker.problems) == before and name in RULES:
            for problem in RULES[name](value):
                checker.problem(name, problem)
        check_texts(checker, value, spec, name, name)
    return checker.problems


def typed(value: Any, spec: Mapping[str, Any]) -> Any:
    """A number or a switch that is a string, as ``-e NAME=false`` makes it. A wrong value stays as it is."""
    if spec.get("type") not in ("bool", "int", "float"):
        return value
    checker = Checker()
    found = checker.value(value, dict(spec), "")
    return value if checker.problems else found


def misspelt_inputs(names: Iterable[str], roles: Iterable[str] = ()) -> list[str]:
    """Variables that look like an input of these roles (by default all), but are none. Ansible ignores them."""
    problems = []
    for role in roles or role_names():
        known = list(role_options(role))
        for name in names:
            if name.startswith(f"{role}_") and name not in known:
                # A high cutoff, so that a variable of the user's own, such as python_version, passes.
                hint = nearest(name, known, cutoff=0.93)
                if hint:
                    problems.append(f"the variable '{name}' is not an input of the role {role}.{hint}")
    return problems


# --- rules for single inputs ------------------------------------------------------------------------------------------


def wrong_packages(names: list[str]) -> list[str]:
    return [
        f"'{name}' is not a Debian package. Give a name that begins with a letter or digit, such as libpq-dev."
        for name in names
        if not PACKAGE.fullmatch(name)
    ]


def wrong_account(name: str) -> list[str]:
    return [] if ACCOUNT.fullmatch(name) else [f"'{name}' is not a group. Give the name of one, such as www-data."]


def wrong_path(path: str) -> list[str]:
    return [] if path.startswith("/") else [f"'{path}' is not an absolute path. Begin with '/'."]


def wrong_version(version: str) -> list[str]:
    return [] if VERSION.fullmatch(version) else [f"'{version}' is not a version. Give one such as 0.13.8."]


def wrong_index(url: str) -> list[str]:
    """The address is not shown, because it may hold credentials."""
    return [] if not url or is_index(url) else [NO_INDEX]


def wrong_server_requirements(requirements: dict[str, Any]) -> list[str]:
    choices = role_options("webapp")["webapps"]["options"]["server"]["choices"]
    # The command of an image is installed with the image.
    servers = [name for name in choices if name != "image"]
    problems = []
    for server, requirement in requirements.items():
        if server not in servers:
            problems.append(f"'{server}' is not an application server. Use {' or '.join(servers)}.")
        elif not isinstance(requirement, str) or not is_requirement(requirement):
            problems.append(f"{server}: '{requirement}' is not a requirement. Write it as '{server}>=1.0'.")
    return problems


def wrong_download(address: str) -> list[str]:
    if re.match(r"\w+://[^/]*@", address):
        return ["this address holds a login, which logs of the host would show. Allow the host without one."]
    if not address or re.match(r"(https?|file)://\S+\Z|/\S*\Z", address):
        return []
    return [f"'{address}' is no address. Give one that begins with https://, http:// or file:///."]


def wrong_rollout(rollout: dict[str, Any]) -> list[str]:
    problems = []
    for key in ("first", "batch"):
        value = rollout[key]
        if not HOSTS.fullmatch(value) or not 1 <= int(value.rstrip("%")) <= (100 if value.endswith("%") else 10**6):
            problems.append(f"{key} is '{value}'. Set a number of hosts such as 2, or a percentage such as 25%.")
    for key in ("pause", "watch"):
        if not 0 <= rollout[key] <= LONGEST_WAIT:
            problems.append(f"{key} is {rollout[key]}. Set seconds from 0 to {LONGEST_WAIT}.")
    for key, least in LEAST_BOUNDS.items():
        value = (rollout.get("bounds") or {}).get(key)
        if value is not None and not value >= least:
            problems.append(f"bounds.{key} is {value:g}. Set at least {least}.")
    return problems


def wrong_number(low: int, high: int, unit: str) -> Callable[[Any], list[str]]:
    return lambda number: [] if low <= number <= high else [f"{number} is out of range. Use {low} to {high} {unit}."]


RULES: dict[str, Callable[[Any], list[str]]] = {
    **dict.fromkeys(
        (
            *(
                f"{role}{kind}_packages"
                for role in ("balancer", "nginx", "python", "supervisor")
                for kind in ("", "_required")
            ),
            "supervisor_cron_packages",
        ),
        wrong_packages,
    ),
    **dict.fromkeys(("python_downloads_mirror", "python_downloads_json"), wrong_download),
    **dict.fromkeys(("balancer_check_interval", "balancer_check_timeout"), wrong_number(50, 60_000, "milliseconds")),
    "python_uv_home": wrong_path,
    "python_uv_index_url": wrong_index,
    "python_uv_version": wrong_version,
    "webapp_nginx_group": wrong_account,
    "webapp_rollout": wrong_rollout,
    "webapp_server_requirements": wrong_server_requirements,
    "webapp_uv": wrong_path,
}
