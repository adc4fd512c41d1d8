# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files of nginx's tree for valid sites: dictionaries of path, template and vars. Pure."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.owners import OWN_SITES
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx import client_headers
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.access import (
    access_lines,
    added_headers,
    answer_lines,
    error_lines,
    in_maintenance,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.balanced import (
    check_locations,
    door_lines,
    host_check,
    stranger_lines,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, extra_lines, quote, quoted
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.edge import (
    health_page,
    peer_blocks,
    proof_from_peers,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.inherited_access import (
    with_inherited_access,
    with_inner_refusals,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.internal_folders import guarded_extra, redirect_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.locations import location_blocks
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.parts import TREE, Parts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.request_paths import REFUSE_AMBIGUOUS, path_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import (
    challenge,
    elsewhere,
    has_tls,
    http_lines,
    listen_lines,
    moved_lines,
    tls_ports,
    with_tls,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.upstreams import Upstreams

# The name of the default site: that of a request without any Host.
EVERY_HOST = '""'

# A request for an unknown host on an existing connection gets 421, so that a browser opens a new connection.
REFUSED = [
    "server_name _;",
    "#@ if reject_handshake",
    "ssl_reject_handshake on;",
    "#@ else",
    "# This nginx has no directive for it. A certificate that can't be read rejects the handshake, too.",
    "ssl_certificate /dev/null/$nginx_version;",
    "ssl_certificate_key /dev/null/$nginx_version;",
    "error_log /dev/null crit;",
    "#@ end",
    "location / {",
    "    return 421;",
    "}",
]


def tree_files(sites: list[dict[str, Any]], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """All files. Their order does not depend on the order of the sites."""
    sites = sorted(sites, key=lambda site: site["name"])
    files = [
        template("nginx.conf", main_vars(sites, settings)),
        template("proxy.conf", {"headers": client_headers.removed(settings["trusted_proxies"])}),
        template("uwsgi.conf", {"headers": client_headers.removed(settings["trusted_proxies"])}),
        template("catch_all.conf", {"servers": catch_all(sites, settings)}),
    ]
    if settings["status_port"]:
        files.append(template("status.conf", {"port": settings["status_port"]}))
    if any(in_maintenance(item) for site in sites for item in (site, *site["locations"])):
        files.append(template("maintenance.html", {}))
    if any(location["retry_after"] for site in sites for location in site["locations"]):
        files.append(template("unavailable.html", {}))
    for site in sites:
        files += site_files(site, settings)
    return files


def template(path: str, variables: dict[str, Any]) -> dict[str, Any]:
    return {"path": path, "template": f"{path}.j2", "vars": variables}


def main_vars(sites: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    connections = settings["worker_connections"]
    return {
        "tree": TREE,
        "worker_processes": settings["worker_processes"],
        "worker_connections": connections,
        # A proxied connection has the visitor's socket, the application's, and in the worst case a buffer file.
        "worker_rlimit_nofile": 3 * connections + 512,
        "worker_shutdown_timeout": settings["worker_shutdown_timeout"],
        "server_names_hash_bucket_size": bucket_size(sites),
        "variables_hash": variables_hash_lines(settings["extra"]),
        "trusted_proxies": settings["trusted_proxies"],
        "stranger": stranger_lines(settings["balancers"]) if settings.get("balancers") else [],
        "proxy_headers": client_headers.maps(settings["trusted_proxies"]),
        "real_ip_header": settings["real_ip_header"],
        "brotli": settings["brotli"],
        "status": bool(settings["status_port"]),
        "tls": http_lines(sites, settings["tls_profile"]),
        "buffers": buffer_lines(settings["extra"]),
        "header_buffers": header_buffer_lines(settings["extra"]),
        "extra": extra_lines(settings["extra"], "nginx_extra"),
        "user": "www-data",
        "pid_file": "/run/nginx.pid",
        "log_dir": "/var/log/nginx",
    }


def buffer_lines(extra: str) -> list[str]:
    """The buffers for responses, of each protocol of which nginx_extra sets none.

    The headers of a response must fit into one buffer: 32k of them, and what a cache stores before them. A site may set
    its own buffer size up to 64k without setting the number of buffers as well.
    """
    protocols = [name for name in ("proxy", "uwsgi") if not re.search(rf"\b{name}_(?:busy_)?buffer", extra)]
    return [line for name in protocols for line in (f"{name}_buffer_size 40k;", f"{name}_buffers 24 8k;")]


def header_buffer_lines(extra: str) -> list[str]:
    """The limits of a request line and of a header: 16k each. A request may have 64k of both."""
    return [] if "large_client_header_buffers" in extra else ["large_client_header_buffers 4 16k;"]


def variables_hash_lines(extra: str) -> list[str]:
    """The size of nginx's table of variables, unless nginx_extra sets it. nginx allows each of them only once."""
    sizes = {"variables_hash_max_size": 4096, "variables_hash_bucket_size": 128}
    return [f"{name} {size};" for name, size in sizes.items() if name not in extra]


def catch_all(sites: list[dict[str, Any]], settings: dict[str, Any]) -> list[list[str]]:
    """Servers for requests for unknown hosts, on every port without a default site."""
    defaults = [site for site in sites if not site["domains"]]
    plain = {site["port"] for site in sites} - {site["port"] for site in defaults}
    secure = set(tls_ports(sites)) - set(tls_ports(defaults))
    # Health checks of balancers come by address.
    checks = [host_check(settings)] if settings.get("balancers") else health_page(settings)
    unknown = ["return 444;"]
    if checks:
        unknown = [line for check in checks for line in (f"{check['head']} {{", *indented(check["lines"]), "}")]
        unknown += ["location / {", "    return 444;", "}"]
    return [
        *([*plain_listen_lines(port, True), "server_name _;", *unknown] for port in sorted(plain)),
        *([*listen_lines(port, True, settings["http3"]), *REFUSED] for port in sorted(secure)),
    ]


def indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def site_files(site: dict[str, Any], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The file of one site, with its servers, and the files of its secrets."""
    site = {**site, "locations": with_inherited_access(site["locations"])}
    upstreams, parts = Upstreams(site), Parts(site["name"], settings)
    locations = [
        with_inner_refusals(found, location)
        for location in site["locations"]
        for found in location_blocks(location, site, upstreams, parts)
    ] + check_locations(site, settings, upstreams, parts)
    lines = server_lines(site, settings, upstreams, parts)
    own = {
        "listen": plain_listen_lines(site["port"], not site["domains"]),
        "lines": lines,
        "locations": locations,
        "pages": [{**block(f"location = {path}", inside), "inside": []} for path, inside in parts.pages.items()]
        + health_page(settings),
        "proof": proof_from_peers(site, settings, challenge()),
        "extra": extra_lines(guarded_extra(site), "extra"),
        "elsewhere": elsewhere(site, settings["trusted_proxies"], parts) if has_tls(site) else "",
    }
    redirect = {**redirect_server(site), "pages": health_page(settings)} if site["redirects"] else None
    servers = with_tls(site, own, redirect, settings["http3"])
    variables = {
        "owner": site.get("owner", OWN_SITES),
        "lines": parts.lines,
        "blocks": [*upstreams.blocks(), *peer_blocks(site, settings), *parts.blocks],
        "servers": servers,
    }
    return [
        {"path": f"sites/{site['name']}.conf", "template": "site.conf.j2", "vars": variables},
        *({"path": path, "content": content, "secret": True} for path, content in parts.secrets.items()),
    ]


def redirect_server(site: dict[str, Any]) -> dict[str, Any]:
    """The server that redirects other names to the first domain."""
    basics = [f"server_name {quoted(site['redirects'])};", *log_lines(site), *REFUSE_AMBIGUOUS]
    target = f"$pyweb_scheme://{site['domains'][0]}$pyweb_port_suffix$request_uri"
    return {
        "listen": plain_listen_lines(site["port"], False),
        "basics": basics,
        "lines": [*basics, "", *moved_lines(target)],
        "locations": [],
        "pages": [],
        "extra": [],
    }


def server_lines(site: dict[str, Any], settings: dict[str, Any], upstreams: Upstreams, parts: Parts) -> list[str]:
    lines = [
        f"server_name {quoted(site['domains']) or EVERY_HOST};",
        *log_lines(site),
        *door_lines(site, settings),
        *path_lines(site, parts),
        *redirect_lines(site, upstreams, parts),
        f"client_max_body_size {quote(site['max_body_size'])};",
        *access_lines(site, parts),
        *error_lines(site, site, parts),
    ]
    headers = answer_lines(site, parts)
    lines += [f'set {wanted} "";' for wanted in parts.headers.values() if not any(wanted in line for line in headers)]
    lines += headers + added_headers(parts)
    if any(location["cache"] for location in site["locations"]):
        lines.append("add_header X-Cache-Status $upstream_cache_status;")
    if any(location["alias"] for location in site["locations"]):
        lines += [
            "# Set per folder, and added here, because add_header in a location would drop those of the server.",
            'set $pyweb_cache_control "";',
            "add_header Cache-Control $pyweb_cache_control;",
        ]
    closing = any(in_maintenance(item) for item in (site, *site["locations"]))
    if closing or any(location["retry_after"] for location in site["locations"]):
        lines += ['set $pyweb_retry_after "";', "add_header Retry-After $pyweb_retry_after always;"]
    return lines


def plain_listen_lines(port: int, default: bool) -> list[str]:
    """The addresses of a server without TLS, for IPv4 and IPv6."""
    options = " default_server" if default else ""
    return [f"listen {address}{port}{options};" for address in ("", "[::]:")]


# A write per request would cost nginx a tenth of its rate for files. A reload and a rotation write at once.
BUFFERED = "buffer=64k flush=1s"


def log_files(site: dict[str, Any]) -> tuple[str, str]:
    """The access log and the error log of a site."""
    access, error = (site[f"{kind}_log"] or f"/var/log/nginx/{site['name']}.{kind}.log" for kind in ("access", "error"))
    return access, error


def log_lines(site: dict[str, Any]) -> list[str]:
    access, error = log_files(site)
    log = quote(access) if access == "off" else f"{quote(access)} pyweb_{site['log_format']} {BUFFERED}"
    return [f"access_log {log};", f"error_log {quote(error)};"]


def bucket_size(sites: list[dict[str, Any]]) -> int:
    """The size for the longest name, its length, a pointer and the alignment. nginx's own default is 64."""
    longest = max((len(name) for site in sites for name in [*site["domains"], *site["redirects"]]), default=0)
    size = 64
    while size < longest + 40:
        size *= 2
    return size
