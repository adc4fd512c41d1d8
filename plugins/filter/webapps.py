# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Filters from the application model to the inputs of the roles."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import checks, operations, status
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import diagnosis as doctor
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import applications, reports, services, sites, switches
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import supervisor, systemd
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import SERVERS


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a filter: problems of the model become an error of Ansible's."""

    def filter_(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except applications.ModelError as error:
            raise AnsibleFilterError(str(error)) from error

    filter_.__doc__ = function.__doc__
    return filter_


def files_of(server: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """The files of every item of a server's services."""

    def files(services: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if problems := server.wrong_services(services):
            raise AnsibleFilterError("\n".join(problems))
        wanted: list[dict[str, Any]] = server.files_of(services, shlex.quote)
        return wanted

    return files


def service_problems(services: Any, role: str, groups: Any = None) -> list[str]:
    """Every problem of the services that a role defines, in words for the user."""
    if role in SERVERS:
        return list(SERVERS[role].rules.wrong_services(services))
    if role == "supervisor":
        return supervisor.checked(services, groups or [])[2]
    return systemd.checked(services)[1]


def doctor_report(looks: list[list[Any]]) -> str:
    """The problems of the applications of every host, as text."""
    reports = [doctor.report(host, app["name"], app["diagnosis"]) for host, apps in looks for app in apps]
    return "\n".join(line for report in reports for line in report)


def check_table(looks: list[list[Any]]) -> str:
    """Which promises hold on every host, as text."""
    return "\n".join(line for host, apps in looks for line in checks.check_table(host, apps))


def status_table(looks: list[list[Any]]) -> str:
    """How the applications of every host are, as a table."""
    return "\n".join(status.status_table([app["status"] for _host, apps in looks for app in apps]))


class FilterModule:
    """The filters of the application model."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "webapp_systemd_services": told(services.systemd_services),
            "webapp_supervisor_programs": told(services.supervisor_programs),
            "webapp_nginx_sites": told(sites.nginx_sites),
            "webapp_switches": told(switches.switches),
            "webapp_removal": told(operations.removal),
            "webapp_removal_report": operations.removal_report,
            "webapp_maintenance": told(operations.maintenance_switch),
            "webapp_release_table": reports.release_table,
            "webapp_urls": told(reports.urls),
            **{f"{server.name}_files": files_of(server.rules) for server in SERVERS.values()},
            "service_problems": service_problems,
            "webapp_status_table": status_table,
            "webapp_doctor_report": doctor_report,
            "webapp_check_table": check_table,
        }
