# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The server blocks of nginx that lead to an address, as the site of an application. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.blocks import (
    Directive,
    is_for_all,
    names_of,
    parsed,
    port_of,
    ports_of,
)

PASSES = ("proxy_pass", "uwsgi_pass", "grpc_pass", "scgi_pass", "fastcgi_pass")
# Directives that the collection sets itself, or that have no meaning for its sites.
OWN = frozenset(
    [
        "listen",
        "server_name",
        "location",
        "include",
        "proxy_set_header",
        "proxy_redirect",
        "proxy_http_version",
        "proxy_buffering",
        "uwsgi_param",
        "access_log",
        "error_log",
        "root",
        "index",
        "ssl_certificate",
        "ssl_certificate_key",
        "ssl_protocols",
        "ssl_ciphers",
        "ssl_dhparam",
        "ssl_prefer_server_ciphers",
        "ssl_session_cache",
        "ssl_session_timeout",
        "ssl_session_tickets",
        "ssl",
        "http2",
        "charset",
        "try_files",
        "keepalive_timeout",
        "client_max_body_size",
    ]
) | frozenset(PASSES)


@dataclass
class Block:
    """A server block, with the upstreams of its configuration."""

    server: Directive
    path: str
    text: str
    upstreams: Mapping[str, list[str]]


@dataclass
class Site:
    """The settings of a site, and notes about what can't be expressed."""

    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def blocks_of(nginx: Any) -> list[Block]:
    """All server blocks of the files that a host has sent."""
    files = [
        (str(one.get("path")), str(one.get("text")), bool(one.get("is_main")))
        for one in (nginx if isinstance(nginx, list) else [])
        if isinstance(one, dict)
    ]
    levels = []
    for path, text, is_main in files:
        top = parsed(text)
        levels.append(
            (path, text, [two for one in top if one.name == "http" for two in one.block or ()] if is_main else top)
        )
    upstreams = {
        one.arguments[0]: [server.arguments[0] for server in one.named("server") if server.arguments]
        for _path, _text, level in levels
        for one in level
        if one.name == "upstream" and one.arguments
    }
    return [Block(one, path, text, upstreams) for path, text, level in levels for one in level if one.name == "server"]


def passes(block: Directive) -> list[Directive]:
    """The directives in a block that pass requests to a server."""
    found = [one for one in block.block or () if one.name in PASSES and one.arguments]
    for one in block.block or ():
        if one.block is not None and one.name in ("location", "if", "limit_except"):
            found += passes(one)
    return found


def addresses_of(block: Block) -> set[str]:
    """The addresses that a server block passes requests to, in one spelling."""
    found: set[str] = set()
    for one in passes(block.server):
        target = one.arguments[0].partition("://")[2] or one.arguments[0]
        name = target if target.startswith("unix:") else target.partition("/")[0]
        found |= {spelling(address) for address in block.upstreams.get(name, [name])}
    return found


def spelling(address: str) -> str:
    """An address of a server in one spelling, for comparisons."""
    text = address.strip()
    if text.startswith(("unix:", "/")):
        return posixpath.normpath("/" + text.removeprefix("unix:").rstrip(":").lstrip("/"))
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, "80"
    local = host in ("", "localhost", "127.0.0.1", "0.0.0.0", "[::1]", "[::]", "*")  # noqa: S104  # names in a text
    return f"{'local' if local else host}:{port}"


def site_of(blocks: list[Block], addresses: list[str], folder: str) -> Site:
    """The site of the application that listens on these addresses, from every server block that leads to it."""
    wanted = {spelling(address) for address in addresses}
    mine = [block for block in blocks if addresses_of(block) & wanted]
    site = Site(blocks=mine)
    if not mine:
        site.notes.append("No server block of nginx leads to it. Set the domains.")
        return site
    names = [name for block in mine if not is_for_all(block.server) for name in names_of(block.server)]
    domains = [name for name in dict.fromkeys(names) if re.fullmatch(r"(?:\*\.)?[a-z0-9.-]+", name)]
    odd = [name for name in dict.fromkeys(names) if name not in domains]
    if odd:
        site.notes.append(f"server_name {' '.join(odd)} can't be expressed. List the names themselves.")
    if domains:
        site.settings["domains"] = domains
    take_ports(site, mine)
    for block in mine:
        take_server(site, block, folder)
    take_redirects(site, [block for block in blocks if block not in mine], domains)
    return site


