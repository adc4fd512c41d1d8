# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The balancers of the inventory, as a web host needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.addresses import (
    GROUP,
    AddressError,
    balancer_addresses,
)


def balancers_of(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> list[str]:
    """The addresses of the balancers in front of a web host; empty without any. Raises AddressError."""
    groups = variables.get("groups") or {}
    if not groups.get(GROUP):
        return []
    host = str(variables.get("inventory_hostname"))
    if host in groups[GROUP]:
        raise AddressError(both_problem(host))
    return balancer_addresses(groups, lambda name: variables_of(variables, name, template))


def variables_of(variables: Mapping[str, Any], host: str, template: Callable[[Any], Any]) -> dict[str, Any]:
    """The variables of another host that say how it is reached."""
    names = ("balancer_source_addresses", "balancer_address", "ansible_host")
    own = variables["hostvars"][host]
    return {name: template(own[name]) for name in names if name in own}


def both_problem(host: str) -> str:
    return (
        f"{host} is in the group {GROUP} and serves applications itself. Both need its ports 80 and 443. Use another "
        f"host as the balancer, or remove {host} from the group {GROUP}: one host alone needs no balancer."
    )
