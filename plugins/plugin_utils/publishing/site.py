# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The site of nginx on which a host publishes its status page, and the rules of ``webapp_status_site``. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.owners import STATUS_SITE
from ansible_collections.pyweb.stack.plugins.module_utils.status.paths import FOLDER
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, role_options

VARIABLE = "webapp_status_site"
# The keys that a site of nginx has, too.
OF_SITE = ("basic_auth", "allow", "satisfy", "port", "tls")
# The page brings its own policy. A policy in a page can't forbid frames.
HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


def status_sites(given: Any) -> list[dict[str, Any]]:
    """The site for the role nginx, as a list of one; empty without a valid ``webapp_status_site``."""
    if not given or is_wrong(given):
        return []
    access = {key: given[key] for key in OF_SITE if given.get(key) is not None}
    return [
        {
            "name": STATUS_SITE,
            "domains": [given["domain"]],
            "headers": HEADERS,
            "locations": [{"path": "/", "alias": f"{FOLDER}/"}],
            **access,
        }
    ]


def is_wrong(given: Any) -> bool:
    """Whether preflight refuses the value, apart from what the rules of nginx's sites find."""
    checker = Checker()
    checker.value(given, role_options("webapp")[VARIABLE], VARIABLE)
    return bool(checker.problems)


def problems(given: Any, own_sites: Any, sites: Iterable[Mapping[str, Any]], of_sites: Iterable[str] = ()) -> list[str]:
    """The problems of the variable: no access control, or a domain or a name of another site.

    ``own_sites`` are those of ``nginx_sites``, and ``sites`` all that nginx is to serve, checked. ``of_sites`` are the
    problems that the check of the sites has found.
    """
    own = own_problems(given, own_sites, sites)
    named = [problem.replace(f"nginx_sites '{STATUS_SITE}'", VARIABLE) for problem in of_sites]
    # Two sites with one name on a port are a problem of the sites, too. There, another port would be a remedy.
    is_taken = any(problem.startswith(f"{VARIABLE}.domain") for problem in own)
    return [*(one for one in named if not (is_taken and one.startswith(VARIABLE) and "' on port " in one)), *own]


def own_problems(given: Any, own_sites: Any, sites: Iterable[Mapping[str, Any]]) -> list[str]:
    if not isinstance(own_sites, list):
        return []
    found = []
    if any(isinstance(site, dict) and site.get("name") == STATUS_SITE for site in own_sites):
        found.append(
            f"nginx_sites '{STATUS_SITE}': the status page of the host has this name. Give the site another one."
        )
    if not given or is_wrong(given):
        return found
    domain = given["domain"]
    found += [
        f"{VARIABLE}.domain: '{domain}' is a name of the site '{site['name']}'. Give the status page a name of its own."
        for site in sites
        if site["name"] != STATUS_SITE and domain in (*site["domains"], *site["redirects"])
    ]
    if is_open(given):
        found.append(
            f"{VARIABLE}: anyone could read the page, which names hosts, people and revisions. Set "
            f"{VARIABLE}.basic_auth, with one user or more, or {VARIABLE}.allow, with the networks that may read it."
        )
    return found


def is_open(given: Mapping[str, Any]) -> bool:
    """Whether a visitor with any address and without a password gets the page."""
    has_password = bool((given.get("basic_auth") or {}).get("users"))
    allow = given.get("allow") or []
    everywhere = not allow or is_everywhere(allow)
    if given.get("satisfy") == "any" and allow:
        # One of both is enough.
        return everywhere
    return everywhere and not has_password


def is_everywhere(allow: Iterable[Any]) -> bool:
    """Whether networks contain all addresses of a version of IP, such as 0.0.0.0/1 together with 128.0.0.0/1."""
    networks: dict[int, list[Any]] = {4: [], 6: []}
    for text in map(str, allow):
        if text == "all":
            return True
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:  # The rules of nginx's sites report it.
            continue
        networks[network.version].append(network)
    return any(one.prefixlen == 0 for found in networks.values() for one in ipaddress.collapse_addresses(found))


def host_problems(given: Any, facts: Mapping[str, Any]) -> list[str]:
    """Why the host can't renew a page."""
    if not given or facts["init"] == "systemd":
        return []
    return [
        f"{VARIABLE}: a timer of systemd renews the page, but this host does not run systemd. Set the variable to "
        "null for it, or run status.yml -e format=html from a controller."
    ]
