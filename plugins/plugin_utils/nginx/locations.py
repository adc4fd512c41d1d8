# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The location blocks of a site: what is proxied, and what nginx serves from folders itself."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.access import (
    access_lines,
    answer_lines,
    error_lines,
    header_lines,
    limit_lines,
    maintenance_lines,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, extra_lines, joined, quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.internal_folders import sender_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.links import UNCHECKED, link_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.parts import Parts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.upstreams import Target, Upstreams
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.values import (
    AFTER_COOKIE,
    BEFORE_COOKIE,
    LOGIN_COOKIE,
)

IMMUTABLE = "public, max-age=31536000, immutable"
TIMEOUT = 60  # seconds; nginx's own default
# nginx serves no names that begin with a dot, except those of RFC 8615.
HIDDEN = block(r"location ~ /\.(?!well-known/)", ["return 404;"])


def location_blocks(
    location: dict[str, Any], site: dict[str, Any], upstreams: Upstreams, parts: Parts
) -> list[dict[str, Any]]:
    """The blocks of one location: each has the ``head`` that nginx matches, ``lines``, and blocks ``inside`` it."""
    prefix = location["path"].rstrip("/")
    extra = extra_lines(location["extra"], f"extra of location {location['path']}")
    if location["alias"] is not None:
        return [folder(location, site, prefix, extra, parts)]
    # /api and /api/... but not /apiary: an exact match and a prefix, because a regular expression would win over longer
    # prefixes.
    heads = [f"= {quote(prefix)}", quote(f"{prefix}/")] if prefix else ["/"]
    passed, inside = proxy_lines(location, site, prefix, upstreams.target(location["upstream"]), parts), []
    if location["instead"]:
        other = proxy_lines(location, site, prefix, upstreams.target(location["instead"]["upstream"]), parts)
        # nginx looks for the file at each request, so that its creation and removal take effect at once.
        passed = ["open_file_cache off;", *passed, *other[1:]]
        inside = [block(f"if (-e {quote(location['instead']['exists'])})", other[:1])]
    lines = [
        *passed,
        *sender_lines(location, site, upstreams),
        *shared_lines(location, site, parts),
        *limit_lines(location, site, parts),
        *maintenance(location, site, parts),
        *extra,
    ]
    return [{**block(f"location {head}", lines), "inside": inside} for head in heads]


def shared_lines(location: dict[str, Any], site: dict[str, Any], parts: Parts) -> list[str]:
    lines = []
    if location["max_body_size"] is not None:
        lines.append(f"client_max_body_size {quote(location['max_body_size'])};")
    return [*lines, *access_lines(location, parts), *answer_lines(location, parts)]


def maintenance(location: dict[str, Any], site: dict[str, Any], parts: Parts) -> list[str]:
    """Lines for the maintenance of the location or of the site, and for its error pages."""
    own = error_lines(location, site, parts)
    item = location if location["maintenance"] else site
    return maintenance_lines(item, site, own or error_lines(site, site, parts), parts) or own


def folder(
    location: dict[str, Any], site: dict[str, Any], prefix: str, extra: list[str], parts: Parts
) -> dict[str, Any]:
    # Both end in a slash: with only one of them, /static../secret would leave the folder.
    path, alias = f"{prefix}/", location["alias"].rstrip("/") + "/"
    lifetime = f"set $pyweb_cache_control {quote(IMMUTABLE if location['immutable'] else 'no-cache')};"
    lines = ["internal;"] if location["internal"] else []
    if location["precompressed"]:
        lines += ["gzip_static on;", *(["brotli_static on;"] if parts.brotli else [])]
    lines += [*shared_lines(location, site, parts), *error_lines(location, site, parts), *extra]
    unchecked = location["precompressed"] and parts.brotli
    head = f"location ^~ {quote(path)}"
    if not location["fallback"]:
        links = UNCHECKED if unchecked else link_line(site, alias)
        return {**block(head, [f"alias {quote(alias)};", links, lifetime, *lines]), "inside": [HIDDEN]}
    places = [alias, *(place.rstrip("/") + "/" for place in location["fallback"])]
    root = posixpath.commonpath(places)
    files = " ".join(joined(f"/{posixpath.relpath(place, root)}/", "$pyweb_file") for place in places)
    first = block(
        rf'location ~ "^{re.escape(path)}(?<pyweb_file>(?s:.*))\z"',
        [
            # A location inside another does not run the "set" of the outer one.
            *header_lines(location, parts),
            lifetime,
            f"root {quote(root)};",
            UNCHECKED if unchecked else link_line(site, root),
            # For a file that was requested within the last second, nginx does not search the folders again.
            "open_file_cache max=1000 inactive=1s;",
            "open_file_cache_valid 1s;",
            f"try_files {files} =404;",
        ],
    )
    return {**block(head, lines), "inside": [HIDDEN, first]}


