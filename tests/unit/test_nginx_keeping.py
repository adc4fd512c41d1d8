# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Servers of other people give up the names that the inventory serves, and keep everything else. Pure."""

from __future__ import annotations

import time

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import foreign, keeping
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.blocks import names_of, parsed, ports_of

PATH = "/etc/nginx/conf.d/x.conf"


def new_text(text: str, taken: set[foreign.Key], takeover: bool = False) -> str | None:
    """The new text of a file; the same text if it does not change."""
    source = foreign.Source(PATH, text, parsed(text))
    servers = foreign.servers([source], takeover=takeover)
    return keeping.new_texts([source], servers, taken, takeover, "/kept").get(PATH, text)


def served(text: str | None) -> list[tuple[list[str], dict[int, bool]]]:
    return [(names_of(one), ports_of(one)) for one in parsed(text or "") if one.name == "server"]


@pytest.mark.parametrize(
    ("server", "taken", "left"),
    [
        ("listen 80; server_name a.org;", {(80, "b.org")}, [(["a.org"], {80: False})]),
        ("listen 80; server_name a.org;", {(80, "a.org")}, []),
        ("listen 80; server_name A.org;", {(80, "a.org")}, []),
        ("listen 80; server_name a.org b.org;", {(80, "a.org")}, [(["b.org"], {80: False})]),
        ("listen 80; server_name a.org; server_name b.org;", {(80, "b.org")}, [(["a.org"], {80: False})]),
        ("listen 8080; server_name a.org;", {(80, "a.org")}, [(["a.org"], {8080: False})]),
        ("listen 80; listen 443 ssl; server_name a.org;", {(80, "a.org")}, [(["a.org"], {443: False})]),
        (
            "listen 80; listen 443 ssl; server_name a.org b.org;",
            {(80, "a.org")},
            [(["b.org"], {80: False}), (["a.org", "b.org"], {443: False})],
        ),
        ("server_name a.org;", {(80, "a.org")}, []),
        ("listen [::]:80; listen 80; server_name a.org;", {(80, "a.org")}, []),
        ("listen 80 default_server; server_name a.org;", {(80, "")}, [(["a.org"], {80: False})]),
        ("listen 80 default_server; server_name a.org;", {(80, "a.org")}, [(["_"], {80: True})]),
        ("listen 80 default_server; server_name _;", {(80, "a.org")}, [(["_"], {80: True})]),
        ("listen 80 default_server; server_name _;", {(80, "")}, []),
        ("listen 80; server_name 10.0.0.1;", {(80, "")}, []),
        ("listen 80; server_name ~^(www\\.)?a\\.org$;", {(80, "a.org")}, [(["~^(www\\.)?a\\.org$"], {80: False})]),
        ('listen 80; server_name "a.org";', {(80, "a.org")}, []),
        ("listen unix:/run/x.sock; server_name a.org;", {(80, "a.org")}, [(["a.org"], {})]),
        ("# listen 80; server_name a.org;\nlisten 81; server_name a.org;", {(80, "a.org")}, [(["a.org"], {81: False})]),
    ],
)
def test_a_server_gives_up_what_is_taken(
    server: str, taken: set[foreign.Key], left: list[tuple[list[str], dict[int, bool]]]
) -> None:
    assert served(new_text(f"server {{ {server} return 200; }}\n", taken)) == left


def test_what_is_beside_a_server_stays() -> None:
    text = "# mine\nupstream x { server 127.0.0.1:1; }\nserver { server_name a.org; }\nmap $a $b { default 1; }\n"
    found = new_text(text, {(80, "a.org")})
    assert found == "# mine\nupstream x { server 127.0.0.1:1; }\n\nmap $a $b { default 1; }\n"
    assert new_text("# mine\nserver { listen 80; server_name a.org; }\n", {(80, "a.org")}) is None


def test_the_first_server_of_a_port_becomes_the_default_at_a_takeover_only() -> None:
    text = "server { listen 80; server_name a.org; }\nserver { listen 80; server_name b.org; }\n"
    assert new_text(text, set()) == text
    assert served(new_text(text, set(), takeover=True)) == [(["a.org"], {80: True}), (["b.org"], {80: False})]


@pytest.mark.attack("16", "A file of nginx has blocks without end, or a form that makes its parser slow")
@pytest.mark.parametrize(
    "text",
    ["{" * 100_000, "}" * 100_000, "a " * 300_000, '"' * 100_000, "\\" * 100_001, "#" * 500_000, "server {" * 50_000,
     "server_name " + "a" * 500_000 + ";", "'\\" * 50_000, "$" * 100_000, "${" * 100_000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_hostile_texts_are_read_in_linear_time(text: str) -> None:
    began = time.monotonic()
    parsed(text)
    new_text(f"server {{ listen 80; }} {text}", {(80, "")})
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "setting",
    ["auth_request /login", "satisfy all", "ssl_verify_client on", "limit_req zone=one", "proxy_hide_header X-Secret",
     "real_ip_recursive on", "ssl_client_certificate /ca.pem"],
)  # fmt: skip
def test_what_protects_the_servers_of_a_replaced_nginx_conf_stays(setting: str) -> None:
    text = f"http {{ {setting}; limit_req_zone $a zone=one:1m rate=1r/s; proxy_temp_path /x; server {{ listen 80; }} }}"
    entry = foreign.Source("/etc/nginx/nginx.conf", text, list(parsed(text)[0].block or ()), is_entry=True)
    beside = "server { listen 81; server_name a.org; }"
    files = [entry, foreign.Source(PATH, beside, parsed(beside))]
    found = keeping.new_texts(files, foreign.servers(files, takeover=True), set(), True, "/kept")
    for path in ("/kept", PATH):
        (server,) = [one for one in parsed(found.get(path) or "") if one.name == "server"]
        assert setting in [" ".join(one.words) for one in server.block or ()]
        assert "proxy_temp_path" not in [one.name for one in server.block or ()]
