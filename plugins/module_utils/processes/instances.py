# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Instances of services: their names, and the error that managing them raises."""

from __future__ import annotations

import re

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.instances import INSTANCE

SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class ProcessManagerError(HostError):
    """An error of a process manager: the action, the service, the response and the remedy."""


def check_service(service: str) -> None:
    """Raise an error if this can't be the name of a service."""
    if not SERVICE.fullmatch(service):
        raise ProcessManagerError(
            f"{service!r} is no name of a service. Use letters, digits, '-', '_' and '.' only, no '@'."
        )


def check_instance(service: str, instance: str) -> None:
    """Raise for what can't be the name of a service or of an instance."""
    check_service(service)
    if not INSTANCE.fullmatch(instance):
        raise ProcessManagerError(
            f"{instance!r} is no instance of {service}. Name a release, such as 20261121T010735Z-ab12cd34."
        )


def family_of(service: str, names: list[str], separator: str, suffix: str) -> list[tuple[str, str]]:
    """The instances of a service and of its parts, SERVICE.PART, among names of units or files, each once."""
    part = rf"({re.escape(service)}(?:\.[A-Za-z0-9.-]+?)?)"
    pattern = re.compile(rf"{part}{separator}({INSTANCE.pattern}){re.escape(suffix)}")
    found = [match for name in names if (match := pattern.fullmatch(name))]
    return sorted({(match[1], match[2]) for match in found})


def instances_of(service: str, names: list[str], separator: str, suffix: str) -> list[str]:
    """The instances of one service, without its parts, among names of units or files, each once."""
    return [instance for one, instance in family_of(service, names, separator, suffix) if one == service]