def proxy_lines(location: dict[str, Any], site: dict[str, Any], prefix: str, target: Target, parts: Parts) -> list[str]:
    """The directives that pass requests to a target. The first one names it."""
    module = "uwsgi" if target.protocol == "uwsgi" else "proxy"
    speak = uwsgi_lines if module == "uwsgi" else http_lines
    timeout = location["read_timeout"] or TIMEOUT
    lines = speak(location, prefix, target.name, parts)
    if location["connect_timeout"]:
        lines.append(f"{module}_connect_timeout {location['connect_timeout']}s;")
    lines += [f"{module}_read_timeout {timeout}s;", f"{module}_send_timeout {timeout}s;"]
    if location["buffering"] is False:
        lines.append(f"{module}_buffering off;")
    if location["request_buffering"] is False:
        lines.append(f"{module}_request_buffering off;")
    if location["max_temp_file_size"] is not None:
        lines.append(f"{module}_max_temp_file_size {quote(location['max_temp_file_size'])};")
    lines += [f"{module}_{directive} {value};" for directive, value in target.again]
    intercept = site["intercept_errors"] if location["intercept_errors"] is None else location["intercept_errors"]
    if intercept:
        lines.append(f"{module}_intercept_errors on;")
    if location["cache"]:
        lines += cache_lines(location["cache"], module, location["path"], parts)
    return lines


def http_lines(location: dict[str, Any], prefix: str, name: str, parts: Parts) -> list[str]:
    lines = [
        f"proxy_pass http://{name};",
        "include @TREE@/proxy.conf;",
        f"proxy_set_header X-Forwarded-Prefix {quote(prefix)};",
    ]
    if location["websocket"]:
        return [
            *lines,
            "proxy_set_header Upgrade $pyweb_upgrade;",
            "proxy_set_header Connection $pyweb_connection;",
        ]
    return [*lines, 'proxy_set_header Connection "";']


def uwsgi_lines(location: dict[str, Any], prefix: str, name: str, parts: Parts) -> list[str]:
    """The uwsgi protocol has the parameters of WSGI: the prefix apart from the rest of the path."""
    rest = "$uri"
    if prefix:
        rest = parts.map("$uri", {rf'"~^{re.escape(prefix)}(?<pyweb_rest>/(?s:.*))\z"': "$pyweb_rest"})
    lines = [
        f"uwsgi_pass {name};",
        "include @TREE@/uwsgi.conf;",
        f"uwsgi_param SCRIPT_NAME {quote(prefix)};",
        f"uwsgi_param PATH_INFO {rest};",
        f"uwsgi_param HTTP_X_FORWARDED_PREFIX {quote(prefix)} if_not_empty;",
    ]
    if location["websocket"]:
        return [
            *lines,
            "uwsgi_param HTTP_CONNECTION $pyweb_connection if_not_empty;",
            "uwsgi_param HTTP_UPGRADE $pyweb_upgrade if_not_empty;",
        ]
    # As for HTTP: these two are about the visitor's connection, and are passed on for an upgrade only.
    return [*lines, 'uwsgi_param HTTP_CONNECTION "" if_not_empty;', 'uwsgi_param HTTP_UPGRADE "" if_not_empty;']


def bypassing_cookies(names: list[str], parts: Parts) -> str:
    """The variable that is set for a request with one of these cookies; without names, for one with any cookie.

    A cookie that looks like one of a login counts, too. Otherwise a name that is missing in the list would let nginx
    keep the response for one user, and send it to others. A map counts the value 0, which nginx takes for "no".
    It reads the whole header: of two cookies with one name, nginx reads the first, but many applications the last.
    """
    if not names:
        return "$http_cookie"
    patterns = [name.replace("*", "[^=;]*") for name in names]
    names_of_all = "|".join([*patterns, LOGIN_COOKIE])
    return parts.map("$http_cookie", {f'"~*{BEFORE_COOKIE}(?:{names_of_all}){AFTER_COOKIE}"': "1"})


def cache_lines(cache: dict[str, Any], module: str, owner: str, parts: Parts) -> list[str]:
    # nginx makes the folder itself, but only one level of it.
    zone = parts.zone(
        f"{module}_cache_path /var/lib/nginx/pyweb_{{0}} levels=1:2 keys_zone={{0}}:1m "
        f"max_size={cache['max_size']} inactive=10m use_temp_path=off;",
        owner=owner,
    )
    private = f"{bypassing_cookies(cache['bypass_cookies'], parts)} $http_authorization"
    # Only the proxy module turns HEAD into GET for the cache.
    method = "$request_method" if module == "uwsgi" else ""
    lines = [
        f"{module}_cache {zone};",
        f'{module}_cache_key "{method}$pyweb_scheme://$pyweb_host$request_uri";',
        f"{module}_cache_valid 200 301 302 {cache['valid']}s;",
        f"{module}_cache_bypass {private};",
        f"{module}_no_cache {private};",
        f"{module}_cache_lock on;",
    ]
    if cache["stale_while_revalidate"]:
        lines += [
            f"{module}_cache_use_stale updating error timeout http_500 http_503;",
            f"{module}_cache_background_update on;",
        ]
    return lines
