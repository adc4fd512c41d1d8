# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The plan of a host: its desired state, with one part for each role. Pure.

A part holds everything that the code on the host needs to apply its role. If a role is left out, the other parts do not
change. The roles of app servers have no part: without one of them, the part webapp lacks the files of that server.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.owners import APPLICATIONS, OWN_SITES, STATUS_PAGE
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import archive_version
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tree import tree_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.adopted import adopted
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.containers import packages_of_containers
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import locked_requirements, releases
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.servers import server_services
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.services import supervisor_programs, systemd_services
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import activations
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import supervisor, systemd
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.locks import lock_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import SERVERS

# The roles of the site, in the order in which their parts are applied.
ROLES = ("python", *SERVERS, "webapp", "systemd", "supervisor", "nginx")

ACME_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


class PlanError(ValueError):
    """The inputs of a role are wrong; the message lists every problem."""


@dataclass(frozen=True)
class Model:
    """The desired state of one host, checked and normalised once.

    ``apps`` are the applications. ``sites`` are the sites of nginx, including the applications' sites, and ``settings``
    are its settings. ``certificates`` are the certificates of the sites; a given certificate includes its text.
    ``inputs`` holds the inputs of each role by its name. ``facts`` are the facts of the host, and ``texts`` the files
    of the role nginx.
    """

    apps: list[dict[str, Any]]
    sites: list[dict[str, Any]]
    settings: dict[str, Any]
    certificates: list[dict[str, Any]]
    inputs: Mapping[str, Mapping[str, Any]]
    facts: dict[str, Any]
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def webapp(self) -> Mapping[str, Any]:
        return self.inputs["webapp"]


@dataclass(frozen=True)
class Part:
    """One role's share of the plan.

    ``inputs`` are passed to the code on the host. Their lists may hold templates, which are rendered only when the part
    is applied. ``secrets`` are further inputs that must not appear in logs.
    """

    role: str
    inputs: dict[str, Any]
    secrets: dict[str, Any] = field(default_factory=dict)


def host_plan(roles: Collection[str], model: Model) -> list[Part]:
    """The parts of these roles, in the order in which they are applied. A role with nothing to do has no part."""
    parts: dict[str, Callable[[Collection[str], Model], Part | None]] = {
        "python": python_part,
        "webapp": webapp_part,
        "systemd": systemd_part,
        "supervisor": supervisor_part,
        "nginx": nginx_part,
    }
    found = [parts[role](roles, model) for role in ROLES if role in roles and role in parts]
    return [part for part in found if part is not None]


def python_part(_roles: Collection[str], model: Model) -> Part | None:
    """uv and the listed interpreters, unless the host has them already."""
    given = model.inputs["python"]
    archives = given.get("python_archives") or []
    wanted = {archive_version(one["name"]): one["sha256"] for one in archives}
    # A host can report anything.
    reported = [one for one in model.facts["provided_pythons"] if isinstance(one, dict)]
    found = {str(one.get("version")): str(one["listed"]) for one in reported if one.get("listed")}
    if model.facts["uv"] == given["python_uv_version"] and found == wanted:
        return None
    index = given["python_uv_index_url"]
    inputs: dict[str, Any] = {"home": given["python_uv_home"], "version": given["python_uv_version"]}
    if found != wanted:
        inputs["archives"] = [dict(one) for one in archives]
    # The URL may contain credentials.
    return Part("python", inputs, {"index_url": index} if index else {})


def webapp_part(roles: Collection[str], model: Model) -> Part | None:
    """The releases of the applications.

    The roles of app servers add server settings and a start command to each release.
    """
    if not model.apps:
        return None
    given = model.webapp
    wanted = releases(
        model.apps,
        model.facts,
        given["webapp_process_manager"],
        given["webapp_server_requirements"],
        [*given["webapp_release_files"], *server_files(roles, model)],
        given["webapp_root"],
        given["webapp_nginx_group"],
    )
    inputs = {
        "apps": wanted,
        "root": given["webapp_root"],
        "uv": given["webapp_uv"],
        "upgrade": given["webapp_upgrade_packages"],
        "nginx_group": given["webapp_nginx_group"],
        "server_lock": lock_of(
            locked_requirements(model.apps, given["webapp_server_requirements"]), given["webapp_server_only_wheels"]
        ),
    }
    python = model.inputs["python"]
    pythons = {"mirror": python.get("python_downloads_mirror"), "listing": python.get("python_downloads_json")}
    if any(pythons.values()):
        inputs["pythons"] = pythons
    return Part("webapp", inputs)


def server_files(roles: Collection[str], model: Model) -> list[dict[str, Any]]:
    """The files that the roles of the app servers put into a release, as templates."""
    root = model.webapp["webapp_root"]
    files: list[dict[str, Any]] = []
    for server in SERVERS.values():
        if server.name in roles:
            items = server_services(server.name, model.apps, model.facts, root)
            files += of_role(server.name, server.rules.files_of(items, shlex.quote))
    return files


