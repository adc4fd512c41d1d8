# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""X-Accel-Redirect, by which an application lets nginx send a file of an internal folder. Pure.

nginx itself would follow it to every location of the site, also to the internal folders of other applications. Here
the header of an upstream without an internal folder is ignored, and the others reach their own folders.

The other X-Accel- headers change only the response that they are in, so applications may use them.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.parts import INTERNAL, Parts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.upstreams import Upstreams

INTERNAL_DIRECTIVE = re.compile(r"(?:^|[;{\s])internal\s*;")
FOLDER_DIRECTIVE = re.compile(r"(?:^|[;{\s])(?:alias|root)\s")
# The beginning of a named location in the operator's own directives.
NAMED = re.compile(r"((?:^|[;{}\s])location\s+@[^\s{]+\s*\{)")
NO_JUMP = ' if ($upstream_http_x_accel_redirect ~ "^@") { return 404; }'


def owner(folder: dict[str, Any], site: dict[str, Any]) -> str | None:
    """The upstream that an internal folder belongs to."""
    if folder["internal_for"]:
        return str(folder["internal_for"])
    around = [
        location
        for location in site["locations"]
        if location["upstream"] is not None and folder["path"].startswith(location["path"].rstrip("/") + "/")
    ]
    longest = max(around, key=lambda location: len(location["path"]), default=None)
    return longest["upstream"] if longest else None


def folders(site: dict[str, Any]) -> dict[str, list[str]]:
    """The internal folders of each upstream that has some."""
    found: dict[str, list[str]] = {}
    for location in site["locations"]:
        name = owner(location, site) if location["alias"] is not None and location["internal"] else None
        if name:
            found.setdefault(name, []).append(location["path"].rstrip("/") + "/")
    return found


def is_unrestricted(site: dict[str, Any]) -> bool:
    """Whether the operator's own directives have internal folders, and only one application can mean them."""
    upstreams = {location["upstream"] for location in site["locations"] if location["upstream"] is not None}
    found = [pattern.search(site["extra"]) for pattern in (INTERNAL_DIRECTIVE, FOLDER_DIRECTIVE)]
    return len(upstreams) == 1 and all(found)


def sender_lines(location: dict[str, Any], site: dict[str, Any], upstreams: Upstreams) -> list[str]:
    """Lines of a location with an upstream: either its name as the sender, or the header has no effect."""
    if is_unrestricted(site):
        return []
    if location["upstream"] in folders(site):
        return [f"set $pyweb_sender {upstreams.target(location['upstream']).name};"]
    modules = {upstreams.target(location["upstream"]).protocol}
    if location["instead"]:
        modules.add(upstreams.target(location["instead"]["upstream"]).protocol)
    names = sorted("uwsgi" if protocol == "uwsgi" else "proxy" for protocol in modules)
    return [f"{name}_ignore_headers X-Accel-Redirect;" for name in names]


def redirect_lines(site: dict[str, Any], upstreams: Upstreams, parts: Parts) -> list[str]:
    """Lines of the server: a redirect by the header gets 404 unless it leads into a folder of its sender.

    nginx runs them again for the redirect. Then $uri is its target. The pages of the site stay open, because an error
    of the folder leads to them.
    """
    allowed = folders(site)
    if not allowed or is_unrestricted(site):
        return []
    entries = ["volatile;", "default 1;", rf'"~^[^:]*:{re.escape(INTERNAL)}/" "";']
    for upstream, paths in allowed.items():
        sender = re.escape(upstreams.target(upstream).name)
        entries += [f'"~^{sender}:{re.escape(path)}" "";' for path in paths]
    outside = parts.variable('map "$pyweb_sender:$uri"', entries)
    stray = parts.variable("map $upstream_http_x_accel_redirect", ["volatile;", f"default {outside};", '"" "";'])
    return [f"if ({stray}) {{", "    return 404;", "}"]


def guarded_extra(site: dict[str, Any]) -> str:
    """The site's own directives. An application with an internal folder can't jump to their named locations.

    For such a jump, nginx does not run the lines of the server again. The check stands on the user's own line, so that
    the lines keep their numbers.
    """
    if not folders(site) or is_unrestricted(site):
        return str(site["extra"])
    return NAMED.sub(lambda match: match[1] + NO_JUMP, site["extra"])
