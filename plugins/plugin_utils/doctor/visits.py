# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Request the sites of a host from the controller, by each of their names."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Question, ask
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.access import PRESETS
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import has_tls
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import (
    front_port,
    health_question,
    host_header,
    visited_name,
)

# Seconds to wait for an answer.
PATIENCE = 7.0

# Names that never resolve: they are reserved for documentation and tests (RFC 2606, RFC 6761).
RESERVED = ("example.com", "example.org", "example.net", "example", "test", "invalid", "localhost")


def reserved(name: str) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in RESERVED)


def resolved(name: str) -> list[str] | None:
    """The addresses of a name, none if it does not resolve. None for a name that is not looked up."""
    if reserved(name) or name.startswith("*."):
        return None
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
    except OSError:
        return []


def wanted_headers(app: dict[str, Any]) -> list[str]:
    """The headers that an answer of the health URL must have: those of the site and of its location."""
    site, path = app["site"], app["health"]["path"] or "/"
    places = [one for one in site["locations"] if f"{path}/".startswith(one["path"].rstrip("/") + "/")]
    nearest: dict[str, Any] = max(places, key=lambda one: len(one["path"]), default={})
    wanted: dict[str, str] = {}
    for item in (site, nearest):
        wanted |= {**PRESETS[item.get("header_preset") or "none"], **(item.get("headers") or {})}
    only_secure = () if has_tls(site) else ("Strict-Transport-Security",)
    return [name for name, value in wanted.items() if value and name not in only_secure]


def visit(app: dict[str, Any], address: str, domain: str, *, redirect: bool) -> dict[str, Any]:
    """Request one name of a site at the host's own address, whatever the name resolves to.

    The home of a site with TLS is also requested over http: ``plain``.
    """
    site = app["site"]
    asked = {**health_question(app, domain or address), "scheme": "https" if has_tls(site) else "http"}
    answer = ask(Question(port=front_port(app), address=address, **asked), PATIENCE)
    plain = None
    if has_tls(site):
        host = host_header(visited_name(app, domain or address), site["port"], 80)
        plain = ask(Question(port=site["port"], address=address, host=host, path=site["path"]), PATIENCE).as_dict()
    return {
        "domain": domain,
        "redirect": redirect,
        "address": address,
        "resolved": resolved(domain) if domain else None,
        "answer": answer.as_dict(wanted_headers(app)),
        "plain": plain,
    }


def visits(apps: list[dict[str, Any]], address: str) -> dict[str, list[dict[str, Any]]]:
    """Request every name of every application, in parallel."""
    with ThreadPoolExecutor(max_workers=32) as pool:
        waiting = {
            app["name"]: [
                pool.submit(visit, app, address, domain, redirect=redirect)
                for domain, redirect in (
                    *((domain, False) for domain in app["site"]["domains"] or [""]),
                    *((domain, True) for domain in app["site"]["redirects"]),
                )
            ]
            for app in apps
        }
        return {name: [one.result() for one in asked] for name, asked in waiting.items()}