def of_role(role: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items, with the role that contains their templates."""
    return [{**item, "role": role} if "template" in item else item for item in items]


def systemd_part(roles: Collection[str], model: Model) -> Part | None:
    given = model.webapp
    services = systemd_services(
        model.apps,
        model.facts,
        given["webapp_process_manager"],
        given["webapp_root"],
        given["webapp_nginx_group"],
    )
    return (
        Part("systemd", {"services": of_role("systemd", systemd.units(without_problems(systemd.checked(services))))})
        if services
        else None
    )


def supervisor_part(_roles: Collection[str], model: Model) -> Part | None:
    programs = planned_programs(model)
    if not programs:
        return None
    return Part(
        "supervisor",
        {
            "programs": of_role(
                "supervisor", supervisor.definitions(*without_problems(supervisor.checked(programs, [])))
            )
        },
    )


def planned_programs(model: Model) -> list[dict[str, Any]]:
    given = model.webapp
    return supervisor_programs(
        model.apps,
        model.facts,
        given["webapp_process_manager"],
        given["webapp_root"],
        given["webapp_nginx_group"],
    )


def nginx_part(roles: Collection[str], model: Model) -> Part | None:
    given = model.inputs["nginx"]
    files = tree_files(model.sites, model.settings)
    owners = [OWN_SITES] if given.get("nginx_sites") is not None else []
    inputs = {
        "files": of_role("nginx", [file for file in files if "secret" not in file]),
        "certificates": [{**item, "key": ""} for item in model.certificates],
        "owners": [*owners, *([APPLICATIONS, STATUS_PAGE] if "webapp" in roles else [])],
        "applications": [app["name"] for app in model.apps if app["state"] == "present"],
        "removed": [app["name"] for app in model.apps if app["state"] == "absent"],
        **adopted(model.apps, model.webapp["webapp_root"], roles),
        "acme": {
            "directory": ACME_STAGING if given["nginx_acme_staging"] else given["nginx_acme_directory"],
            "email": given["nginx_acme_email"],
            "ca_bundle": given["nginx_acme_ca_bundle"],
        },
        "ca_certificate": given["nginx_ca_certificate"],
        "renewal": {
            "service": model.texts["certificates.service"],
            "timer": model.texts["certificates.timer"],
            "cron": model.texts["certificates.cron"],
        },
        "drop_in": model.texts["nginx.service.conf"],
    }
    secrets = {
        "secret_files": {file["path"]: file["content"] for file in files if "secret" in file},
        "certificate_keys": {item["name"]: item["key"] for item in model.certificates if item.get("key")},
        "ca_key": given["nginx_ca_key"],
    }
    return Part("nginx", inputs, {name: value for name, value in secrets.items() if value})


def wanted_packages(roles: Collection[str], model: Model, certificate_packages: list[str]) -> list[str]:
    """The Debian packages that these roles need on this host.

    ``certificate_packages`` are needed for the certificates of the sites.
    """
    wanted: list[str] = []
    if "python" in roles:
        wanted += packages_of("python", model)
    if "nginx" in roles:
        wanted += [*packages_of("nginx", model), *certificate_packages]
    if any(job["timezone"] for app in model.apps if app["state"] == "present" for job in app["jobs"]):
        wanted.append("tzdata")
    if "webapp" in roles:
        wanted += packages_of_containers(model.apps)
    if "supervisor" in roles:
        programs = planned_programs(model)
        wanted += packages_of("supervisor", model) if programs else []
        if any("schedule" in program for program in programs):
            wanted += model.inputs["supervisor"]["supervisor_cron_packages"]
    return list(dict.fromkeys(wanted))


def packages_of(role: str, model: Model) -> list[str]:
    """The packages that a role needs, and those that the inventory adds."""
    given = model.inputs[role]
    return [*given[f"{role}_required_packages"], *given[f"{role}_packages"]]


def switches(roles: Collection[str], model: Model) -> list[dict[str, Any]]:
    """The settings for switching each application to another release.

    Without the role nginx, the switch is not verified through nginx.
    """
    given = model.webapp
    return activations(
        model.apps,
        None,
        model.facts,
        given["webapp_process_manager"],
        given["webapp_keep_releases"],
        given["webapp_verify_front"] and "nginx" in roles,
    )


def decided_switches(roles: Collection[str], model: Model, builds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The switches that a host has decided on: each with its new release, and the one that it is to replace."""
    found = {build["name"]: build for build in builds if build.get("activate")}
    return [
        {**spec, "candidate": build["candidate"], "expected": build.get("current")}
        for spec in switches(roles, model)
        if (build := found.get(spec["name"]))
    ]


def without_problems(checked: tuple[Any, ...]) -> Any:
    """The checked values, without the problems, which are the last item; raises PlanError if there are any."""
    *found, problems = checked
    if problems:
        raise PlanError("\n".join(problems))
    return found[0] if len(found) == 1 else found
