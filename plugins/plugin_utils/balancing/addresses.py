# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The addresses by which balancers and web hosts reach each other. Pure, apart from the resolver that is passed in."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Any

# The group of the inventory.
GROUP = "balancer"

Resolver = Callable[[str], list[str]]


class AddressError(ValueError):
    """An address is missing or wrong; the message lists every problem."""


def resolved(name: str) -> list[str]:
    """The addresses of a name, as this machine resolves it; empty if it does not."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def as_address(text: str) -> str | None:
    """An address in the spelling that nginx and HAProxy compare; None for another text."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return None


def addresses_of(host: str, variables: Mapping[str, Any], name: str, resolve: Resolver) -> list[str]:
    """The addresses of a host: the variable of this name, else ``ansible_host``, else its name in the inventory.

    Raises AddressError for a name that does not resolve, and for a loopback address that the variable does not name.
    """
    given = variables.get(name)
    chosen = given or variables.get("ansible_host") or host
    found: list[str] = []
    for text in map(str, chosen if isinstance(chosen, (list, tuple)) else [chosen]):
        own = as_address(text)
        addresses = [own] if own else resolve(text)
        if not addresses:
            raise AddressError(
                f"{host}: the controller can't resolve '{text}', so other hosts get no address for it. Set {name} for "
                f"{host} to its IP address in the network of the web hosts and balancers."
            )
        if not given and all(map(is_loopback, addresses)):
            raise AddressError(
                f"{host}: its address for Ansible is {text}, which is the controller itself. Set {name} for {host} to "
                "its IP address in the network of the web hosts and balancers."
            )
        found += addresses
    return list(dict.fromkeys(found))


def balancer_addresses(
    groups: Mapping[str, Collection[str]],
    hostvars: Callable[[str], Mapping[str, Any]],
    resolve: Resolver = resolved,
) -> list[str]:
    """The addresses from which the balancers of the inventory connect; raises AddressError with every problem."""
    found: list[str] = []
    problems = []
    for host in groups.get(GROUP) or ():
        try:
            found += addresses_of(str(host), hostvars(str(host)), "balancer_source_addresses", resolve)
        except AddressError as error:
            problems.append(str(error))
    if problems:
        raise AddressError("\n".join(problems))
    return sorted(dict.fromkeys(found))
