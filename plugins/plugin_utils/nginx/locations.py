# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The location blocks of a site: what is proxied, and what nginx serves from folders itself."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.http_blocks import HttpBlocks
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.upstreams import Upstreams

IMMUTABLE = "public, max-age=31536000, immutable"
READ_TIMEOUT = 60  # seconds; nginx's own default


def location_blocks(location: dict[str, Any], upstreams: Upstreams, http: HttpBlocks) -> list[dict[str, Any]]:
    """The blocks of one location: the ``head`` that nginx matches, its ``lines``, and blocks ``inside`` it."""
    if location["alias"] is not None:
        return [folder(location)]
    prefix = location["path"].rstrip("/")
    # /api and /api/... but not /apiary: an exact match and a prefix, because a regular expression would win over longer
    # prefixes.
    heads = [f"= {quote(prefix)}", quote(f"{prefix}/")] if prefix else ["/"]
    lines = proxy_lines(location, prefix, upstreams, http)
    return [{**block(f"location {head}", lines), "inside": []} for head in heads]


def folder(location: dict[str, Any]) -> dict[str, Any]:
    # Both end in a slash: with only one of them, /static../secret would leave the folder.
    path, alias = location["path"].rstrip("/") + "/", location["alias"].rstrip("/") + "/"
    lines = [
        f"alias {quote(alias)};",
        f"set $pyweb_cache_control {quote(IMMUTABLE if location['immutable'] else 'no-cache')};",
    ]
    hidden = block(r"location ~ /\.(?!well-known/)", ["return 404;"])
    return {**block(f"location ^~ {quote(path)}", lines), "inside": [hidden]}


def proxy_lines(location: dict[str, Any], prefix: str, upstreams: Upstreams, http: HttpBlocks) -> list[str]:
    protocol, name = upstreams.target(location)
    timeout = location["read_timeout"] or READ_TIMEOUT
    module = "uwsgi" if protocol == "uwsgi" else "proxy"
    lines = uwsgi_lines(prefix, name, http) if protocol == "uwsgi" else http_lines(location, prefix, name)
    lines += [f"{module}_read_timeout {timeout}s;", f"{module}_send_timeout {timeout}s;"]
    if location["buffering"] is False:
        lines.append(f"{module}_buffering off;")
    return lines


def http_lines(location: dict[str, Any], prefix: str, name: str) -> list[str]:
    lines = [
        f"proxy_pass http://{name};",
        "include @TREE@/proxy.conf;",
        f"proxy_set_header X-Forwarded-Prefix {quote(prefix)};",
    ]
    if location["websocket"]:
        return [
            *lines,
            "proxy_set_header Upgrade $http_upgrade;",
            "proxy_set_header Connection $pyweb_connection;",
        ]
    return [*lines, 'proxy_set_header Connection "";']


def uwsgi_lines(prefix: str, name: str, http: HttpBlocks) -> list[str]:
    """The uwsgi protocol carries what WSGI asks for: the prefix apart from the rest of the path."""
    rest = "$uri"
    if prefix:
        rest = http.map("$uri", {f"~^{re.escape(prefix)}(?<pyweb_rest>/(?s:.*))\\z": "$pyweb_rest"})
    return [
        f"uwsgi_pass {name};",
        "include @TREE@/uwsgi.conf;",
        f"uwsgi_param SCRIPT_NAME {quote(prefix)};",
        f"uwsgi_param PATH_INFO {rest};",
    ]
