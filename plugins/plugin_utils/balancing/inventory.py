# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The web hosts behind a balancer and its peers, as the inventory has them. Pure, apart from the resolver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.addresses import (
    GROUP,
    AddressError,
    Resolver,
    addresses_of,
    resolved,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.fleet import WebHost, host_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised

# Inputs of the role nginx that are about visitors. A balancer takes them from the web hosts if it has none of its own.
OF_VISITORS = (
    *("nginx_acme_directory", "nginx_acme_staging", "nginx_acme_email", "nginx_acme_ca_bundle"),
    *("nginx_ca_certificate", "nginx_ca_key", "nginx_tls_profile", "nginx_http3"),
    *("nginx_trusted_proxies", "nginx_real_ip_header"),
)
OF_A_HOST = ("balancer_address", "balancer_port", "balancer_weight", "balancer_backup", "ansible_host")

Variables = Callable[[str], Mapping[str, Any]]


def web_hosts(
    names: Iterable[str], variables: Variables, resolve: Resolver = resolved
) -> tuple[list[WebHost], list[str]]:
    """The web hosts, and every problem of their variables."""
    hosts, problems = [], []
    for name in names:
        own = variables(name)
        try:
            apps, wrong = normalised(own["webapps"]) if "webapps" in own else ([], [UNSET])
            chosen = {key: own[key] for key in OF_A_HOST if key in own}
            address = addresses_of(name, chosen, "balancer_address", resolve)[0]
            served = [app for app in apps if app["state"] == "present"]
            hosts.append(host_of(name, address, chosen, served))
            problems += [f"{name}: {problem}" for problem in wrong]
        except (AddressError, ValueError) as error:
            problems += str(error).split("\n")
        except AnsibleError as error:
            problems.append(f"{name}: a variable that the balancer needs can't be resolved: {error}")
    return hosts, problems


UNSET = "the variable 'webapps', the list of applications, is not set. Set it in group_vars/web.yml."


def peers_of(
    host: str, groups: Mapping[str, Iterable[str]], variables: Variables, resolve: Resolver = resolved
) -> list[str]:
    """The addresses of the other balancers, on which they also serve; raises AddressError."""
    others = [str(name) for name in groups.get(GROUP) or () if str(name) != host]
    return sorted(addresses_of(name, variables(name), "balancer_source_addresses", resolve)[0] for name in others)


def settings_of_visitors(own: Mapping[str, Any], names: Iterable[str], variables: Variables) -> dict[str, Any]:
    """The inputs about visitors that the balancer lacks, from the first web host that has them."""
    found: dict[str, Any] = {}
    for name in names:
        theirs = variables(name)
        found = {**{key: theirs[key] for key in OF_VISITORS if key in theirs and own.get(key) is None}, **found}
    return found
