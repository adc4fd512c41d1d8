# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Filters from the application model to the inputs of the roles."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.module_utils.status import drift
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import checks, operations, status
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import diagnosis as doctor
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import (
    applications,
    reports,
    server_settings,
    services,
    sites,
    switches,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import services as server_services
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import SERVERS, Server


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a filter: problems of the model become an error of Ansible's."""

    def filter_(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except applications.ModelError as error:
            raise AnsibleFilterError(str(error)) from error

    filter_.__doc__ = function.__doc__
    return filter_


def files_of(server: Server) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """The files of every item of a server's services."""

    def files(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found, problems = server_services.checked(server.name, given)
        if problems:
            raise AnsibleFilterError("\n".join(problems))
        wanted: list[dict[str, Any]] = server.rules.files_of(found, shlex.quote)
        return wanted

    return files


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


def status_rows(looks: list[list[Any]]) -> list[dict[str, Any]]:
    """How the applications of every host are, for machines."""
    return drift.with_drift([app["status"] for _host, apps in looks for app in apps])


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
            **{f"{server.name}_files": files_of(server) for server in SERVERS.values()},
            "with_server_settings": server_settings.with_settings,
            "webapp_status_table": status_table,
            "webapp_status_rows": status_rows,
            "webapp_doctor_report": doctor_report,
            "webapp_check_table": check_table,
        }
