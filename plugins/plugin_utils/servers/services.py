# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The services that the role of an app server is used with alone: converted, with defaults, and checked. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import SERVERS
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.items import checked_items
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, role_options


def checked(server: str, services: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The services of an app server with types converted and defaults filled, and every problem found in them."""
    checker, name = Checker(), f"{server}_services"
    found = checked_items(checker, services, role_options(server)[name]["options"], name, check_service)
    return found, checker.problems + SERVERS[server].rules.wrong_services(found)


def check_service(checker: Checker, service: dict[str, Any], where: str) -> None:
    """Check what all app servers have in common."""
    if not service["program"]:
        checker.problem(f"{where}.program", "it is empty. Give the command that starts the server, without options.")
    if not service["directory"].startswith(("/", "~")):
        checker.problem(f"{where}.directory", f"'{service['directory']}' is not an absolute path. Begin it with '/'.")
