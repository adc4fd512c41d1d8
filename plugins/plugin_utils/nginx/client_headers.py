# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Headers that an application may believe, and that a client must not set. Pure data, said once for both protocols.

``proxy.conf`` and ``uwsgi.conf`` remove them. They set ``X-Real-IP``, ``X-Request-ID`` and the common ``X-Forwarded-``
headers to values of nginx.
"""

from __future__ import annotations

from typing import Any

# About the connection, the address and the URL of a request. Proxies and CDNs write them, so the proxies that
# nginx_trusted_proxies names may set them.
FORWARDING = (
    *("Forwarded", "X-Forwarded", "X-Forwarded-By", "X-Forwarded-Method", "X-Forwarded-Path", "X-Forwarded-Scheme"),
    *("X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Url", "X-Original-Forwarded-For"),
    *("X-Original-Host", "X-Original-Method", "X-Original-URI", "X-Original-URL", "X-Rewrite-URL", "X-Host"),
    *("X-Scheme", "X-Url-Scheme", "X-Script-Name", "Front-End-Https"),
    *("Client-IP", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Originating-IP", "X-ProxyUser-IP"),
    *("X-Remote-Addr", "X-Remote-IP", "CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Visitor", "Fastly-Client-IP"),
    *("Fly-Client-IP", "Incap-Client-IP"),
)

# About the user or the certificate of a client. A load balancer does not remove them, so a trusted proxy does not make
# them true.
IDENTITY = (
    *("Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups"),
    *("X-Remote-User", "X-Remote-Email", "X-Remote-Name", "X-Remote-Group", "X-Remote-Groups"),
    *("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username"),
    *("X-Forwarded-Access-Token", "X-Forwarded-Client-Cert", "X-Auth-User", "X-Auth-Request-User"),
    *("X-Auth-Request-Email", "X-Auth-Request-Groups", "X-Auth-Request-Preferred-Username"),
    *("X-Auth-Request-Access-Token", "X-Authenticated-User", "X-Authenticated-Userid", "X-Authenticated-Email"),
    *("X-Authenticated-Groups", "X-WebAuth-User", "X-Authentik-Username", "X-Authentik-Email", "X-Authentik-Groups"),
    *("X-Goog-Authenticated-User-Email", "X-Goog-Authenticated-User-ID", "CF-Access-Authenticated-User-Email"),
    *("X-MS-Client-Principal", "X-MS-Client-Principal-ID", "X-MS-Client-Principal-Name", "Tailscale-User-Login"),
    *("X-SSL-Client-Verify", "X-SSL-Client-Cert", "X-SSL-Client-S-DN", "X-SSL-Client-DN", "SSL-Client-Verify"),
    *("SSL-Client-Cert", "X-Client-Cert", "X-Client-DN", "X-Client-Verify"),
)

# Instructions for programs: HTTP_PROXY as an environment variable, Rack's files, and an upgrade to HTTP/2.
INSTRUCTIONS = ("Proxy", "X-Sendfile-Type", "X-Accel-Mapping", "HTTP2-Settings")

# Other spellings of X-Forwarded-Proto, which nginx sets itself.
SPELLINGS = ("X-Forwarded-Protocol", "X-Forwarded-Ssl")


def variable(name: str) -> str:
    """The variable with the value that a trusted proxy sent."""
    return f"$pyweb_from_proxy_{name.lower().replace('-', '_')}"


def removed(trusted_proxies: list[str]) -> list[dict[str, str]]:
    """The headers, each with its value for the application, which is empty unless a trusted proxy may set it."""
    kept = FORWARDING if trusted_proxies else ()
    names = sorted({*FORWARDING, *IDENTITY, *INSTRUCTIONS, *SPELLINGS})
    return [{"name": name, "value": variable(name) if name in kept else '""'} for name in names]


def maps(trusted_proxies: list[str]) -> list[dict[str, Any]]:
    """The maps of the http block for these variables."""
    if not trusted_proxies:
        return []
    return [
        {"variable": variable(name), "header": f"$http_{name.lower().replace('-', '_')}"} for name in sorted(FORWARDING)
    ]
