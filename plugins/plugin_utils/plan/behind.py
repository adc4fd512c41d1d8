# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The applications of a web host behind balancers: what visitors alone see is at the balancers. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import Applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.request_paths import has_own_rules

# Settings of a site and of its locations that count for all web hosts together.
LIMITS = ("rate_limit", "connection_limit")
AT_THE_BALANCER = (*LIMITS, "cache")


def behind_balancers(apps: list[dict[str, Any]], balancers: list[str], port: int | None = None) -> list[dict[str, Any]]:
    """The applications as a web host serves them to these balancers: over http, on their own port or the given one.

    Without balancers, they stay as they are.
    """
    if not balancers:
        return apps
    return Applications({**app, "site": site_behind(app["site"], port)} for app in apps)


def caches_at_balancer(site: dict[str, Any]) -> bool:
    """Whether balancers cache responses. They do not know the rules in ``extra``, which say who may get one."""
    return not any(has_own_rules(item["extra"]) for item in (site, *site["locations"]))


def is_behind(site: dict[str, Any]) -> bool:
    """Whether a site may be served to balancers."""
    return site["scheme"] is not None


def site_behind(site: dict[str, Any], port: int | None) -> dict[str, Any]:
    moved = dict.fromkeys(AT_THE_BALANCER if caches_at_balancer(site) else LIMITS)
    return {
        **site,
        **moved,
        "port": port or site["port"],
        "redirects": [],
        # Visitors still use it. The web host learns it from the balancer.
        "scheme": "https" if site["tls"]["mode"] != "none" else site["scheme"] or "http",
        "tls": {**site["tls"], "mode": "none", "certificate": "", "key": "", "plain_paths": []},
        "locations": [
            {**location, **{key: None for key in moved if key in location}} for location in site["locations"]
        ],
    }
