# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sites of several owners in one real nginx."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.transaction import Transaction
from nginx_instance import BINARY, Instance, free_port, needs_nginx, run_module


def site_of(nginx: Instance, owner: str, answer: str, port: int, folder: str = "/srv/webapps/shop") -> str:
    upstream = f"upstream {answer} {{\n    server unix:{folder}/current.sock;\n}}\n" if owner == "webapps" else ""
    return f"# Owner: {owner}\n{upstream}{nginx.site(answer, port)}"


def run(nginx: Instance, owners: list[str], check_mode: bool = False, **sites: str) -> tuple[dict[str, Any], str]:
    """A run of a list's owner, and its warnings."""
    transaction = Transaction({**nginx.params(sites), "owners": owners}, BINARY, run_command)
    return run_module(transaction, check_mode), "\n".join(transaction.warnings)


@needs_nginx
@pytest.mark.parametrize("owners", [["webapps", "nginx_sites"], ["nginx_sites", "webapps"]], ids=lambda who: who[0])
def test_each_owner_keeps_the_sites_of_the_other(nginx: Instance, owners: list[str]) -> None:
    first, second = owners
    port, other = free_port(), free_port()
    sites = {first: site_of(nginx, first, "one", port), second: site_of(nginx, second, "two", other)}
    run(nginx, [first], one=sites[first])
    _told, warned = run(nginx, [second], two=sites[second])
    assert "no longer" not in warned
    assert (nginx.get(port), nginx.get(other)) == ("one", "two")
    for owner, name in ((first, "one"), (second, "two")):
        told, warned = run(nginx, [owner], **{name: sites[owner]})
        assert (told["changed"], warned) == (False, "")
    assert stamps.valid()
    told, warned = run(nginx, [])
    assert (told["changed"], warned) == (False, "")
    assert (nginx.get(port), nginx.get(other)) == ("one", "two")


@needs_nginx
def test_a_removed_site_is_named_also_in_check_mode(nginx: Instance) -> None:
    port, other = free_port(), free_port()
    run(nginx, ["webapps"], shop=site_of(nginx, "webapps", "app", other))
    run(nginx, ["nginx_sites"], static=site_of(nginx, "nginx_sites", "static", port))
    for check in (True, False):
        told, warned = run(nginx, ["nginx_sites"], check)
        assert told["removed_sites"] == ["static"]
        assert "no longer serves the site 'static'" in warned
        assert "'shop'" not in warned
    assert nginx.get(other) == "app"


@needs_nginx
def test_an_application_that_left_the_inventory_is_named_with_what_to_do(nginx: Instance, tmp_path: Path) -> None:
    folder = tmp_path / "webapps/shop"
    folder.mkdir(parents=True)
    (folder / "current.sock").symlink_to("gone.sock")
    run(nginx, ["webapps"], shop=site_of(nginx, "webapps", "app", nginx.port, str(folder)))
    # Another application takes its place: a renamed one has the same domain, and maybe the same site.
    transaction = Transaction({**nginx.params({}), "owners": ["webapps"], "removed": ["shop"]}, BINARY, run_command)
    transaction.run(check_mode=True)
    assert transaction.warnings == []
    _told, warned = run(nginx, ["webapps"], store=site_of(nginx, "webapps", "new", nginx.port, f"{folder}2"))
    assert "no longer serves the application 'shop'" in warned
    assert f"still run, from {folder}" in warned
    assert "state: absent" in warned


@needs_nginx
def test_one_name_of_two_owners_is_refused_and_changes_nothing(nginx: Instance) -> None:
    run(nginx, ["webapps"], shop=site_of(nginx, "webapps", "app", nginx.port))
    live = nginx.live()
    with pytest.raises(NginxError, match=r"'static' of nginx_sites.*'shop' of webapps"):
        run(nginx, ["nginx_sites"], static=site_of(nginx, "nginx_sites", "static", nginx.port))
    with pytest.raises(NginxError, match="'shop' of nginx_sites has the name of"):
        run(nginx, ["nginx_sites"], shop=site_of(nginx, "nginx_sites", "static", free_port()))
    assert (nginx.live(), nginx.get()) == (live, "app")


@pytest.mark.attack("low", "Another account writes to a site with wrong modes")
@needs_nginx
def test_a_site_that_others_may_write_to_is_not_dropped_in_silence(nginx: Instance) -> None:
    run(nginx, ["webapps"], shop=site_of(nginx, "webapps", "app", nginx.port))
    os.chmod(nginx.conf / "pyweb/current/sites/shop.conf", 0o666)
    with pytest.raises(NginxError, match="can't be kept"):
        run(nginx, ["nginx_sites"])
    assert nginx.get() == "app"


@needs_nginx
def test_other_traffic_of_a_replaced_nginx_conf_is_named(nginx: Instance) -> None:
    entry = "events {}\nstream {\n    server {\n        listen 127.0.0.1:1;\n    }\n}\n"
    (nginx.conf / "nginx.conf").write_text(entry)
    for check in (True, False):
        _told, warned = run(nginx, ["nginx_sites"], check, shop=nginx.site("one"))
        assert "no longer serves its content: the stream block" in warned
        assert "nginx.conf.before-pyweb" in warned
    _told, warned = run(nginx, ["nginx_sites"], shop=nginx.site("one"))
    assert warned == ""
