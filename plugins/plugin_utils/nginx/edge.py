# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The health page of a balancer, and proofs for an ACME authority that its peers have. Pure.

``settings["edge"]`` describes the balancer: the socket that answers the health page, and the addresses of the peers.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.balancing.paths import HEALTH_URL, OWN_URLS
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import block, quote

# A balancer that asks its peers for a proof sets this header. So they do not ask each other in circles.
FROM_PEER = "X-Pyweb-Peer"


def health_page(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The locations that show everyone whether web hosts are up, and keep visitors from the URLs of health checks."""
    edge = settings.get("edge")
    if not edge:
        return []
    passed = [
        "access_log off;",
        "auth_basic off;",
        "allow all;",
        f"proxy_pass http://unix:{quote(edge['health'])};",
        'proxy_set_header Connection "";',
        "proxy_http_version 1.1;",
        "proxy_pass_request_headers off;",
        "proxy_pass_request_body off;",
    ]
    return [
        {**block(f"location ^~ {OWN_URLS}/", ["return 404;"]), "inside": []},
        {**block(f"location = {HEALTH_URL}", passed), "inside": []},
        {**block(f"location ^~ {HEALTH_URL}/", passed), "inside": []},
    ]


def peer_blocks(site: dict[str, Any], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The upstream of the other balancers, which may have the proof that an authority asks for."""
    peers = peers_of(site, settings)
    return (
        [block(f"upstream {name_of(site)}", [f"server {quote(peer)} max_fails=0;" for peer in peers])] if peers else []
    )


def proof_from_peers(site: dict[str, Any], settings: dict[str, Any], own: dict[str, Any]) -> list[dict[str, Any]]:
    """The location of proofs, changed so that a proof which this balancer lacks is asked for at its peers."""
    if not peers_of(site, settings):
        return [own]
    asking = [
        f"if ($http_{FROM_PEER.lower().replace('-', '_')}) {{",
        "    return 404;",
        "}",
        "auth_basic off;",
        "allow all;",
        f"proxy_pass http://{name_of(site)};",
        "proxy_set_header Host $host;",
        f"proxy_set_header {FROM_PEER} 1;",
        "proxy_pass_request_body off;",
        'proxy_set_header Content-Length "";',
        "proxy_connect_timeout 2s;",
        "proxy_read_timeout 5s;",
        "proxy_next_upstream error timeout http_404;",
    ]
    lines = [*own["lines"], "log_not_found off;", "error_page 404 = @pyweb_peers;"]
    return [{**own, "lines": lines}, {**block("location @pyweb_peers", asking), "inside": []}]


def peers_of(site: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """The addresses of the other balancers, with the port on which an authority asks for a proof of this site."""
    if site["tls"]["mode"] != "acme":
        return []
    peers = (settings.get("edge") or {}).get("peers") or []
    return [f"{f'[{peer}]' if ':' in peer else peer}:{site['port']}" for peer in peers]


def name_of(site: dict[str, Any]) -> str:
    return f"{site['name']}_peers"
