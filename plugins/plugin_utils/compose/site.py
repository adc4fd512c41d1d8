# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""nginx's configuration for a container: that of a host, with other addresses. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.conditions import for_host
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.entries import Tree, text
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import FRONT, HTTP, TREE, UWSGI, Order
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked_with_applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tree import tree_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites, upstream

# The names of this machine, which the site gets beside its own.
LOCAL = ("localhost", "127.0.0.1")
# Lines that hold for nginx from 1.20 on. Those for newer features are about TLS and about switches.
FACTS = frozenset({"reject_handshake", "keepalive_time", "newer_types"})
# Settings that describe the surroundings of a host.
ELSEWHERE: dict[str, Any] = {"trusted_proxies": [], "balancers": [], "status_port": 0, "brotli": False}
# Lines of nginx.conf that need root, or write to the folder of the configuration.
NEEDLESS = re.compile(r"user www-data;\n|# nginx keeps this file open[^\n]*\nerror_log [^\n]*/loaded emerg;\n")
# Where nginx writes on a host, and in the container. There, /tmp alone is writable.
WRITTEN = {
    "/var/log/nginx/access.log": "/dev/stdout",
    "/var/log/nginx/error.log": "/dev/stderr",
    "/run/nginx.pid": "/tmp/nginx.pid",  # noqa: S108  # in the container
    "/var/lib/nginx/": "/tmp/",  # noqa: S108  # in the container
}
TEMPORARY = "/tmp/temporary.conf"  # noqa: S108  # in the container

START = """\
#!/bin/sh
# Starts nginx when the container of the application has an address, and reloads it when the address changes.
# nginx looks for the address only when it loads its configuration.
address() {
    getent hosts app | sort
}
until known=$(address) && [ -n "$known" ]; do
    sleep 0.2
done
# The folders for temporary files, of those modules that this nginx has.
for name in client_body proxy fastcgi uwsgi scgi; do
    nginx -V 2>&1 | grep -q -e "--without-http_${name}_module" || echo "${name}_temp_path /tmp/$name;"
done >TEMPORARY
nginx -e stderr -c TREE/nginx.conf -g 'daemon off;' &
nginx=$!
trap 'kill -QUIT "$nginx" 2>/dev/null' QUIT TERM INT
while kill -0 "$nginx" 2>/dev/null; do
    sleep 1 &
    wait $!
    now=$(address)
    if [ -n "$now" ] && [ "$now" != "$known" ]; then
        known=$now
        kill -HUP "$nginx"
    fi
done
wait "$nginx"
"""


def nginx_templates(order: Order) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """The templates of nginx's files, the places of the application that they serve, and every problem."""
    sites = [adapted(order, site) for site in nginx_sites([order.app], order.root)]
    filled, settings, problems = checked_with_applications([], {**order.settings, **ELSEWHERE}, sites)
    if problems:
        return [], [], problems
    files = tree_files(filled, settings)
    for file in files:
        if file["path"] == "nginx.conf":
            file["vars"] = {**file["vars"], "extra": [f"    include {TEMPORARY};", *file["vars"]["extra"]]}
    return files, sorted(set(served(order, sites))), []


def adapted(order: Order, site: dict[str, Any]) -> dict[str, Any]:
    """The site of a host as a container serves it: without TLS, to the container of the application."""
    domains = [*site["domains"], *(name for name in LOCAL if name not in site["domains"])] if site["domains"] else []
    return {
        **site,
        "port": FRONT,
        "domains": domains,
        "tls": {"mode": "none"},
        "access_log": "/dev/stdout",
        "error_log": "/dev/stderr",
        "locations": [to_container(order, location) for location in site["locations"]],
        **(
            {"upstreams": [{**one, "servers": [{"address": f"app:{HTTP}"}]} for one in site["upstreams"]]}
            if "upstreams" in site
            else {}
        ),
    }


def to_container(order: Order, location: dict[str, Any]) -> dict[str, Any]:
    """A location that leads to the container. There is one release, so no other one is a fallback."""
    found = {key: value for key, value in location.items() if key not in ("instead", "fallback")}
    socket = upstream(order.app, order.root)
    is_uwsgi = order.app["server"] == "uwsgi"
    address = f"uwsgi://app:{UWSGI}" if is_uwsgi else f"http://app:{HTTP}"
    for key in ("upstream", "internal_for"):
        if found.get(key) == socket or (is_uwsgi and found.get(key) == order.name):
            found[key] = address
    return found


def served(order: Order, sites: list[dict[str, Any]]) -> Iterator[str]:
    """The folders of the application that nginx reads: static files and pages. Paths in the containers."""
    for site in sites:
        for item in (site, *site["locations"]):
            if item.get("alias"):
                yield posixpath.normpath(item["alias"])
            pages = [page["page"] for page in item.get("error_pages") or []]
            pages += [(item.get("maintenance") or {}).get("page") or ""]
            yield from (posixpath.dirname(page) for page in pages if page.startswith(f"{order.home}/"))


def nginx_files(rendered: list[dict[str, Any]]) -> Tree:
    """The files of the container of nginx, from the rendered templates."""
    texts = {file["path"]: str(file["content"]) for file in rendered}
    for host, here in WRITTEN.items():
        texts = {path: content.replace(host, here) for path, content in texts.items()}
    texts["nginx.conf"] = NEEDLESS.sub("", texts["nginx.conf"])
    texts["start"] = START.replace("TEMPORARY", TEMPORARY).replace("TREE", TREE)
    return {f"nginx/{path}": text(content) for path, content in for_host(texts, TREE, False, FACTS).items()}
