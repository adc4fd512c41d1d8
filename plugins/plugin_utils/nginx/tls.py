# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""TLS of a site: its servers on both ports, and the certificate that they need."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.tls.acme import CHALLENGE_PATH
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.access import HSTS, wanted_headers
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.parts import Parts

HTTPS = 443
STORE = "@CERTIFICATES@"  # of the module nginx_config

PACKAGES = {"selfsigned": "openssl", "acme": "dehydrated"}
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

# Mozilla's guideline 6.0. For TLS 1.3 it has OpenSSL's own ciphers. It has no DHE, so no parameters are needed.
PROFILES = {
    "modern": {"protocols": "TLSv1.3", "ciphers": ""},
    "intermediate": {
        "protocols": "TLSv1.2 TLSv1.3",
        "ciphers": ":".join(
            f"ECDHE-{key}-{cipher}"
            for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
            for key in ("ECDSA", "RSA")
        ),
    },
}
GROUPS = "X25519:prime256v1:secp384r1"


def has_tls(site: dict[str, Any]) -> bool:
    return bool(site["tls"]["mode"] != "none")


def tls_ports(sites: list[dict[str, Any]]) -> list[int]:
    return sorted({site["tls"]["port"] for site in sites if has_tls(site)})


def http_lines(sites: list[dict[str, Any]], profile: str) -> list[str]:
    """Lines of the http block for all servers. nginx uses the protocols of the default server for the others, too."""
    if not tls_ports(sites):
        return ["#@ if kept_tls", *tls_lines(profile), "#@ end"]
    return tls_lines(profile)


def tls_lines(profile: str) -> list[str]:
    chosen = PROFILES[profile]
    return [
        f"# Mozilla's guideline 6.0, {profile}.",
        f"ssl_protocols {chosen['protocols']};",
        *([f"ssl_ciphers {chosen['ciphers']};"] if chosen["ciphers"] else []),
        "ssl_prefer_server_ciphers off;",
        "#@ if mlkem",
        f"ssl_ecdh_curve X25519MLKEM768:{GROUPS};",
        "#@ else",
        f"ssl_ecdh_curve {GROUPS};",
        "#@ end",
        "ssl_session_cache shared:pyweb:10m;",
        "ssl_session_timeout 1d;",
        "#@ unless fresh_tickets",
        "# This nginx would encrypt all tickets with one key for as long as it runs: who gets it reads all sessions.",
        "ssl_session_tickets off;",
        "#@ end",
    ]


def listen_lines(port: int, default: bool, http3: bool) -> list[str]:
    """The addresses of a server with TLS, for IPv4 and IPv6, and UDP for HTTP/3."""
    options = " default_server" if default else ""
    addresses = (str(port), f"[::]:{port}")
    lines = [
        "#@ if http2_directive",
        *(f"listen {address} ssl{options};" for address in addresses),
        "http2 on;",
        "#@ else",
        *(f"listen {address} ssl http2{options};" for address in addresses),
        "#@ end",
    ]
    if http3:
        # One socket for each worker, declared once per address. Otherwise packets reach the wrong worker.
        once = " reuseport default_server" if default else ""
        lines += ["#@ if http3", *(f"listen {address} quic{once};" for address in addresses), "#@ end"]
    return lines


def certificate_lines(site: dict[str, Any], http3: bool) -> list[str]:
    item, own = certificate(site), f"{STORE}/{site['name']}.pem"
    lines = [
        f"ssl_certificate {quote(item['certificate_path'] or own)};",
        f"ssl_certificate_key {quote(item['key_path'] or own)};",
        f"#@ if ocsp:{site['name']}",
        "ssl_stapling on;",
        "#@ end",
    ]
    if http3:
        port = site["tls"]["port"]
        lines += ["#@ if http3", f"add_header Alt-Svc 'h3=\":{port}\"; ma=86400' always;", "#@ end"]
    return lines


def challenge() -> dict[str, Any]:
    """The location where the authority reads the proof. It is open, whatever the site requires of visitors."""
    lines = ["alias @CHALLENGES@/;", "default_type text/plain;", "auth_basic off;", "allow all;"]
    return {**block(f"location ^~ {CHALLENGE_PATH}", lines), "inside": []}


def moved_lines(target: str) -> list[str]:
    return [
        "# 308 preserves the method and the body. 301 is for GET and HEAD, because every client supports it.",
        "if ($request_method !~ ^(GET|HEAD)$) {",
        f"    return 308 {target};",
        "}",
        f"return 301 {target};",
    ]


def moved_location(target: str) -> dict[str, Any]:
    return {**block("location /", moved_lines(target)), "inside": []}


def with_tls(site: dict[str, Any], own: dict[str, Any], redirect: dict[str, Any] | None, http3: bool) -> list[Any]:
    """All servers of a site. ``own`` and ``redirect`` are its servers over http.

    Until an authority has issued a certificate, the site is served over http.
    """
    proof = own.get("proof") or [challenge()] if site["tls"]["mode"] == "acme" else []
    first = [server(own, locations=[*proof, *own["locations"]])]
    if redirect and proof:
        target = f"$pyweb_scheme://{site['domains'][0]}$pyweb_port_suffix$request_uri"
        first.insert(0, server(redirect, lines=redirect["basics"], locations=[*proof, moved_location(target)]))
    elif redirect:
        first.insert(0, server(redirect))
    if not has_tls(site):
        return first
    both = secure_servers(site, own, redirect, http3) + plain_servers(site, own, redirect, proof)
    if not proof:
        return both
    there = f"certificate:{site['name']}"
    return [{**one, "condition": f"if {there}"} for one in both] + [
        {**one, "condition": f"unless {there}"} for one in first
    ]


