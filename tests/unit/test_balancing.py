# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Balancers: what is derived from the inventory for HAProxy, for their nginx and for the nginx of web hosts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.pyweb.stack.plugins.module_utils.balancing import paths, states
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.transaction import joined, units_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import HEALTHY
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.balancers import balancers_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing import fleet, haproxy, inventory
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.addresses import AddressError, addresses_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.sites import edge_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tree import tree_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import health_question
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.behind import behind_balancers
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import switches
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory

NAMES = {"web1": ["192.0.2.11"], "web2": ["192.0.2.12"], "lb1": ["192.0.2.1"], "here": ["127.0.0.1", "::1"]}


def resolve(name: str) -> list[str]:
    return NAMES.get(name, [])


def app(site: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    site = {"domains": ["shop.example.com"], **(site or {})}
    return {"name": "shop", "source": {"path": "."}, "wsgi": "shop:app", "site": site, **keys}


def checked(*given: dict[str, Any]) -> list[dict[str, Any]]:
    apps, problems = normalised(list(given))
    assert problems == []
    return apps


def hosts(*apps: dict[str, Any], **variables: Any) -> list[fleet.WebHost]:
    return [fleet.host_of(name, NAMES[name][0], variables, checked(*apps)) for name in ("web1", "web2")]


# Addresses


def test_a_host_has_the_address_that_is_given_or_that_ansible_uses() -> None:
    for variables, expected in (
        ({}, ["192.0.2.11"]),
        ({"ansible_host": "198.51.100.7"}, ["198.51.100.7"]),
        ({"ansible_host": "x", "balancer_address": "2001:DB8::7"}, ["2001:db8::7"]),
        ({"balancer_address": ["192.0.2.5", "lb1"]}, ["192.0.2.5", "192.0.2.1"]),
        # For a fleet on one machine.
        ({"balancer_address": "127.0.0.1"}, ["127.0.0.1"]),
    ):
        assert addresses_of("web1", variables, "balancer_address", resolve) == expected


@pytest.mark.parametrize(
    "variables", [{"ansible_host": "unknown"}, {"ansible_host": "127.0.0.1"}, {"ansible_host": "here"}]
)
def test_an_address_that_helps_no_other_host_is_refused(variables: dict[str, Any]) -> None:
    with pytest.raises(AddressError, match=r"^web1: .*Set balancer_address for web1 to its IP address"):
        addresses_of("web1", variables, "balancer_address", resolve)


def test_without_balancers_nothing_is_asked_for() -> None:
    assert balancers_of({"groups": {"web": ["web1"]}, "inventory_hostname": "web1"}, str) == []


def test_a_web_host_can_be_no_balancer() -> None:
    variables = {"groups": {"balancer": ["web1"]}, "inventory_hostname": "web1", "hostvars": {}}
    with pytest.raises(AddressError, match="web1 is in the group balancer and serves applications itself"):
        balancers_of(variables, str)


# Web hosts


def test_each_wrong_variable_of_a_web_host_is_named() -> None:
    variables = {
        "web1": {"webapps": [app()], "balancer_weight": 0, "balancer_port": "http", "balancer_backup": "maybe"},
        "web2": {},
    }
    _hosts, problems = inventory.web_hosts(variables, variables.__getitem__, resolve)
    text = "\n".join(problems)
    for words in (
        "web1: balancer_weight is 0",
        "web1: balancer_port is 'http'",
        "web1: balancer_backup is 'maybe'",
        "web2: the variable 'webapps'",
    ):
        assert words in text


def test_a_variable_that_does_not_resolve_is_named_with_its_host() -> None:
    class Broken(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise AnsibleError("'password' is undefined")

    _hosts, problems = inventory.web_hosts(["web1"], lambda _name: Broken(webapps=[]), resolve)
    assert problems == ["web1: a variable that the balancer needs can't be resolved: 'password' is undefined"]


def test_web_hosts_must_agree_on_a_site() -> None:
    first, second = checked(app()), checked(app({"domains": ["other.example.com"]}, health={"path": "/up"}))
    found = [fleet.WebHost("web1", "192.0.2.1", apps=first), fleet.WebHost("web2", "192.0.2.2", apps=second)]
    problems = fleet.applications_of(found)[1]
    assert [problem.partition(":")[0] for problem in problems] == [
        "webapps 'shop'.site.domains",
        "webapps 'shop'.health.path",
    ]
    assert all("web1 and web2" in problem for problem in problems)


def test_two_applications_of_different_hosts_can_not_have_one_url() -> None:
    first, second = checked(app()), checked({**app(), "name": "blog"})
    found = [fleet.WebHost("web1", "192.0.2.1", apps=first), fleet.WebHost("web2", "192.0.2.2", apps=second)]
    assert "shop.example.com" in fleet.applications_of(found)[1][0]


# HAProxy


def test_each_application_has_the_servers_that_serve_it() -> None:
    found = [
        fleet.WebHost("web1", "192.0.2.11", None, 50, apps=checked(app())),
        fleet.WebHost(
            "web2", "2001:db8::2", 8080, backup=True, apps=checked(app(), {**app(), "name": "blog", "site": {}})
        ),
    ]
    apps, problems = fleet.applications_of(found)
    assert problems == []
    units = {unit["name"]: unit["content"] for unit in haproxy.units(apps, found, 500, 500)}
    assert (
        "    server web1 192.0.2.11:80 weight 50\n    server web2 [2001:db8::2]:8080 weight 100 backup\n"
        in units["app:shop"]
    )
    assert "web1" not in units["app:blog"]
    assert list(units) == ["main", "host:web1", "host:web2", "app:shop", "app:blog", "health"]


def test_the_healthy_statuses_are_those_of_a_deployment() -> None:
    numbers = []
    for part in haproxy.HEALTHY.split(","):
        low, _dash, high = part.partition("-")
        numbers += list(range(int(low), int(high or low) + 1))
    assert tuple(numbers) == HEALTHY
    assert "http-check expect status 200,204\n" in text_of(app(health={"path": "/up", "status": [200, 204]}))


def test_a_check_looks_like_a_visitor_that_used_https() -> None:
    assert "hdr X-Forwarded-Proto http " in text_of(app())
    assert "hdr X-Forwarded-Proto https " in text_of(app({"tls": {"mode": "selfsigned"}}))
    assert "hdr Host www.example.com " in text_of(app({"domains": ["*.example.com"]}))
    assert "hdr Host localhost " in text_of(app({"domains": []}))


def text_of(given: dict[str, Any]) -> str:
    found = hosts(given)
    return "".join(unit["content"] for unit in haproxy.units(checked(given), found, 500, 500))


def test_a_slow_fault_is_noticed_within_two_seconds() -> None:
    text = text_of(app())
    assert "inter 500ms fastinter 250ms" in text
    assert "timeout check 500ms" in text
    # An interval, a check that times out, a shorter interval, and another check.
    assert 500 + 500 + 250 + 500 < 2000


@pytest.mark.attack("17.3", "A name of a host or of a cookie breaks out of its line in HAProxy's configuration.")
def test_a_name_of_a_host_stays_one_word() -> None:
    host = fleet.WebHost("web 1\nglobal", "192.0.2.1", apps=checked(app({"sticky": "cookie"})))
    text = "".join(unit["content"] for unit in haproxy.units(host.apps, [host], 500, 500))
    assert "web 1" not in text
    assert text.count("\nglobal") == 0
    assert f"server {host.label} " in text


@pytest.mark.attack("17.3", "An account of the balancer uses HAProxy's admin socket.")
def test_the_admin_socket_is_for_root_alone() -> None:
    (line,) = [line for line in text_of(app()).split("\n") if "stats socket" in line]
    assert line.split()[2:9] == [paths.ADMIN_SOCKET, "mode", "600", "user", "root", "group", "root"]


def test_units_of_a_file_are_found_again() -> None:
    units = {"main": "defaults\n    mode http\n", "app:shop": "frontend shop\n"}
    found = units_of(joined(units))
    assert found.pop("description").startswith("global\n    description pyweb-")
    assert found == units
    assert units_of("# someone's\nglobal\n") == {}


def test_new_servers_and_those_that_have_moved_start_as_down() -> None:
    lines = ["backend shop", *(f"    server web{one[0]} {one[1:]} weight 1" for one in PLACES)]
    servers = states.servers_in({"a": "\n".join(lines)})
    assert servers[0] == ("shop", "web1", "192.0.2.1", "80")
    assert servers[3] == ("shop", "web4", "2001:db8::1", "8080")
    known = [states.NEW.format(backend="shop", name=f"web{one}", address="192.0.2.1", port=80) for one in (1, 2, 3)]
    known = [line.replace(" 192.0.2.1 0 ", " 192.0.2.1 2 ") for line in known]
    other = known[0].replace("shop", "blog")
    found = states.with_new_servers("\n".join(["1", "# be_id be_name", *known, other, ""]), servers).split("\n")
    assert found[:4] == ["1", "# be_id be_name", known[0], other]
    states_of = {line.split()[3]: (line.split()[4], line.split()[5], line.split()[18]) for line in found[4:] if line}
    assert states_of == {
        "web2": ("192.0.2.2", "0", "80"),
        "web3": ("192.0.2.1", "0", "81"),
        "web4": ("2001:db8::1", "0", "8080"),
    }


PLACES = ("1192.0.2.1:80", "2192.0.2.2:80", "3192.0.2.1:81", "4[2001:db8::1]:8080")


# nginx of the balancer


FULL = {
    "tls": {"mode": "acme"},
    "redirects": ["www.example.com"],
    "cache": {"valid": 2},
    "rate_limit": {"rate": "5r/s"},
    "allow": ["192.0.2.0/24"],
    "static": [{"url": "/static/", "path": "static"}, {"url": "/private/", "path": "private", "internal": True}],
    "locations": [{"path": "/api", "websocket": True, "cache": {"valid": 1}, "buffering": True}],
}


def edge(*given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    sites, _settings, problems = edge_sites(checked(*given), [], {})
    assert problems == []
    return {site["name"]: site for site in sites}


def test_what_concerns_visitors_is_at_the_balancer_and_not_at_the_web_host() -> None:
    full = {key: value for key, value in FULL.items() if key != "locations"}
    site = edge(app(full))["shop"]
    assert (site["tls"]["mode"], site["redirects"], site["rate_limit"]["rate"]) == ("acme", ["www.example.com"], "5r/s")
    (behind,) = nginx_sites(behind_balancers(checked(app(full)), ["192.0.2.1"]))
    assert (behind["tls"]["mode"], behind["redirects"]) == ("none", [])
    assert "rate_limit" not in behind
    assert "cache" not in behind["locations"][0]
    assert behind["allow"] == site["allow"] == ["192.0.2.0/24"]


def test_every_location_leads_to_the_web_hosts_and_static_files_count_for_no_limit() -> None:
    full = {key: value for key, value in FULL.items() if key != "locations"}
    locations = {location["path"]: location for location in edge(app(full))["shop"]["locations"]}
    assert set(locations) == {"/", "/static/"}
    assert {location["upstream"] for location in locations.values()} == {f"unix:{paths.socket_of('shop')}"}
    assert (locations["/"]["cache"]["valid"], locations["/static/"]["cache"]) == (2, None)
    assert locations["/static/"]["rate_limit"] == {}


def test_applications_of_one_domain_have_a_socket_each() -> None:
    inner = {**app({"path": "/blog"}), "name": "blog"}
    locations = edge(app(), inner)["shop"]["locations"]
    assert {location["path"]: location["upstream"] for location in locations} == {
        "/": f"unix:{paths.socket_of('shop')}",
        "/blog": f"unix:{paths.socket_of('blog')}",
    }


@pytest.mark.attack("17.3", "A response that extra protects on the web host is cached at the balancer for everyone.")
def test_a_site_with_rules_in_extra_is_cached_by_the_web_host() -> None:
    given = app({"cache": {"valid": 2}, "extra": "auth_request /verify;"})
    assert edge(given)["shop"]["locations"][0]["cache"] is None
    (behind,) = nginx_sites(behind_balancers(checked(given), ["192.0.2.1"]))
    assert behind["locations"][0]["cache"]["valid"] == 2


def test_a_proof_is_asked_for_at_the_peers_but_never_in_circles() -> None:
    sites, settings, _problems = edge_sites(checked(app({"tls": {"mode": "acme"}})), [], {})
    settings["edge"] = {"health": "/run/h.sock", "peers": ["192.0.2.1", "2001:db8::1"]}
    (file,) = [file for file in tree_files(sites, settings) if file["path"] == "sites/shop.conf"]
    (block,) = [block for block in file["vars"]["blocks"] if block["head"] == "upstream shop_peers"]
    assert block["lines"] == ["server 192.0.2.1:80 max_fails=0;", "server [2001:db8::1]:80 max_fails=0;"]
    heads = [[one["head"] for one in server["locations"]] for server in file["vars"]["servers"]]
    assert any("location @pyweb_peers" in one for one in heads)


# nginx and the checks of web hosts


def test_a_host_behind_balancers_is_checked_over_http_as_if_over_https() -> None:
    given = app({"tls": {"mode": "selfsigned"}}, health={"path": "/up", "status": [200]})
    (found,) = checked_inventory([given], "/srv/webapps", {"balancers": ["192.0.2.1"]}).apps
    assert health_question(found)["scheme"] == "https"
    facts = {
        "init": "systemd",
        "cpus": 1,
        "memory_bytes": 2**30,
        "balancers": {"balancers": ["192.0.2.1"], "port": 8080},
    }
    (switch,) = switches([given], facts, "restart")
    assert (switch["front_port"], switch["front_tls_port"]) == (8080, None)
    assert switch["front_status"] == [200, 301, 302, 307, 308]


def test_without_balancers_the_sites_are_as_before() -> None:
    found = checked_inventory([app(FULL | {"locations": []})], "/srv/webapps", {})
    assert found.problems == []
    assert found.sites[0]["tls"]["mode"] == "acme"
    assert found.sites[0]["health_checks"] == []
    text = str(tree_files(found.sites, found.settings))
    assert "pyweb_stranger" not in text
    assert paths.OWN_URLS not in text


def test_a_health_path_that_nginx_can_not_write_is_refused() -> None:
    found = checked_inventory([app(health={"path": "/up$x"})], "/srv/webapps", {"balancers": ["192.0.2.1"]})
    assert "balancers can't ask for the health path '/up$x'" in found.problems[0]
    assert checked_inventory([app(health={"path": "/up$x"})]).problems == []


def test_an_application_behind_balancers_can_be_checked_again() -> None:
    behind = behind_balancers(checked(app(FULL | {"locations": []})), ["192.0.2.1"])
    again, problems = normalised(list(behind))
    assert problems == []
    assert again == list(behind)
