# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A web host behind balancers: it serves applications to these alone, and answers their health checks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.balancing.paths import DRAINED, HEALTH_URL, health_url
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.owners import APPLICATIONS
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.locations import proxy_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.parts import Parts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import location_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.upstreams import Upstreams

# Everyone else reaches an application through a balancer. nginx would compare allow and deny with the address of the
# visitor, which the balancer passes on.
DOOR = ["if ($pyweb_stranger) {", "    return 403;", "}"]

# Health checks have no X-Forwarded-For. A balancer adds it to each request of a visitor, so no visitor gets here.
CHECK_ALONE = ["if ($http_x_forwarded_for) {", "    return 403;", "}"]
WHILE_DRAINED = [f"if (-e {DRAINED}) {{", "    return 404;", "}"]
QUIET = ["access_log off;", "log_not_found off;", "open_file_cache off;"]


def stranger_lines(balancers: Iterable[str]) -> list[str]:
    """The block of the http level that sets the variable for clients which are neither a balancer nor this host."""
    allowed = dict.fromkeys(["127.0.0.1", "::1", *balancers])
    entries = ["default 1;", *(f"{quote(address)} 0;" for address in allowed)]
    return ["geo $realip_remote_addr $pyweb_stranger {", *(f"    {entry}" for entry in entries), "}"]


def is_balanced(site: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Whether a site is one of an application, behind balancers."""
    return bool(settings.get("balancers")) and site.get("owner") == APPLICATIONS


def door_lines(site: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """Lines of a server that serves balancers and this host alone, before all others of it."""
    if not is_balanced(site, settings):
        return []
    # A balancer has to see these headers. nginx keeps them for itself otherwise.
    names = ("X-Accel-Buffering", "X-Accel-Expires")
    return [*DOOR, *(f"{module}_pass_header {name};" for module in ("proxy", "uwsgi") for name in names)]


def host_check(settings: dict[str, Any]) -> dict[str, Any]:
    """The location that shows whether this host takes requests."""
    door = DOOR if settings.get("balancers") else []
    lines = [*QUIET, *door, *WHILE_DRAINED, *CHECK_ALONE, "default_type text/plain;", 'return 200 "up\\n";']
    return {**block(f"location = {HEALTH_URL}", lines), "inside": []}


def check_locations(
    site: dict[str, Any], settings: dict[str, Any], upstreams: Upstreams, parts: Parts
) -> list[dict[str, Any]]:
    """The locations for the checks of balancers: of the host, and of each application of the site."""
    if not is_balanced(site, settings):
        return []
    found = [host_check(settings)]
    for check in site["health_checks"]:
        location = location_of(site, check["path"].partition("?")[0])
        if location is not None:
            lines = check_lines(check["path"], location, site, upstreams, parts)
            found.append({**block(f"location = {health_url(check['name'])}", lines), "inside": []})
    return found


def check_lines(
    path: str, location: dict[str, Any], site: dict[str, Any], upstreams: Upstreams, parts: Parts
) -> list[str]:
    """The lines that answer a check with the response of the application to another path."""
    plain = {**location, "cache": None, "intercept_errors": False}
    prefix, passed = location["path"].rstrip("/"), []
    for address in (location["upstream"], (location["instead"] or {}).get("upstream")):
        if address is not None:
            passed.append(proxy_lines(plain, site, prefix, upstreams.target(address), parts))
    # The first line of each names the upstream.
    chosen = [f"if (-e {quote(location['instead']['exists'])}) {{", f"    {passed[1][0]}", "}"] if passed[1:] else []
    # Rules for visitors do not hold for a check: a balancer is no visitor.
    opened = ["satisfy all;", "allow all;", "auth_basic off;"]
    opened += ["auth_request off;"] if "auth_request" in site["extra"] + location["extra"] else []
    # The last question mark drops the arguments of the check.
    asked = f"rewrite ^ {quote(f'{path}?')} break;"
    others = [line for lines in passed[1:] for line in lines[1:]]
    return [*QUIET, *opened, *WHILE_DRAINED, *CHECK_ALONE, *chosen, asked, *passed[0], *others]
