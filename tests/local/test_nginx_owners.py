# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sites of several owners in one real nginx."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.transaction import Transaction
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory
from nginx_instance import BINARY, App, Front, Instance, free_port, needs_nginx, ok, run_module

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


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


@pytest.fixture
def deployed(tmp_path: Path) -> Callable[[str], str]:
    """Makes the folder of an application that has a live release; returns its path."""

    def make(name: str) -> str:
        folder = tmp_path / "webapps" / name
        folder.mkdir(parents=True)
        (folder / "current.sock").symlink_to("some.sock")
        return str(folder)

    return make


def removing(nginx: Instance, name: str, check_mode: bool = False) -> tuple[dict[str, Any], list[str]]:
    """A run that removes an application, and its warnings."""
    transaction = Transaction({**nginx.params({}), "owners": ["webapps"], "removed": [name]}, BINARY, run_command)
    return run_module(transaction, check_mode), transaction.warnings


@needs_nginx
@pytest.mark.parametrize("owners", [["webapps"], ["nginx_sites", "webapps"]], ids=len)
def test_an_application_that_left_the_inventory_keeps_its_site_until_it_is_removed(
    nginx: Instance, deployed: Callable[[str], str], owners: list[str]
) -> None:
    port, folder = free_port(), deployed("shop")
    shop = site_of(nginx, "webapps", "app", nginx.port, folder)
    run(nginx, ["webapps"], shop=shop)
    blog = site_of(nginx, "webapps", "blog", port, deployed("blog"))
    # A run of another inventory, twice, and then one of the first again.
    for sites, changed in (({"blog": blog}, True), ({"blog": blog}, False), ({"shop": shop}, False)):
        told, warned = run(nginx, owners, **sites)
        assert (told["changed"], told["removed_sites"], warned) == (changed, [], "")
        assert (nginx.get(), nginx.get(port)) == ("app", "blog")
    for check in (True, False):
        told, warnings = removing(nginx, "shop", check)
        assert (told["removed_sites"], warnings) == (["shop"], [])
    assert nginx.get(port) == "blog"
    assert nginx.refuses(nginx.port)


@needs_nginx
def test_an_application_of_the_inventory_without_an_upstream_replaces_its_site(
    nginx: Instance, deployed: Callable[[str], str]
) -> None:
    """For example one whose static folder has become its whole site."""
    run(nginx, ["webapps"], shop=site_of(nginx, "webapps", "app", nginx.port, deployed("shop")))
    run(nginx, ["webapps"], shop=f"# Owner: webapps\n{nginx.site('pages')}")
    assert nginx.get() == "pages"


@needs_nginx
def test_an_application_without_a_release_loses_its_site_with_a_warning(nginx: Instance, tmp_path: Path) -> None:
    run(nginx, ["webapps"], shop=site_of(nginx, "webapps", "app", nginx.port, f"{tmp_path}/shop"))
    told, warned = run(nginx, ["webapps"])
    assert told["removed_sites"] == ["shop"]
    assert f"no longer serves the application 'shop': it is no longer in webapps, and has no release in {tmp_path}" in (
        warned
    )


@needs_nginx
def test_the_domain_of_an_application_that_left_the_inventory_is_not_taken(
    nginx: Instance, deployed: Callable[[str], str]
) -> None:
    run(nginx, ["webapps"], shop=site_of(nginx, "webapps", "app", nginx.port, deployed("shop")))
    live = nginx.live()
    for owner in ("webapps", "nginx_sites"):
        with pytest.raises(NginxError, match=rf"'store' of {owner}.*'shop' of webapps.*remove.yml"):
            run(nginx, [owner], store=site_of(nginx, owner, "new", nginx.port, deployed(f"store-{owner}")))
    assert (nginx.live(), nginx.get()) == (live, "app")


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


@needs_nginx
def test_the_example_serves_an_application_a_static_site_and_a_load_balancer(
    tmp_path: Path, render: Callable[..., Any]
) -> None:
    given = yaml.safe_load((EXAMPLES / "sites_beside/group_vars/web.yml").read_text())
    docs, api = given["nginx_sites"]
    os.chmod(tmp_path, 0o755)
    front = Front(tmp_path, render)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.html").write_text("docs\n")
    (tmp_path / "apps/hello/current/src/static").mkdir(parents=True)
    backends = {name: str(tmp_path / f"{name}.sock") for name in ("first", "second")}
    answers = {**backends, "hello": str(tmp_path / "apps/hello/current.sock")}
    running = {name: App(path, ok(name)) for name, path in answers.items()}
    docs["locations"][0]["alias"] = f"{tmp_path}/docs"
    for server, path in zip(api["upstreams"][0]["servers"], backends.values(), strict=True):
        server["address"] = f"unix:{path}"
    given["webapps"][0]["site"]["port"] = docs["port"] = api["port"] = front.port
    apps, problems, *_ = checked_inventory(given["webapps"], str(tmp_path / "apps"), {}, given["nginx_sites"])
    assert problems == []
    try:
        front.serve([*nginx_sites(apps, str(tmp_path / "apps")), docs, api])
        assert {name: front.ask("/", host=f"{name}.example.com").text for name in ("hello", "docs", "api")} == {
            "hello": "hello",
            "docs": "docs\n",
            "api": "first",
        }
        assert front.ask("/", host="www.docs.example.com").status == 301
        running["first"].close()
        os.unlink(backends["first"])
        assert front.ask("/", host="api.example.com").text == "second"
    finally:
        for app in running.values():
            app.close()
        front.stop()
