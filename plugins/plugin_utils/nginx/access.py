# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Lines that a site and each of its locations may have: access, limits, headers, error pages and maintenance."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.links import link_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.parts import TREE, Parts

# nginx needs 64 or 128 bytes for the counters of an address, so there is space for 80 000 addresses.
ZONE_SIZE = "10m"

HSTS = "Strict-Transport-Security"

# MDN's and OWASP's general advice, which suits a site of any kind.
BASIC = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}
PRESETS: dict[str, dict[str, str]] = {
    "none": {},
    "basic": BASIC,
    "strict": {
        **BASIC,
        "X-Frame-Options": "DENY",
        HSTS: "max-age=31536000",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Content-Security-Policy-Report-Only": "default-src 'self'",
    },
}


def access_lines(item: dict[str, Any], parts: Parts) -> list[str]:
    """Access by address, by password, or by either."""
    lines = [f"deny {quote(address)};" for address in item["deny"] or []]
    if item["allow"]:
        lines += [f"allow {quote(address)};" for address in item["allow"]]
        lines += [] if "all" in item["allow"] else ["deny all;"]
    auth = item["basic_auth"]
    if auth and auth["users"]:
        users = "".join(f"{name}:{hashed}\n" for name, hashed in sorted(auth["users"].items()))
        lines += [f"auth_basic {quote(auth['realm'])};", f"auth_basic_user_file {TREE}/{parts.secret(users)};"]
    elif auth:
        lines.append("auth_basic off;")
    return lines + ([f"satisfy {item['satisfy']};"] if item["satisfy"] else [])


def limit_lines(location: dict[str, Any], site: dict[str, Any], parts: Parts) -> list[str]:
    """Limits per address. A location's own limit has its own counters; the site's counts for all its locations."""
    lines = []
    rate, owner = own_or_inherited(location, site, "rate_limit")
    if rate:
        directive = f"limit_req_zone $pyweb_limited_address zone={{0}}:{ZONE_SIZE} rate={rate['rate']};"
        burst = f" burst={rate['burst']} nodelay" if rate["burst"] else ""
        lines.append(f"limit_req zone={parts.zone(directive, owner)}{burst};")
    number, owner = own_or_inherited(location, site, "connection_limit")
    if number:
        directive = f"limit_conn_zone $pyweb_limited_address zone={{0}}:{ZONE_SIZE};"
        lines.append(f"limit_conn {parts.zone(directive, owner)} {number};")
    return lines


def own_or_inherited(location: dict[str, Any], site: dict[str, Any], key: str) -> tuple[Any, str]:
    """A setting, and the path of the location that it belongs to; an empty path for the site's."""
    return (site[key], "") if location[key] is None else (location[key], location["path"])


def answer_lines(item: dict[str, Any], parts: Parts) -> list[str]:
    """Compression and headers of responses."""
    lines = []
    if item["gzip"] is not None:
        lines += [f"gzip {'on' if item['gzip'] else 'off'};"]
        lines += [f"brotli {'on' if item['gzip'] else 'off'};"] if parts.brotli else []
    return lines + header_lines(item, parts)


def wanted_headers(item: dict[str, Any]) -> dict[str, str]:
    return {**PRESETS[item["header_preset"] or "none"], **(item["headers"] or {})}


def header_lines(item: dict[str, Any], parts: Parts) -> list[str]:
    """Variables for headers. The server adds them, because add_header in a location would drop those of the server."""
    lines = []
    for name, value in wanted_headers(item).items():
        variable = parts.headers.setdefault(name, f"$pyweb_want_{name.lower().replace('-', '_')}")
        lines.append(f"set {variable} {quote(value)};")
    return lines


def added_headers(parts: Parts) -> list[str]:
    """The server's lines for every header of the site and its locations. The application's own header has priority."""
    lines = []
    for name, wanted in parts.headers.items():
        own = f"$upstream_http_{name.lower().replace('-', '_')}"
        source, absent = (f'"$https:{own}"', '"on:"') if name == HSTS else (own, '""')
        shown = parts.map(source, {absent: wanted})
        lines.append(f"add_header {name} {shown} always;")
    return lines


def error_lines(item: dict[str, Any], site: dict[str, Any], parts: Parts) -> list[str]:
    return [
        f"error_page {' '.join(str(status) for status in page['status'])} {page_path(page['page'], site, parts)};"
        for page in item["error_pages"] or []
    ]


def page_path(file: str, site: dict[str, Any], parts: Parts, *lines: str) -> str:
    """The path of a page that is a file of the operator or of an application."""
    return parts.page(file, link_line(site, posixpath.dirname(file)), *lines)


def unavailable_lines(location: dict[str, Any], site: dict[str, Any], parts: Parts) -> list[str]:
    """The line that turns nginx's own 502 and 504 into 503 with Retry-After.

    nginx takes the first line that names a status, so this one stands before the other error pages.
    """
    if not location["retry_after"]:
        return []
    retry = f"set $pyweb_retry_after {location['retry_after']};"
    pages = location["error_pages"] or site["error_pages"] or []
    own = [page["page"] for status in (503, 502, 504) for page in pages if status in page["status"]]
    page = page_path(own[0], site, parts, retry) if own else parts.page(f"{TREE}/unavailable.html", retry)
    return [f"error_page 502 504 =503 {page};"]


def maintenance_lines(item: dict[str, Any], site: dict[str, Any], error_pages: list[str], parts: Parts) -> list[str]:
    """Lines of a location for maintenance: 503 with a page, except for allowed addresses and open paths.

    An error_page in a location drops those of the server, so they are repeated.
    """
    maintenance = item["maintenance"]
    if not in_maintenance(item):
        return []
    visitors = ["default 1;", *(f"{quote(address)} 0;" for address in maintenance["allow"])]
    visitor = parts.variable("geo", visitors)
    # A plain text in a map would match in any case.
    open_paths = {rf'"~^1:{re.escape(path)}\z"': "0" for path in maintenance["open_paths"]}
    closed = parts.map(f'"{visitor}:$uri"', {**open_paths, "~^1:": "1"}, default="0")
    retry = f"set $pyweb_retry_after {maintenance['retry_after']};"
    own = maintenance["page"]
    page = page_path(own, site, parts, retry) if own else parts.page(f"{TREE}/maintenance.html", retry)
    return [f"if ({closed}) {{", "    return 503;", "}", f"error_page 503 {page};", *error_pages]


def in_maintenance(item: dict[str, Any]) -> bool:
    return bool(item["maintenance"] and item["maintenance"]["enabled"])
