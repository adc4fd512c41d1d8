# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The sites of the nginx of a balancer, made from those of the web hosts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.balancing.paths import socket_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked_with_applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.upstreams import OTHER_HOST
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.behind import caches_at_balancer
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites

# Stands for the folder of the applications, which a balancer does not have.
ROOT = "/srv/webapps"
# Seconds after which a visitor may try again, while no web host is up.
RETRY_AFTER = 5
# Seconds. The nginx of the web host ends requests that take too long, by the settings of the site.
PATIENCE = 86_400

# Settings that need files of the web host, or that are about its own upstreams and folders.
OF_THE_HOST = {
    **dict.fromkeys(("error_pages", "intercept_errors", "maintenance", "instead", "alias", "immutable", "fallback")),
    **dict.fromkeys(("precompressed", "page", "charset", "internal", "internal_for")),
    "extra": "",
}


def edge_sites(
    apps: list[dict[str, Any]], own_sites: Any, settings: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    """All sites of a balancer and the settings that they share, both checked, and every problem."""
    planned = nginx_sites([without_extra(app) for app in apps], ROOT)
    sites, filled, problems = checked_with_applications(own_sites, dict(settings), planned)
    names = [app["name"] for app in apps]
    taken = {site["name"] for site in planned}
    return [edge_site(site, names) if site["name"] in taken else site for site in sites], filled, problems


def without_extra(app: dict[str, Any]) -> dict[str, Any]:
    """The application without its own directives, which the web hosts have."""
    site = app["site"]
    locations = [{**location, "extra": ""} for location in site["locations"]]
    site = {**site, "locations": locations, "extra": "", "maintenance": None, "error_pages": None}
    if not caches_at_balancer(app["site"]):
        site = {**site, "cache": None, "locations": [{**location, "cache": None} for location in locations]}
    return {**app, "site": site}


def edge_site(site: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """A site whose locations all lead to the web hosts."""
    locations = [edge_location(location, names) for location in site["locations"] if not location["internal"]]
    given = {key: value for key, value in OF_THE_HOST.items() if key in site}
    return {**site, **given, "upstreams": [], "links_root": None, "again": OTHER_HOST, "locations": locations}


def edge_location(location: dict[str, Any], names: list[str]) -> dict[str, Any]:
    name = application_of(location, names)
    # Neither limits nor a cache apply to the files that nginx serves from a folder.
    files = {"rate_limit": {}, "connection_limit": 0, "cache": None} if location["alias"] is not None else {}
    # A web host in maintenance answers 503, which visitors are to see.
    cache = location["cache"] and {**location["cache"], "stale_on": "http_500"}
    return {
        **location,
        **OF_THE_HOST,
        "cache": cache,
        **files,
        "upstream": f"unix:{socket_of(name)}",
        "retry_after": RETRY_AFTER,
        "connect_timeout": None,
        "read_timeout": PATIENCE,
    }


def application_of(location: dict[str, Any], names: list[str]) -> str:
    """The application that a location belongs to: it names its upstream, or its folder."""
    place = str(location["upstream"] or location["alias"])
    if place in names:
        return place
    return place.removeprefix("unix:").removeprefix(f"{ROOT}/").partition("/")[0]