def take_ports(site: Site, mine: list[Block]) -> None:
    plain: list[int] = []
    secure: list[int] = []
    for block in mine:
        for line in block.server.named("listen"):
            (secure if {"ssl", "quic"} & {*line.arguments} else plain).append(port_of(line))
        if not any(True for _one in block.server.named("listen")):
            plain += ports_of(block.server)
    plain, secure = sorted({*plain} - {0}), sorted({*secure} - {0})
    if plain and 80 not in plain:
        site.settings["port"] = plain[0]
    if len(plain) > 1:
        site.notes.append(f"It was served on the ports {', '.join(map(str, plain))}; a site has one for http.")
    if not secure:
        return
    tls: dict[str, Any] = {"mode": "provided", "remote_src": True}
    for key, name in (("certificate", "ssl_certificate"), ("key", "ssl_certificate_key")):
        found = [text for block in mine if (text := block.server.first(name))]
        if found:
            tls[key] = found[0]
    if secure[0] != 443:
        tls["port"] = secure[0]
    site.settings["tls"] = tls
    if "/letsencrypt/" in str(tls.get("certificate")):
        site.notes.append("certbot renews this certificate. Later, tls: {mode: acme} can replace it.")


def take_server(site: Site, block: Block, folder: str) -> None:
    """Add the settings of one server block."""
    server = block.server
    if size := server.first("client_max_body_size"):
        site.settings["max_body_size"] = size.lower()
    for one in server.block or ():
        if one.name == "location":
            take_location(site, block, one, folder)
        elif one.name == "return" and one.arguments[:1] in (["301"], ["302"]):
            continue
        elif one.name not in OWN:
            site.notes.append(f"{block.path}: {line_of(block, one)} can't be expressed here. Could it be site.extra?")


def take_location(site: Site, block: Block, location: Directive, folder: str) -> None:
    inside = {one.name: " ".join(one.arguments) for one in location.block or ()}
    words = location.arguments
    if size := inside.get("client_max_body_size"):
        site.settings["max_body_size"] = size.lower()
    if "proxy_pass" in inside or "uwsgi_pass" in inside or words[:1] == ["/"]:
        take_pass(site, block, location, inside)
        return
    url = words[-1] if words else ""
    is_prefix = len(words) == 1 or words[0] == "^~"
    path = inside.get("alias") or (posixpath.join(inside.get("root", ""), url.lstrip("/")) if "root" in inside else "")
    if not path and is_prefix and block.server.first("root"):
        path = posixpath.join(block.server.first("root"), url.lstrip("/"))
    inner = posixpath.relpath(path, folder) if path.startswith("/") and folder.startswith("/") else ""
    if is_prefix and inner and not inner.startswith("..") and inner != ".":
        items = site.settings.setdefault("static", [])
        items.append({"url": f"{url.rstrip('/')}/", "path": inner})
    elif words[-1:] not in (["/favicon.ico"], ["/robots.txt"]):
        site.notes.append(
            f"{block.path}: {line_of(block, location)} is not taken over. See site.static and site.locations."
        )


def take_pass(site: Site, block: Block, location: Directive, inside: Mapping[str, str]) -> None:
    words = location.arguments
    if words[:1] not in (["/"], []) and not words[0].startswith("@"):
        if len(words) == 1:
            site.settings["path"] = words[0].rstrip("/") or "/"
            target = inside.get("proxy_pass", "").partition("://")[2]
            if "/" not in target:
                site.notes.append(
                    f"{block.path}: the application got {words[0]} as a part of its path. With site.path, it gets it "
                    "as SCRIPT_NAME."
                )
        else:
            site.notes.append(f"{block.path}: {line_of(block, location)} can't be expressed here.")
    if "upgrade" in str([one.arguments for one in location.named("proxy_set_header")]).lower():
        site.settings["websocket"] = True
    for name in ("proxy_read_timeout", "uwsgi_read_timeout"):
        if name in inside:
            site.notes.append(f"{name} {inside[name]}: timeout of the application also sets the time limit of nginx.")
    for one in location.block or ():
        if one.name not in OWN and not one.name.startswith(("proxy_", "uwsgi_")):
            site.notes.append(f"{block.path}: {line_of(block, one)} can't be expressed here.")


def take_redirects(site: Site, others: list[Block], domains: list[str]) -> None:
    """Add the names of servers that only redirect to the site."""
    if not domains:
        return
    for block in others:
        target = block.server.first("return")
        match = re.match(r"(301|302) https?://(?P<host>[^/$]+|\$host|\$server_name)", target)
        if not match:
            continue
        names = [name for name in names_of(block.server) if name not in domains and "." in name]
        if match["host"] in domains and names:
            site.settings.setdefault("redirects", []).extend(names)
            site.blocks.append(block)


def line_of(block: Block, one: Directive) -> str:
    """A directive on one line."""
    words = " ".join(block.text[one.start : one.end].split())
    return words if len(words) <= 160 else f"{words[:160]}…"