def server(of: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A server for the template, made from another one. Its pages are locations like all others."""
    made = {**of, **changes}
    return {key: made[key] for key in ("listen", "lines", "extra")} | {"locations": made["locations"] + made["pages"]}


def secure_servers(
    site: dict[str, Any], own: dict[str, Any], redirect: dict[str, Any] | None, http3: bool
) -> list[dict[str, Any]]:
    """The site itself, and its other names, over https."""
    port, lines = site["tls"]["port"], certificate_lines(site, http3)
    servers = []
    if redirect:
        # A browser remembers this header for the name that it requested.
        stay = wanted_headers(site).get(HSTS)
        always = [f"add_header {HSTS} {quote(stay)} always;"] if stay else []
        servers = [server(redirect, listen=listen_lines(port, False, http3), lines=lines + always + redirect["lines"])]
    return [*servers, server(own, listen=listen_lines(port, not site["domains"], http3), lines=lines + own["lines"])]


def plain_servers(
    site: dict[str, Any], own: dict[str, Any], redirect: dict[str, Any] | None, proof: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The servers over http. They redirect every path to https, except proofs and ``plain_paths``."""
    port = site["tls"]["port"]
    rest = f"{'' if port == HTTPS else f':{port}'}$request_uri"
    locations = [*proof, *plain_locations(site, own, f"https://$host{rest}"), moved_location(f"https://$host{rest}")]
    servers = [server(own, locations=locations, extra=[])]
    if redirect:
        target = moved_location(f"https://{site['domains'][0]}{rest}")
        servers.insert(0, server(redirect, lines=redirect["basics"], locations=[*proof, target]))
    return servers


def plain_locations(site: dict[str, Any], own: dict[str, Any], target: str) -> list[dict[str, Any]]:
    """The locations for ``plain_paths``, which are served over http as well.

    ``own["elsewhere"]`` is a variable that is set for clients on other machines. They are redirected to ``target``.
    """
    elsewhere = own.get("elsewhere")
    redirect = [f"if ({elsewhere}) {{", f"    return 301 {target};", "}"] if elsewhere else []
    found = []
    for path in site["tls"]["plain_paths"]:
        location = location_of(site, path)
        if location is not None:
            head = "location " + (quote(location["path"].rstrip("/") + "/"))
            answered = next(item for item in own["locations"] if item["head"] == head)
            found.append({**answered, "head": f"location = {quote(path)}", "lines": [*redirect, *answered["lines"]]})
    return found


def elsewhere(site: dict[str, Any], trusted: list[str], parts: Parts) -> str:
    """The variable that is set for clients which are neither this host nor a trusted proxy; empty if it has no use.

    The directives of ``extra`` can't be repeated in the server for http: they may have locations of their own, or be
    about TLS. But they may close the site. So its plain paths are then for health checks alone.
    """
    if not site["tls"]["plain_paths"] or not site["extra"].strip():
        return ""
    known = dict.fromkeys(["127.0.0.1", "::1", *trusted])
    return parts.variable("geo", ["default 1;", *(f"{quote(address)} 0;" for address in known)])


def location_of(site: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The location with an upstream that serves a path: the one with the longest prefix."""
    fitting = [
        location
        for location in site["locations"]
        if location["upstream"] is not None and f"{path}/".startswith(location["path"].rstrip("/") + "/")
    ]
    return max(fitting, key=lambda location: len(location["path"]), default=None)


# --- certificates ------------------------------------------------------------------------------


def certificate(site: dict[str, Any]) -> dict[str, Any]:
    """The certificate of a site, for the module nginx_config. A given one is still a path, or a text."""
    tls = site["tls"]
    on_host = tls["mode"] == "provided" and tls["remote_src"]
    given = tls["mode"] == "provided" and not on_host
    return {
        "name": site["name"],
        "mode": tls["mode"],
        "names": list(dict.fromkeys([*site["domains"], *site["redirects"]])),
        "port": tls["port"],
        "http_port": site["port"],
        "certificate": tls["certificate"] if given else "",
        "key": tls["key"] if given else "",
        "certificate_path": tls["certificate"] if on_host else "",
        "key_path": tls["key"] if on_host else "",
    }


def certificates(sites: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [certificate(site) for site in sites if has_tls(site)]


def packages(items: Any) -> list[str]:
    """The Debian packages that make or fetch the certificates of sites or applications, which may be unchecked."""
    found = set()
    for item in items if isinstance(items, list) else []:
        site = item.get("site", item) if isinstance(item, dict) else {}
        tls = site.get("tls") if isinstance(site, dict) else {}
        mode = tls.get("mode") if isinstance(tls, dict) else ""
        found |= {name for key, name in PACKAGES.items() if key == mode}
    return sorted(found)
