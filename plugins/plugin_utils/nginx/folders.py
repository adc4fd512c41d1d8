# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Folders that nginx serves itself: their files, start pages, and a page for every other path. Pure."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.access import (
    access_lines,
    answer_lines,
    error_lines,
    header_lines,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, joined, quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.inherited_access import directive_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.links import link_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.parts import Parts

IMMUTABLE = "public, max-age=31536000, immutable"
START_PAGE = "index.html"
# nginx serves no names that begin with a dot, except those of RFC 8615.
HIDDEN = block(r"location ~ /\.(?!well-known/)", ["return 404;"])
# nginx adds a character set to text/html and these.
TEXT_TYPES = (
    "text/plain text/css text/xml text/javascript application/javascript text/csv text/markdown text/calendar text/vtt"
)
# Endings of files that a page loads. A browser must not take a page for a missing one.
LOADED = (
    "js|mjs|css|map|json|wasm|webmanifest|png|jpe?g|gif|svgz?|webp|avif|ico|bmp|woff2?|ttf|otf|eot|mp3|mp4|webm|ogg|pdf"
    "|txt|xml|zip|gz|br"
)


def folder_blocks(location: dict[str, Any], site: dict[str, Any], prefix: str, parts: Parts) -> list[dict[str, Any]]:
    # Both end in a slash: with only one of them, /static../secret would leave the folder.
    path, alias = f"{prefix}/", location["alias"].rstrip("/") + "/"
    extra = directive_lines(location)
    lines = [*(["internal;"] if location["internal"] else []), *own_lines(location, site, parts), *extra]
    lifetime = lifetime_line(location["immutable"])
    head = f"location ^~ {quote(path)}"
    if not location["fallback"] and not location["page"]:
        return [
            {
                **block(head, [f"alias {quote(alias)};", link_line(site, alias), lifetime, *lines]),
                "inside": [HIDDEN],
            }
        ]
    places = [alias, *(place.rstrip("/") + "/" for place in location["fallback"] or [])]
    root = posixpath.commonpath(places)
    found = [f"/{posixpath.relpath(place, root)}/".replace("/./", "/") for place in places]
    # A location inside another does not run the "set" of the outer one.
    common = [
        f"root {quote(root)};",
        link_line(site, root),
        # For a file that was requested within the last second, nginx does not search the folders again.
        "open_file_cache max=1000 inactive=1s;",
        "open_file_cache_valid 1s;",
    ]
    # The directives of a user may not be allowed in a named location. A page needs them, and nginx checks them.
    otherwise = parts.named_location() if not location["internal"] and (location["page"] or not extra) else None
    missing = otherwise or "=404"
    headers = header_lines(location, parts)
    names = ".*" if location["internal"] else ".*[^/]"
    files = block(
        rf'location ~ "^{re.escape(path)}(?<pyweb_file>(?s:{names}))\z"',
        [
            *headers,
            lifetime,
            *common,
            f"try_files {' '.join(joined(place, '$pyweb_file') for place in found)} {missing};",
        ],
    )
    starts = " ".join(joined(place, "${pyweb_file}", START_PAGE) for place in found)
    start_pages = block(
        rf'location ~ "^{re.escape(path)}(?<pyweb_file>(?s:(?:.*/)?))\z"',
        [*headers, lifetime_line(False), *common, f"try_files {starts} {missing};"],
    )
    inside = [HIDDEN, files] if location["internal"] else [HIDDEN, files, start_pages]
    blocks = [{**block(head, lines), "inside": inside}]
    if otherwise:
        blocks.append(otherwise_block(otherwise, location, site, [*common[:2]], (root, found), parts))
    if location["page"] and prefix:
        # The rest of the path of a single page is relative to this folder.
        start = block(f"location = {quote(prefix)}", ["absolute_redirect off;", "return 301 $pyweb_with_slash;"])
        blocks.append({**start, "inside": []})
    return blocks


def otherwise_block(
    name: str,
    location: dict[str, Any],
    site: dict[str, Any],
    common: list[str],
    where: tuple[str, list[str]],
    parts: Parts,
) -> dict[str, Any]:
    """The response to a path without a file: the way to a folder's start page, the page of the location, or 404."""
    root, places = where
    lines = [*own_lines(location, site, parts), lifetime_line(False), *common]
    for place in places:
        start = joined(root.rstrip("/") + place, "$pyweb_file", f"/{START_PAGE}")
        lines += [f"if (-f {start}) {{", "    return 301 $pyweb_with_slash;", "}"]
    if not location["page"]:
        return {**block(f"location {name}", [*lines, "return 404;"]), "inside": []}
    lines += directive_lines(location)
    lines += [rf'if ($pyweb_file ~* "\.(?:{LOADED})\z") {{', "    return 404;", "}"]
    pages = " ".join(quote(place + location["page"]) for place in places)
    return {**block(f"location {name}", [*lines, f"try_files {pages} =404;"]), "inside": []}


def own_lines(location: dict[str, Any], site: dict[str, Any], parts: Parts) -> list[str]:
    """The settings of a folder, which hold for its files and for the responses without a file."""
    return [
        *precompressed_lines(location, parts),
        *redirect_lines(location),
        *charset_lines(location),
        *rule_lines(location, parts),
        *error_lines(location, site, parts),
    ]


def rule_lines(location: dict[str, Any], parts: Parts) -> list[str]:
    """The rules that a location may have of its own, whether it leads to a folder or to an application."""
    lines = []
    if location["max_body_size"] is not None:
        lines.append(f"client_max_body_size {quote(location['max_body_size'])};")
    return [*lines, *access_lines(location, parts), *answer_lines(location, parts)]


def precompressed_lines(location: dict[str, Any], parts: Parts) -> list[str]:
    if not location["precompressed"]:
        return []
    return ["gzip_static on;", *(["brotli_static on;"] if parts.brotli else [])]


def redirect_lines(location: dict[str, Any]) -> list[str]:
    """The redirect to a folder's slash names neither scheme nor port, which may differ in front of nginx."""
    return [] if "absolute_redirect" in location["extra"] else ["absolute_redirect off;"]


def charset_lines(location: dict[str, Any]) -> list[str]:
    if location["charset"] in (None, "off"):
        return []
    return [f"charset {quote(location['charset'])};", f"charset_types {TEXT_TYPES};"]


def lifetime_line(immutable: bool) -> str:
    return f"set $pyweb_cache_control {quote(IMMUTABLE if immutable else 'no-cache')};"
