# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The location blocks of a site: what is proxied, and what nginx serves from folders itself."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.access import (
    error_lines,
    limit_lines,
    maintenance_lines,
    unavailable_lines,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.folders import folder_blocks, rule_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.inheritance import (
    passed_by_http,
    passed_by_uwsgi,
    repeated_pages,
    timeouts,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.inherited_access import directive_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.internal_folders import sender_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.parts import Parts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.upstreams import Target, Upstreams
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.values import (
    AFTER_COOKIE,
    BEFORE_COOKIE,
    LOGIN_COOKIE,
)

TIMEOUT = 60  # seconds; nginx's own default
# Seconds without data on a WebSocket or a stream of events, which may be silent for long.
SILENCE = 3600


def location_blocks(
    location: dict[str, Any], site: dict[str, Any], upstreams: Upstreams, parts: Parts
) -> list[dict[str, Any]]:
    """The blocks of one location: each has the ``head`` that nginx matches, ``lines``, and blocks ``inside`` it."""
    prefix = location["path"].rstrip("/")
    if location["alias"] is not None:
        return folder_blocks(location, site, prefix, parts)
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
        *rule_lines(location, parts),
        *limit_lines(location, site, parts),
        *maintenance(location, site, parts),
        *directive_lines(location),
    ]
    return [{**block(f"location {head}", lines), "inside": inside} for head in heads]


def maintenance(location: dict[str, Any], site: dict[str, Any], parts: Parts) -> list[str]:
    """Lines for the maintenance of the location or of the site, and for its error pages."""
    own = error_lines(location, site, parts)
    item = location if location["maintenance"] else site
    # An error_page in a location drops those of the server, so they are repeated.
    repeated = own or error_lines(site, site, parts)
    if unavailable := unavailable_lines(location, site, parts):
        own = repeated = [*unavailable, *repeated, *repeated_pages(site["extra"], location["extra"])]
    return maintenance_lines(item, site, repeated, parts) or own


def proxy_lines(location: dict[str, Any], site: dict[str, Any], prefix: str, target: Target, parts: Parts) -> list[str]:
    """The directives that pass requests to a target. The first one names it."""
    module = "uwsgi" if target.protocol == "uwsgi" else "proxy"
    speak = uwsgi_lines if module == "uwsgi" else http_lines
    lines = [*speak(location, prefix, target.name, parts), *if_match_lines(location, site, module)]
    lines += (passed_by_uwsgi if module == "uwsgi" else passed_by_http)(site["extra"], location["extra"])
    if location["connect_timeout"]:
        lines.append(f"{module}_connect_timeout {location['connect_timeout']}s;")
    lines += timeout_lines(location, site, module)
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


def timeout_lines(location: dict[str, Any], site: dict[str, Any], module: str) -> list[str]:
    """The time that an application may be silent: the location's, else that of the site's own directives."""
    usual = SILENCE if location["websocket"] or location["buffering"] is False else TIMEOUT
    given = {} if location["read_timeout"] else timeouts(site["extra"])
    own = f"{location['read_timeout'] or usual}s"
    return [f"{module}_{name}_timeout {given.get(name, own)};" for name in ("read", "send")]


def if_match_lines(location: dict[str, Any], site: dict[str, Any], module: str) -> list[str]:
    """The header If-Match as the application expects it, where nginx may have compressed its response."""
    if (site["gzip"] if location["gzip"] is None else location["gzip"]) is False:
        return []
    tags = "$pyweb_if_match_past_cache" if location["cache"] else "$pyweb_if_match"
    if module == "uwsgi":
        return [f"uwsgi_param HTTP_IF_MATCH {tags} if_not_empty;"]
    return [f"proxy_set_header If-Match {tags};"]


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
            f"{module}_cache_use_stale updating error timeout {cache.get('stale_on', 'http_500 http_503')};",
            f"{module}_cache_background_update on;",
        ]
    return lines
