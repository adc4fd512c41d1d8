# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Addresses of an application, for clients and for health checks. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import has_tls


def visited_name(app: dict[str, Any], domain: str = "") -> str:
    """A domain that can be requested: a wildcard becomes www."""
    return (domain or (app["site"]["domains"] or ["localhost"])[0]).replace("*.", "www.")


def front_port(app: dict[str, Any]) -> int:
    """The port that clients use."""
    site = app["site"]
    return int(site["tls"]["port"] if has_tls(site) else site["port"])


def health_question(app: dict[str, Any], domain: str = "") -> dict[str, str]:
    """The fields of a health request: for the first domain of an application, or for the given one."""
    secure = has_tls(app["site"])
    return {
        "path": health_path(app["site"]["path"], app["health"]["path"]),
        "host": host_header(visited_name(app, domain), front_port(app), 443 if secure else 80),
        # Behind a balancer, the host itself has no TLS.
        "scheme": "https" if secure else app["site"]["scheme"] or "http",
    }


def host_header(domain: str, port: int, usual: int) -> str:
    """The name of a site as clients give it. An IPv6 address has brackets."""
    name = f"[{domain}]" if ":" in domain and not domain.startswith("[") else domain
    return name if port == usual else f"{name}:{port}"


def health_path(mount: str, path: str | None) -> str:
    """The path that a client requests, with the prefix of the application."""
    prefix = "" if mount == "/" else mount
    return prefix + (path or "/")
