# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Owners of the sites on a host: a run replaces sites of its own lists, keeps others, and reports each removal."""

from __future__ import annotations

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import owners as nginx_owners
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.removals import switched_off
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory

SERVER = "server {\n    listen 80%s;\n    server_name %s;\n}\n"
APPLICATION = "# Owner: webapps\nupstream shop {\n    server unix:/srv/webapps/shop/current.sock;\n}\n"


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (
            "http {\n include /etc/nginx/mime.types;\n include /etc/nginx/sites-enabled/*;\n}\n"
            "#mail {\n# server {\n#}\n",
            [],
        ),
        ("stream {\n server {\n listen 53;\n }\n}\nmail { }\n", ["the stream block", "the mail block"]),
        # Servers for HTTP stay (tests/local/test_nginx_handmade.py).
        ("http { include vhosts/*.conf; server { server_name a b; } }", []),
    ],
)
def test_what_is_switched_off_is_found(entry: str, found: list[str]) -> None:
    assert switched_off(entry) == found


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("# Owner: nginx_sites\nserver unix:/srv/webapps/shop/current.sock;\n", "nginx_sites"),
        ("# Owner: webapps\n", "webapps"),
        ("proxy_pass http://unix:/srv/webapps/shop/current.sock;\n", "webapps"),
        ("proxy_pass http://unix:/run/shop.sock;\n", "nginx_sites"),
    ],
)
def test_the_owner_is_told_or_known_by_the_socket(text: str, owner: str) -> None:
    assert nginx_owners.owner(text) == owner


def test_a_site_of_an_old_tree_that_the_run_brings_itself_is_its_own() -> None:
    """For example the list of a play that passes the sites of applications to the role."""
    live = {"sites/shop.conf": "server {\n    server unix:/srv/webapps/shop/current.sock;\n}\n"}
    own = {"sites/shop.conf": f"# Owner: nginx_sites\n{live['sites/shop.conf']}"}
    assert nginx_owners.kept(live, own, ["nginx_sites"]) == {}
    assert nginx_owners.kept(live, {}, ["nginx_sites"]) == live


def test_unknown_hosts_have_one_server_on_each_port_that_has_no_default_site() -> None:
    def catch_all(*ports: int) -> str:
        return "# Hosts\n" + "".join(f"\nserver {{\n    listen {port} default_server;\n}}\n" for port in ports)

    def tree(*ports: int, **sites: str) -> dict[str, str]:
        return {"nginx.conf": "", "catch_all.conf": catch_all(*ports)} | {
            f"sites/{k}.conf": v for k, v in sites.items()
        }

    default = 'server {\n    listen 8080 default_server;\n    server_name "";\n}\n'
    live = tree(80, 8081, other=default + "server {\n    listen 8081;\n    server_name a;\n}\n")
    others = nginx_owners.kept(live, {}, [])
    new = tree(80, 8080, shop=SERVER % ("", "shop"))
    assert nginx_owners.merged(new, others, live)["catch_all.conf"] == catch_all(80, 8081)


def test_an_application_and_a_site_that_want_the_same_are_named_by_the_preflight() -> None:
    app = {"name": "shop", "source": {"path": "."}, "wsgi": "shop:app", "site": {"domains": ["shop.example.com"]}}
    pages = [{"path": "/", "alias": "/srv/pages"}]
    for site in ({"name": "shop"}, {"name": "static", "domains": ["shop.example.com"]}):
        _apps, problems, *_ = checked_inventory([app], "/srv/webapps", {}, [{**site, "locations": pages}])
        assert len(problems) == 1
        assert "nginx_sites" in problems[0]
        assert "'shop'" in problems[0]
    free = [{"name": "static", "domains": ["static.example.com"], "locations": pages}]
    assert checked_inventory([app], "/srv/webapps", {}, free)[1] == []
