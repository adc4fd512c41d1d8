# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The configuration of HAProxy, as named units of text. Pure.

Each application has a socket, which nginx of the same host connects to. Its requests go to one of three backends with
the same servers: to kept connections if asking again is safe, to a new connection otherwise, and, if no server passes
the check of the application, to those whose nginx still responds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.balancing.paths import (
    ADMIN_SOCKET,
    HEALTH_SOCKET,
    HEALTH_URL,
    STATE_FILE,
    health_url,
    socket_of,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.fleet import WebHost, digest, servers_of

# Beside nginx's own limits: 64k of headers in a request, 40k in a response, of which nginx may add some.
BUFFER = 131_072
HEADERS = 1000
# nginx ends requests that take too long. HAProxy only has to notice hosts that are gone.
LONG = "1d"
# The statuses that mean healthy unless an application names its own, as for a deployment.
HEALTHY = "200-399,401,403"
# How much longer and how often the check of a host may fail, compared with 1 and 2 of an application.
PATIENCE = 4
# HAProxy's own errors end the connection without a response. Then nginx knows that no host has responded: it asks
# again where that is safe, and otherwise has a page of its own.
OWN_ERRORS = (400, 403, 408, 413, 425, 429, 500, 501, 502, 503, 504)


def units(
    apps: list[dict[str, Any]], hosts: list[WebHost], interval: int, timeout: int, group: str = "www-data"
) -> list[dict[str, str]]:
    """All units, in order. Units of an earlier configuration with other names may stand beside them."""
    bind = f"mode 660 group {group}"
    used = [host for host in hosts if any(host in servers_of(app, hosts) for app in apps)]
    return [
        {"name": "main", "content": text(main_lines())},
        *({"name": f"host:{host.label}", "content": text(host_lines(host, interval, timeout))} for host in used),
        *(
            {
                "name": f"app:{app['name']}",
                "content": text(app_lines(app, servers_of(app, hosts), bind, interval, timeout)),
            }
            for app in apps
        ),
        {"name": "health", "content": text(health_lines(apps, bind))},
    ]


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def main_lines() -> list[str]:
    return [
        "global",
        "    log /dev/log daemon notice",
        "    user haproxy",
        "    group haproxy",
        "    chroot /var/lib/haproxy",
        f"    stats socket {ADMIN_SOCKET} mode 600 user root group root level admin expose-fd listeners",
        f"    server-state-file {STATE_FILE}",
        f"    tune.bufsize {BUFFER}",
        f"    tune.http.maxhdr {HEADERS}",
        "    fd-hard-limit 100000",
        "    # After a reload, old processes serve their connections to the end, as nginx does.",
        "    hard-stop-after 1h",
        "    spread-checks 5",
        "",
        "defaults",
        "    mode http",
        "    log global",
        "    option dontlognull",
        "    option abortonclose",
        "    # nginx has checked the requests, and checks them again on the web host.",
        "    option accept-invalid-http-request",
        "    option accept-invalid-http-response",
        "    timeout connect 1s",
        f"    timeout client {LONG}",
        f"    timeout server {LONG}",
        f"    timeout tunnel {LONG}",
        "    # A host without power or network gives no answer to these either, and its requests end.",
        "    option srvtcpka",
        "    srvtcpka-idle 5s",
        "    srvtcpka-intvl 2s",
        "    srvtcpka-cnt 3",
        "    timeout queue 5s",
        "    retries 3",
        "    option redispatch 1",
        "    load-server-state-from-file global",
        *(f"    errorfile {status} /dev/null" for status in OWN_ERRORS),
    ]


def check_options(interval: int, fall: int = 2) -> str:
    return (
        f"check inter {interval}ms fastinter {max(interval // 2, 50)}ms downinter {interval}ms rise 2 fall {fall} "
        "on-marked-down shutdown-sessions"
    )


def host_lines(host: WebHost, interval: int, timeout: int) -> list[str]:
    """The backend that shows whether the nginx of a host responds.

    It is more patient than the check of an application: while all hosts are busy, it decides whether any gets requests.
    """
    app = host.apps[0]
    return [
        f"backend HOST_{host.label}",
        *asked(HEALTH_URL, app, "200", PATIENCE * timeout),
        f"    default-server {check_options(interval, fall=PATIENCE)}",
        f"    server {host.label} {host.place(app)}",
    ]


def asked(url: str, app: Mapping[str, Any], statuses: str, timeout: int) -> list[str]:
    """The lines of a health check. A host that is drained answers 404: it finishes its requests and gets no others."""
    # An application may redirect requests of visitors that did not use https.
    scheme = "http" if app["site"]["tls"]["mode"] == "none" else "https"
    headers = f"hdr Host {check_name(app)} hdr X-Forwarded-Proto {scheme} hdr Connection close"
    return [
        f"    timeout check {timeout}ms",
        "    option httpchk",
        f"    http-check send meth GET uri {url} ver HTTP/1.1 {headers}",
        "    http-check disable-on-404",
        f"    http-check expect status {statuses}",
    ]


def check_name(app: Mapping[str, Any]) -> str:
    """The host name of a check: a domain of the site, which a wildcard does not name."""
    return str((app["site"]["domains"] or ["localhost"])[0]).replace("*.", "www.")


def healthy(app: Mapping[str, Any]) -> str:
    """The statuses that mean healthy, in HAProxy's notation."""
    own = app["health"]["status"]
    return ",".join(str(status) for status in own) if own else HEALTHY


# Lines of a backend whose servers have the states of those of another backend.
FOLLOWING = ["    option httpchk", "    http-check disable-on-404"]


def app_lines(app: dict[str, Any], servers: list[WebHost], bind: str, interval: int, timeout: int) -> list[str]:
    name = app["name"]
    return [
        f"frontend {name}",
        f"    bind unix@{socket_of(name)} {bind}",
        *forgetting(app, servers),
        f"    use_backend {name}_last if {{ nbsrv({name}) eq 0 }}",
        f"    use_backend {name}_once if !{{ method GET HEAD OPTIONS }}",
        f"    default_backend {name}",
        "",
        f"backend {name}",
        *spreading(app, servers),
        *asked(health_url(name), app, healthy(app), timeout),
        f"    default-server {check_options(interval)}",
        "    # If a kept connection breaks, nginx asks again.",
        "    http-reuse always",
        *(f"{server_line(app, host)}" for host in servers),
        "",
        f"backend {name}_once",
        *spreading(app, servers),
        "    # A host may close a kept connection just when it gets a request. Such a request can't be repeated.",
        "    http-reuse never",
        "    # A busy host may miss its checks. Its requests continue, because no other host may repeat them.",
        *FOLLOWING,
        *(f"{server_line(app, host)} track {name}/{host.label}" for host in servers),
        "",
        f"backend {name}_last",
        *spreading(app, servers),
        "    # No host passes the check of the application. Those whose nginx responds get the requests.",
        "    http-reuse never",
        *FOLLOWING,
        *(f"{server_line(app, host)} track HOST_{host.label}/{host.label}" for host in servers),
    ]


def spreading(app: dict[str, Any], servers: list[WebHost]) -> list[str]:
    """The lines that choose a server for a request."""
    sticky = app["site"]["sticky"]
    lines = ["    balance leastconn", "    option allbackups"]
    if sticky == "address":
        lines = ["    balance hdr(X-Real-IP)", "    hash-type consistent", "    option allbackups"]
    if sticky == "cookie":
        secure = " secure" if app["site"]["tls"]["mode"] != "none" else ""
        lines.append(f'    cookie {cookie_name(app)} insert indirect nocache httponly{secure} attr "SameSite=Lax"')
    return lines


def forgetting(app: dict[str, Any], servers: list[WebHost]) -> list[str]:
    """The lines that take the cookie of a drained host from a request, so that its visitor gets another host."""
    if app["site"]["sticky"] != "cookie":
        return []
    lines = []
    for host in servers:
        pair = f"{cookie_name(app)}={cookie_value(app, host)}"
        known = f"{{ req.cook({cookie_name(app)}) -m str {cookie_value(app, host)} }}"
        drained = f"{{ nbsrv(HOST_{host.label}) eq 0 }}"
        lines.append(
            f"    http-request replace-header Cookie '^(.*; *)?{pair}(; *(.*))?$' '\\1\\3' if {known} {drained}"
        )
    return [*lines, "    http-request del-header Cookie if { req.hdr(Cookie) -m len 0 }"]


def cookie_name(app: Mapping[str, Any]) -> str:
    return f"pyweb_{app['name'].replace('-', '_')}"


def cookie_value(app: Mapping[str, Any], host: WebHost) -> str:
    """It does not show the name of the host."""
    return digest(app["name"], host.name)


def server_line(app: dict[str, Any], host: WebHost) -> str:
    words = [f"    server {host.label} {host.place(app)} weight {host.weight}"]
    words += ["backup"] if host.backup else []
    words += [f"cookie {cookie_value(app, host)}"] if app["site"]["sticky"] == "cookie" else []
    return " ".join(words)


def health_lines(apps: list[dict[str, Any]], bind: str) -> list[str]:
    """The frontend that shows an outer balancer whether this one can serve an application, or any."""
    up, down = (
        '    http-request return status {} content-type text/plain string "{}\\n"'.format(*pair) for pair in ANSWERS
    )
    return [
        "frontend HEALTH",
        f"    bind unix@{HEALTH_SOCKET} {bind}",
        *(f"{up} if {{ path {HEALTH_URL} }} {{ nbsrv({app['name']}) gt 0 }}" for app in apps),
        *(f"{up} if {{ path {health_url(app['name'])} }} {{ nbsrv({app['name']}) gt 0 }}" for app in apps),
        f"{down}",
    ]


ANSWERS = (("200", "up"), ("503", "down"))
