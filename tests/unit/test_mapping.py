# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""From the application model to the inputs of the roles."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.filter.webapps import FilterModule
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.complaints import user_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.model import webapps as webapps_model
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.inherited_access import with_inherited_access
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import health_path
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import ModelError, applications, present
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import releases
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.reports import urls
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.resources import resolved_process_manager, worker_count
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.servers import server_services
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.services import supervisor_programs, systemd_services
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites, size
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import (
    activations,
    leaders_of,
    release_commands,
    switches,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options

GIB = 1024**3
SYSTEMD = {"init": "systemd", "cpus": 2, "memory_bytes": 4 * GIB, "supervisor": False}
BARE = {"init": "none", "cpus": 2, "memory_bytes": 4 * GIB, "supervisor": False}
ID = "20261121T010203Z-ab12cd34"


def app(name: str = "shop", **changes: Any) -> dict[str, Any]:
    return {"name": name, "source": {"path": name}, "wsgi": f"{name}:app", **changes}


def build(name: str = "shop", candidate: str = ID, **changes: Any) -> dict[str, Any]:
    return {"name": name, "candidate": candidate, "current": "", "action": "build", "activate": True, **changes}


def sites(*apps: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {site["name"]: site for site in nginx_sites(list(apps))}


def test_a_model_with_problems_maps_to_nothing() -> None:
    with pytest.raises(ModelError) as caught:
        releases([app(threads=0), app("blog", timeout=0)], SYSTEMD)
    assert "'shop'.threads" in str(caught.value)
    assert "'blog'.timeout" in str(caught.value)
    with pytest.raises(AnsibleFilterError, match="'shop'"):
        FilterModule().filters()["webapp_nginx_sites"]([app(threads=0)])


@pytest.mark.parametrize(
    ("workers", "cpus", "memory", "wanted"),
    [
        ("auto", 1, 8 * GIB, 3),
        ("auto", 2, 8 * GIB, 5),
        ("auto", 64, GIB, 4),
        ("auto", 64, 128 * 1024**2, 2),
        (7, 1, GIB, 7),
        (1, 8, GIB, 1),
    ],
)
def test_workers(workers: Any, cpus: int, memory: int, wanted: int) -> None:
    (shop,) = applications([app(workers=workers)])
    assert worker_count(shop, {"cpus": cpus, "memory_bytes": memory}) == wanted


@pytest.mark.parametrize("server", ["uwsgi", "granian"])
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, (3, 8)),
        ({"threads": 16}, (3, 16)),
        # A number in the inventory stays, and the other number is the one of earlier versions.
        ({"threads": 4}, (5, 4)),
        ({"threads": 1}, (5, 1)),
        ({"workers": 4}, (4, 4)),
        ({"workers": 4, "threads": 8}, (4, 8)),
    ],
)
def test_a_server_with_cheap_threads_has_fewer_workers(server: str, changes: dict[str, Any], wanted: Any) -> None:
    (shop,) = applications([app(server=server, **changes)])
    assert (worker_count(shop, {"cpus": 2, "memory_bytes": 8 * GIB}), shop["threads"]) == wanted


@pytest.mark.parametrize("own", [{"cheaper": 4}, {"gevent": 100}, {"async": 50}])
def test_uwsgi_has_its_many_workers_where_it_adapts_their_number_or_has_no_threads(own: dict[str, Any]) -> None:
    (shop,) = applications([app(server="uwsgi", uwsgi=own)])
    assert (worker_count(shop, {"cpus": 2, "memory_bytes": 8 * GIB}), shop["threads"]) == (5, 4)


@pytest.mark.parametrize("cores", [1, 2, 4, 64])
def test_fewer_workers_serve_as_many_requests_at_a_time(cores: int) -> None:
    apps = [app(server=server) for server in ("gunicorn", "uwsgi", "granian")]
    facts = {"cpus": cores, "memory_bytes": 1024 * GIB}
    many, *others = [
        worker_count(shop, facts) * shop["threads"] for (shop,) in map(applications, ([one] for one in apps))
    ]
    assert all(many <= other <= 2 * many for other in others)


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({"cpu": "250%"}, 5),
        ({"cpu": "50%"}, 3),
        ({"memory": "512M"}, 4),
        ({"memory": "64M"}, 2),
        ({"memory": "1T"}, 17),
    ],
)
def test_the_applications_own_limits_count(limits: dict[str, str], wanted: int) -> None:
    (shop,) = applications([app(limits=limits)])
    assert worker_count(shop, {"cpus": 8, "memory_bytes": 64 * GIB}) == wanted


def test_a_process_manager_waits_longer_than_the_server() -> None:
    for settings, wanted in (({}, 65), ({"graceful_timeout": 300}, 305)):
        apps = [app(timeout=60, gunicorn=settings)]
        assert systemd_services(apps, SYSTEMD)[0]["stop_timeout"] == wanted
        assert supervisor_programs(apps, BARE)[0]["stopwaitsecs"] == wanted
        assert activations(apps, [build()], SYSTEMD)[0]["stop_timeout"] == wanted


def test_a_release_starts_with_as_many_workers_as_uwsgi_lets_boot() -> None:
    apps = [app(server="uwsgi", workers=8, uwsgi={"cheaper": 2})]
    assert activations(apps, [build()], SYSTEMD)[0]["workers"] == 2


@pytest.mark.parametrize(
    ("own", "default", "facts", "wanted"),
    [
        (None, "auto", SYSTEMD, "systemd"),
        (None, "auto", BARE, "supervisor"),
        (None, "supervisor", SYSTEMD, "supervisor"),
        ("systemd", "supervisor", SYSTEMD, "systemd"),
        ("auto", "supervisor", SYSTEMD, "systemd"),
    ],
)
def test_process_managers(own: Any, default: str, facts: Any, wanted: str) -> None:
    assert resolved_process_manager({"process_manager": own}, default, facts) == wanted


# nginx


def test_an_application_without_domains_is_the_default_site() -> None:
    (site,) = nginx_sites([app()])
    assert (site["name"], site["domains"], site["redirects"], site["port"]) == ("shop", [], [], 80)
    (location,) = site["locations"]
    del location["instead"]
    assert location == {"path": "/", "upstream": "shop", "read_timeout": 35, "websocket": False}


def test_applications_on_one_domain_become_one_site() -> None:
    found = sites(
        app(site={"domains": ["a.org"], "redirects": ["w.org"], "max_body_size": "1m", "extra": "x on;\n"}),
        app("blog", site={"domains": ["a.org"], "path": "/blog", "max_body_size": "1g", "extra": "y on;"}),
    )
    assert list(found) == ["shop"]
    site = found["shop"]
    assert [location["path"] for location in site["locations"]] == ["/", "/blog"]
    assert (site["domains"], site["redirects"]) == (["a.org"], ["w.org"])
    assert [location["max_body_size"] for location in site["locations"]] == ["1m", "1g"]
    # An error in a user's directives names the application and the line in its own text.
    assert user_line(site["extra"], 5) == ("extra of blog", 1, "y on;")


def test_domains_that_other_applications_share_are_sites_of_their_own() -> None:
    found = sites(
        app(site={"domains": ["a.org", "b.org"], "redirects": ["w.org"]}),
        app("blog", site={"domains": ["b.org"], "path": "/blog"}),
    )
    assert {name: site["domains"] for name, site in found.items()} == {"shop": ["a.org"], "shop-2": ["b.org"]}
    assert found["shop"]["redirects"] == ["w.org"]
    assert found["shop-2"]["redirects"] == []
    assert len(found["shop-2"]["locations"]) == 2


def test_redirects_survive_another_order_of_the_same_domains() -> None:
    (site,) = nginx_sites(
        [
            app(site={"domains": ["a.org", "b.org"], "redirects": ["w.org"]}),
            app("blog", site={"domains": ["b.org", "a.org"], "path": "/blog", "redirects": ["v.org"]}),
        ]
    )
    assert site["redirects"] == ["w.org", "v.org"]


def test_a_redirect_that_two_name_is_made_once() -> None:
    (site,) = nginx_sites(
        [
            app(site={"domains": ["a.org"], "redirects": ["w.org"]}),
            app("blog", site={"domains": ["a.org"], "path": "/blog", "redirects": ["w.org"]}),
        ]
    )
    assert site["redirects"] == ["w.org"]


def test_a_default_site_and_a_named_one_on_a_port_stay_apart() -> None:
    found = sites(app(), app("blog", site={"domains": ["a.org"]}), app("wiki", site={"port": 81}))
    assert {name: (site["domains"], site["port"]) for name, site in found.items()} == {
        "shop": ([], 80),
        "blog": (["a.org"], 80),
        "wiki": ([], 81),
    }


def test_no_two_sites_have_one_name() -> None:
    found = nginx_sites(
        [
            app(site={"domains": ["a.org", "b.org"]}),
            app("blog", site={"domains": ["b.org"], "path": "/b"}),
            app("shop-2", wsgi="a:b", site={"domains": ["c.org"]}),
        ]
    )
    names = [site["name"] for site in found]
    assert len(set(names)) == len(names) == 3


def test_static_folders_lie_below_prefix_root_and_subdir() -> None:
    (site,) = nginx_sites(
        [
            app(
                source={"path": "x", "subdir": "backend/"},
                site={"path": "/shop", "static": [{"url": "/static/", "path": "pub/", "immutable": True}]},
            )
        ],
        root="/apps",
    )
    assert site["locations"][1] == {
        "path": "/shop/static/",
        "alias": "/apps/shop/current/src/backend/pub/",
        "immutable": True,
        "charset": "utf-8",
        "fallback": ["/apps/shop/previous/src/backend/pub/"],
    }


def test_what_an_application_says_holds_for_itself_alone() -> None:
    protected = {"domains": ["a.org"], "allow": ["10.0.0.0/8"], "static": [{"url": "/s/", "path": "s"}]}
    (alone,) = nginx_sites([app(site=protected)])
    assert alone["allow"] == ["10.0.0.0/8"]
    assert not any("allow" in location for location in alone["locations"])
    (shared,) = nginx_sites([app(site=protected), app("blog", site={"domains": ["a.org"], "path": "/blog"})])
    assert "allow" not in shared
    allowed = {location["path"]: location.get("allow") for location in shared["locations"]}
    assert allowed == {"/": ["10.0.0.0/8"], "/s/": None, "/blog": None}
    assert {location["path"]: location.get("inherit_access") for location in shared["locations"]} == {
        "/": False,
        "/s/": None,
        "/blog": False,
    }
    (found,), _settings, problems = checked([shared], {})
    allowed = {location["path"]: location["allow"] for location in with_inherited_access(found["locations"])}
    assert (allowed, problems) == ({"/": ["10.0.0.0/8"], "/s/": ["10.0.0.0/8"], "/blog": None}, [])


def test_paths_of_an_application_take_what_they_do_not_say_from_it() -> None:
    (site,) = nginx_sites(
        [
            app(
                timeout=10,
                site={
                    "path": "/shop",
                    "cache": {"valid": 5},
                    "locations": [{"path": "/events", "buffering": False, "read_timeout": 3600}],
                },
            )
        ]
    )
    main, events = site["locations"]
    assert (events["path"], events["upstream"]) == ("/shop/events", main["upstream"])
    assert (main["read_timeout"], events["read_timeout"], events["buffering"]) == (15, 3600, False)


@pytest.mark.parametrize(
    ("site", "wanted"),
    [
        ({}, [15, 15]),
        ({"websocket": True}, [3600, 3600]),
        ({"buffering": False}, [3600, 3600]),
        ({"locations": [{"path": "/x", "websocket": True}]}, [15, 3600]),
        ({"locations": [{"path": "/x", "buffering": False}]}, [15, 3600]),
        ({"websocket": True, "locations": [{"path": "/x", "websocket": False}]}, [3600, 15]),
        ({"websocket": True, "locations": [{"path": "/x", "read_timeout": 7}]}, [3600, 7]),
        ({"locations": [{"path": "/", "read_timeout": 9}, {"path": "/x"}]}, [9, 15]),
        ({"extra": "proxy_read_timeout 99s;"}, [None, None]),
        ({"extra": "proxy_read_timeout 99s;", "locations": [{"path": "/x", "read_timeout": 7}]}, [None, 7]),
    ],
)
def test_a_quiet_websocket_or_stream_is_not_cut(site: dict[str, Any], wanted: list[Any]) -> None:
    paths = {"locations": [{"path": "/x"}], **site}
    (planned,) = nginx_sites([app(timeout=10, site=paths)])
    assert [location["read_timeout"] for location in planned["locations"]] == wanted


def test_a_folder_at_the_root_leaves_the_application_its_paths() -> None:
    site = {"static": [{"url": "/", "path": "dist", "fallback": "index.html"}], "locations": [{"path": "/api/"}]}
    for path, own in (("/api/ping", []), ("/apiary", ["/apiary"]), ("/up?x=1", ["/up"])):
        (planned,) = nginx_sites([app(site=site, health={"path": path})])
        found = {location["path"]: "upstream" in location for location in planned["locations"]}
        assert found == {"/": False, "/api/": True, **dict.fromkeys(own, True)}


def test_a_static_folder_of_a_package_is_copied_by_the_build() -> None:
    static = [
        {"url": "/static/", "package": "shop.web", "path": "static/"},
        {"url": "/more/", "package": "shop.web", "path": "static"},
        {"url": "/own/", "path": "own"},
    ]
    given = app(source={"package": "shop==1"}, site={"static": static}, commands={"build": ["make"]})
    (release,) = releases([given], SYSTEMD)
    first, second = release["build_commands"]
    assert second == "make"
    assert shlex.split(first)[3:] == ["shop.web", "static", "pyweb-packages/shop.web/static"]
    (site,) = nginx_sites([given], root="/apps")
    folders = [location["alias"] for location in site["locations"] if "alias" in location]
    assert folders == ["/apps/shop/current/src/pyweb-packages/shop.web/static/"] * 2 + ["/apps/shop/current/src/own/"]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, 16),
        ({"site": {"keepalive": 0}}, 0),
        # sync workers announce that they close each connection.
        ({"threads": 1}, 16),
        ({"threads": 1, "site": {"keepalive": 4}}, 4),
        ({"gunicorn": {"worker_class": "gevent"}}, 0),
        ({"gunicorn": {"max_requests": 1000}}, 0),
        ({"gunicorn": {"keepalive": 0}}, 0),
        ({"gunicorn": {"keepalive": None}}, 16),
        ({"gunicorn": {"keepalive": 9}}, 16),
        ({"server": "uwsgi"}, 16),
    ],
)
def test_connections_are_kept_where_that_costs_no_request(changes: dict[str, Any], kept: int) -> None:
    (site,) = nginx_sites([app(**changes)])
    assert [group["keepalive"] for group in site.get("upstreams", [])] == [kept] * bool(kept)


def test_kept_connections_are_a_group_and_an_old_release_outlives_them() -> None:
    kept = app()
    (site,) = nginx_sites([kept])
    (group,) = site["upstreams"]
    assert group["servers"] == [{"address": "unix:/srv/webapps/shop/current.sock"}]
    assert site["locations"][0]["upstream"] == group["name"] == "shop"
    assert switches([kept], SYSTEMD, "restart")[0]["linger"] > 2 * group["keepalive_timeout"]
    assert switches([app(site={"keepalive": 0})], SYSTEMD, "restart")[0]["linger"] == 0


def test_pages_and_maintenance_are_told_as_nginx_finds_them() -> None:
    site = {
        "path": "/shop",
        "error_pages": [{"status": [502], "page": "errors/502.html"}],
        "maintenance": {"page": "closed.html", "allow": ["10.0.0.1"]},
    }
    (told,) = nginx_sites([app(site=site, health={"path": "/healthz?deep=1"})], root="/apps")
    assert told["error_pages"] == [{"status": [502], "page": "/apps/shop/current/src/errors/502.html"}]
    assert told["maintenance"]["page"] == "/apps/shop/current/src/closed.html"
    assert told["maintenance"]["open_paths"] == ["/shop/healthz"]
    assert told["maintenance"]["allow"] == ["10.0.0.1"]
    (told,) = nginx_sites([app(site=site)])
    assert told["maintenance"]["allow"] == ["10.0.0.1", "127.0.0.1", "::1"], "for the check of a deployment"


def test_a_deployment_may_be_turned_away_where_nginx_asks_for_a_password() -> None:
    site = {"basic_auth": {"users": {"alice": "$6$salt$hash"}}}
    status = [
        switches([app(site=site, health={"status": wanted})], SYSTEMD, "restart")[0]["front_status"]
        for wanted in ([], [200])
    ]
    assert status == [[], [200, 401, 403]]  # none stands for any that is well, 401 and 403 among them
    site = {"locations": [{"path": "/internal", **site}]}
    for path, expected in (("/internal/up?x=1", [200, 401, 403]), ("/internally", [200])):
        (switch,) = switches([app(site=site, health={"path": path, "status": [200]})], SYSTEMD, "restart")
        assert switch["front_status"] == expected


@pytest.mark.parametrize("where", [("site",), ("site", "locations")])
def test_both_models_say_the_same_in_the_same_words(where: tuple[str, ...]) -> None:
    """Every option that webapps and nginx_sites share has one meaning, one type and one default."""
    ours, theirs = role_options("webapp")["webapps"]["options"], {"site": role_options("nginx")["nginx_sites"]}
    for key in where:
        ours, theirs = ours[key]["options"], theirs[key]["options"]
    own_meaning = {"domains", "redirects", "port", "path", "extra", "websocket", "max_body_size", "locations"}
    shared = (ours.keys() & {**theirs, **theirs.get("locations", {}).get("options", {})}.keys()) - own_meaning
    assert {"rate_limit", "basic_auth", "headers"} <= shared

    def bare(option: dict[str, Any]) -> dict[str, Any]:
        inner = {key: bare(value) for key, value in option.get("options", {}).items()}
        return {key: value for key, value in option.items() if key != "description"} | {"options": inner}

    for key in shared:
        option = theirs.get(key) or theirs["locations"]["options"][key]
        assert bare(ours[key]) == bare(option), key


def test_an_application_that_goes_has_no_site() -> None:
    assert nginx_sites([app(state="absent")]) == []


@pytest.mark.parametrize(("text", "wanted"), [("0", 1 << 62), ("512", 512), ("1k", 1024), ("2M", 2 << 20), ("1g", GIB)])
def test_sizes(text: str, wanted: int) -> None:
    assert size(text) == wanted


# Releases


def test_what_a_release_is_made_of() -> None:
    (item,) = releases([app(env={"A": "b"}, site={"path": "/x/"})], SYSTEMD, "auto", {"gunicorn": "gunicorn>=22"})
    assert item["environment"] == {
        "WEBAPP_SERVER": "gunicorn",
        "WEBAPP_PROCESS_MANAGER": "systemd",
        "SCRIPT_NAME": "/x",
    }
    assert item["server_packages"] == ["gunicorn>=22"]
    assert item["env"] == {"A": "b"}


def test_an_application_that_goes_is_told_by_name_alone() -> None:
    assert releases([app(state="absent", purge=True)], SYSTEMD) == [{"name": "shop", "state": "absent", "purge": True}]


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"env": {"A": "b"}}, True),
        ({"proxy_fix": True}, True),
        ({"limits": {"memory": "1G"}}, True),
        ({"site": {"domains": ["a.org"]}}, False),
        ({"health": {"path": "/x"}}, False),
    ],
)
def test_only_what_a_process_sees_is_a_setting_of_the_release(changes: dict[str, Any], differs: bool) -> None:
    (before,) = releases([app()], SYSTEMD)
    (after,) = releases([app(**changes)], SYSTEMD)
    assert (before != after) is differs


def test_files_of_a_release_have_paths_within_it() -> None:
    files = [
        {"path": "/srv/webapps/shop/releases/@RELEASE@/bin/web", "content": "exec @RELEASE@", "mode": "0755"},
        {"path": "/srv/webapps/shop-2/releases/@RELEASE@/bin/web", "content": "another"},
    ]
    (item,) = releases([app()], SYSTEMD, "auto", {}, files)
    assert item["server_files"] == [{"path": "bin/web", "content": "exec @RELEASE@", "mode": "0755"}]


def test_gunicorn_serves_a_release_that_has_no_name_yet() -> None:
    apps = [app(), app("old", state="absent")]
    (item,) = server_services("gunicorn", apps, SYSTEMD)
    assert item["name"] == "shop"
    assert item["workers"] == 5
    assert item["directory"] == "/srv/webapps/shop/releases/@RELEASE@"
    assert item["bind"] == "fd://3"
    assert item["ready_file"] == "/run/webapps/shop/@RELEASE@.sock.ready"
    assert item["program"] == ["/srv/webapps/shop/releases/@RELEASE@/bin/run", "gunicorn"]


def test_proxy_fix_serves_the_wrapper() -> None:
    (item,) = server_services("gunicorn", [app(proxy_fix=True)], SYSTEMD)
    assert item["wsgi_app"] == "pyweb_entry:application"


def test_uwsgi_serves_a_release_that_has_no_name_yet() -> None:
    apps = [app(server="uwsgi", uwsgi={"listen": 64}), app("blog", site={"port": 81})]
    (item,) = server_services("uwsgi", apps, SYSTEMD)
    assert (item["name"], item["module"], item["settings"]) == ("shop", "pyweb_entry:application", {"listen": 64})
    assert (item["http_socket"], item["socket"]) == ("fd://3", "fd://4")
    assert item["ready_file"] == "/run/webapps/shop/@RELEASE@.sock.ready"
    assert item["program"] == ["/srv/webapps/shop/releases/@RELEASE@/bin/run", "uwsgi"]
    assert [one["name"] for one in server_services("gunicorn", [app(server="uwsgi")], SYSTEMD)] == []


TASKS = ("protocol", "proxy_fix", "prefix", "drain", "visitor")


def test_ports_of_uwsgi_reach_its_file() -> None:
    items = server_services(
        "uwsgi", [app(server="uwsgi", uwsgi={"socket": "127.0.0.1:8001", "stats": "127.0.0.1:9191"})], SYSTEMD
    )
    (file, _web) = FilterModule().filters()["uwsgi_files"](items)
    lines = [f"{name} = {value}" for name, value in file["vars"]["options"]]
    assert {"socket = 127.0.0.1:8001", "stats = 127.0.0.1:9191", "reuse-port = true"} <= set(lines)
    assert "socket = fd://4" in lines


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, None),
        ({"wsgi": "shop:create_app('x')", "site": {"path": "/x"}}, None),
        ({"proxy_fix": True}, ("wsgi", True, "", False)),
        ({"gunicorn": {"worker_class": "asgi"}}, ("asgi", False, "", True)),
        ({"gunicorn": {"worker_class": "asgi"}, "site": {"path": "/x"}}, ("asgi", False, "/x", True)),
        ({"gunicorn": {"worker_class": "uvicorn_worker.UvicornWorker"}, "proxy_fix": True}, ("asgi", True, "", False)),
        ({"wsgi": "shop:dash.server"}, ("wsgi", False, "", False)),
        ({"wsgi": "shop:create_app('x').server"}, ("wsgi", False, "", False)),
        ({"wsgi": "shop:dash.server", "gunicorn": {"worker_class": "uvicorn_worker.A"}}, ("asgi", False, "", False)),
        ({"server": "uwsgi"}, ("wsgi", False, "", True)),
        ({"server": "uwsgi", "gunicorn": {"worker_class": "asgi"}}, ("wsgi", False, "", True)),
        ({"server": "uwsgi", "wsgi": "shop:create_app('x')"}, ("wsgi", False, "", True)),
        ({"server": "uwsgi", "site": {"path": "/x"}}, ("wsgi", False, "/x", True)),
        ({"server": "granian", "site": {"path": "/x"}}, ("wsgi", False, "/x", False, True)),
        ({"server": "granian", "granian": {"interface": "asgi"}}, ("asgi", False, "", True, True)),
    ],
)
def test_a_module_of_ours_stands_before_what_a_server_cannot_call(changes: dict[str, Any], wanted: Any) -> None:
    (item,) = releases([app(**changes)], SYSTEMD)
    assert item["entry"] == (wanted and dict(zip(TASKS, wanted, strict=False)))


def test_what_the_server_needs_is_a_dependency() -> None:
    requirements = {"gunicorn": "gunicorn>=22", "uwsgi": "pyuwsgi"}
    given = [
        app(server="uwsgi"),
        app("blog", gunicorn={"worker_class": "gevent"}, site={"port": 81}),
        app("wiki", server="granian", granian={"loop": "uvloop"}, site={"port": 82}),
    ]
    found = [item["server_packages"] for item in releases(given, SYSTEMD, "auto", requirements)]
    assert found == [["pyuwsgi"], ["gunicorn>=22", "gevent>=24.10.1", "packaging"], ["granian", "uvloop>=0.22"]]


@pytest.mark.parametrize("own", [{"workers_lifetime": 3600}, {"workers_max_rss": 300}, {"http1_keep_alive": False}])
def test_no_connection_is_kept_to_workers_of_granian_that_are_replaced(own: dict[str, Any]) -> None:
    (site,) = nginx_sites([app(granian=own)])
    assert "upstreams" not in site


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi", "granian"])
def test_nginx_prefers_the_uwsgi_protocol_while_uwsgi_serves(server: str) -> None:
    (site,) = nginx_sites([app(server=server)])
    assert site["locations"][0]["instead"] == {
        "exists": "/srv/webapps/shop/current.uwsgi",
        "upstream": "uwsgi:unix:/srv/webapps/shop/current.uwsgi.sock",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"gunicorn": {"worker_class": "asgi"}},
        {"gunicorn": {"worker_class": "uvicorn_worker.UvicornWorker"}},
        {"server": "granian", "granian": {"interface": "asgi"}},
        {"server": "granian", "granian": {"interface": "asginl"}},
    ],
)
def test_nginx_uses_http_alone_for_an_application_that_uwsgi_cannot_serve(changes: dict[str, Any]) -> None:
    (site,) = nginx_sites([app(**changes)])
    assert "instead" not in site["locations"][0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"threads": 1},
        {"gunicorn": {"worker_class": "gevent"}},
        {"gunicorn": {"max_requests": 1000}, "uwsgi": {"max-requests": 1000}},
        {"site": {"keepalive": 4, "path": "/shop", "locations": [{"path": "/events", "buffering": False}]}},
    ],
)
def test_a_change_of_the_server_leaves_the_site_of_nginx_alone(changes: dict[str, Any]) -> None:
    sites = [nginx_sites([app(server=server, **changes)]) for server in ("gunicorn", "uwsgi", "granian")]
    assert sites[0] == sites[1] == sites[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"threads": 1},
        {"threads": 16},
        {"workers": 7},
        {"server": "uwsgi", "workers": 2, "threads": 1, "uwsgi": {"cheaper": 1}},
        {"proxy_fix": True, "env": {"A": "b"}, "gunicorn": {"statsd_host": "127.0.0.1:8125"}},
        {"granian": {"runtime_mode": "mt"}, "server": "granian"},
    ],
)
def test_the_settings_of_a_server_leave_the_site_of_nginx_alone(changes: dict[str, Any]) -> None:
    assert nginx_sites([app(**changes)]) == nginx_sites([app()])


# Process managers


def test_systemd_keeps_its_own() -> None:
    apps = [
        app(limits={"memory": "1G"}),
        app("blog", process_manager="supervisor", site={"port": 81}),
        app("old", state="absent"),
    ]
    shop, no_jobs, *gone = systemd_services(apps, SYSTEMD)
    assert (shop["name"], shop["limits"], shop["stop_timeout"]) == ("shop@", {"memory": "1G"}, 35)
    assert shop["command"] == ["/srv/webapps/shop/releases/%i/bin/web"]
    assert (shop["user"], shop["group"]) == ("shop", "shop")
    assert shop["runtime_directory"] == {
        "path": "/run/webapps/shop",
        "owner": "shop",
        "group": "www-data",
        "mode": "0710",
    }
    assert shop["sockets"] == {
        "paths": ["/run/webapps/shop.sockets/%i.sock", "/run/webapps/shop.sockets/%i.uwsgi.sock"],
        "group": "www-data",
        "condition_path": "/srv/webapps/shop/releases/%i/inherits_sockets",
    }
    assert no_jobs == {"name": "shop.*", "state": "absent"}
    assert gone == [{"name": name, "state": "absent"} for name in ("old@", "old.*@", "old.*")]
    assert systemd_services([app("old", state="absent")], BARE) == []


def test_what_applications_share_stays_for_those_that_a_removal_leaves() -> None:
    gone, stays = [app("old", state="absent")], [app()]
    facts = {**BARE, "supervisor": True}
    shared = {"pyweb-wake", "pyweb-nginx"}
    assert not shared & {item["name"] for item in supervisor_programs(gone, facts, beside=stays)}
    ended = [item for item in supervisor_programs(gone, facts, beside=[]) if item["name"] in shared]
    assert [item["state"] for item in ended] == ["absent", "absent"]


def test_supervisor_keeps_its_own() -> None:
    apps = [app(), app("old", state="absent")]
    gone = ["old@", "old.*@", "old.*"]
    assert [item["name"] for item in supervisor_programs(apps, BARE)] == [
        "shop@",
        "shop.*",
        *gone,
        "pyweb-wake",
        "pyweb-nginx",
    ]
    assert supervisor_programs(apps, SYSTEMD) == []
    found = supervisor_programs(apps, {**SYSTEMD, "supervisor": True})
    assert found == [{"name": name, "state": "absent"} for name in [*gone, "pyweb-wake"]]


# Activation


def test_only_what_needs_it_is_activated() -> None:
    apps = [app(), app("blog", site={"port": 81}), app("wiki", site={"port": 82})]
    items = activations(apps, [build(), build("blog", activate=False)], SYSTEMD)
    assert [item["name"] for item in items] == ["shop"]


@pytest.mark.parametrize(
    ("site", "host"),
    [
        ({}, "localhost"),
        ({"port": 81}, "localhost:81"),
        ({"domains": ["a.org", "b.org"]}, "a.org"),
        ({"domains": ["a.org"], "port": 8080}, "a.org:8080"),
        ({"domains": ["*.a.org"]}, "www.a.org"),
    ],
)
def test_the_health_check_is_a_visitor_of_the_first_domain(site: Any, host: str) -> None:
    (item,) = activations([app(site=site)], [build()], SYSTEMD)
    assert item["health"]["host"] == host
    assert item["front_port"] == site.get("port", 80)


@pytest.mark.parametrize(("health", "times"), [({}, (60, 15)), ({"timeout": 60}, (60, 60)), ({"timeout": 5}, (5, 5))])
def test_a_given_health_timeout_governs_wrong_answers_too(health: dict[str, Any], times: tuple[int, int]) -> None:
    (item,) = switches([app(health=health)], SYSTEMD, "restart")
    assert (item["health"]["timeout"], item["health"]["error_timeout"]) == times


def test_without_a_front_nginx_is_not_asked() -> None:
    (item,) = activations([app()], [build()], SYSTEMD, front=False)
    assert item["front_port"] is None


@pytest.mark.parametrize(
    ("facts", "own", "wanted"),
    [
        (SYSTEMD, None, ["systemd"]),
        (BARE, None, ["supervisor"]),
        ({**SYSTEMD, "supervisor": True}, None, ["systemd", "supervisor"]),
        (SYSTEMD, "supervisor", ["systemd", "supervisor"]),
    ],
)
def test_every_process_manager_that_may_run_an_old_release_is_asked(facts: Any, own: Any, wanted: list[str]) -> None:
    (item,) = activations([app(process_manager=own)], [build()], facts)
    assert item["process_managers"] == wanted


@pytest.mark.parametrize(
    ("mount", "path", "wanted"),
    [("/", None, "/"), ("/", "/h", "/h"), ("/x", None, "/x/"), ("/x", "/h", "/x/h")],
)
def test_health_paths(mount: str, path: Any, wanted: str) -> None:
    assert health_path(mount, path) == wanted


def test_release_commands_run_on_one_host() -> None:
    apps = [app(commands={"release": ["flask db upgrade"]}), app("blog", site={"port": 81})]
    leaders = leaders_of([["a", [build(candidate="", action="none")]], ["b", [build()]], ["c", [build()]]])
    assert release_commands(apps, leaders, "a", SYSTEMD) == []
    (item,) = release_commands(apps, leaders, "b", SYSTEMD)
    assert (item["candidate"], item["release_commands"]) == (ID, ["flask db upgrade"])
    assert release_commands(apps, leaders, "c", SYSTEMD) == []


def test_a_rollback_names_its_application() -> None:
    apps = [app(), app("old", state="absent")]
    (item,) = switches(apps, SYSTEMD, "rollback", "shop", ID)
    assert (item["switch"], item["release"]) == ("rollback", ID)
    assert [item["name"] for item in switches(apps, SYSTEMD, "restart")] == ["shop"]
    for name in ("", "sohp", "old"):
        with pytest.raises(ModelError, match="Available applications: shop"):
            switches(apps, SYSTEMD, "rollback", name)


def test_urls_tell_where_and_whether_it_is_new() -> None:
    apps = [app(), app("blog", site={"domains": ["a.org", "b.org"], "port": 81, "path": "/blog"})]
    first, second = urls(apps, "192.0.2.1", [build(), build("blog", "", current="R1", action="none")])
    assert first == f"shop is at http://192.0.2.1/ (release {ID}, new)"
    assert second == "blog is at http://a.org:81/blog/, http://b.org:81/blog/ (release R1, unchanged)"


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (build(candidate="", action="build"), "would be at http://192.0.2.1/ (a new release, the first)"),
        (
            build(candidate="", action="build", current="R1"),
            "is at http://192.0.2.1/ (release R1; a new release would replace it)",
        ),
        (
            build(candidate="R0", action="reuse", current="R1"),
            "is at http://192.0.2.1/ (release R1; release R0 would replace it)",
        ),
        (build(candidate="", action="none", current="R1"), "is at http://192.0.2.1/ (release R1, unchanged)"),
    ],
)
def test_urls_of_check_mode_never_call_the_live_release_new(made: dict[str, Any], told: str) -> None:
    assert urls([app()], "192.0.2.1", [made], check=True) == [f"shop {told}"]


@pytest.mark.parametrize(
    ("shared", "site", "served"),
    [
        (["uploads"], {}, []),
        (["uploads", "data"], {"static": [{"url": "/u/", "path": "uploads"}]}, ["uploads"]),
        (["media"], {"static": [{"url": "/u/", "path": "media/public/"}]}, ["media/public"]),
        (["static/up", "data"], {"static": [{"url": "/u/", "path": "static"}]}, ["static/up"]),
        (["up"], {"static": [{"url": "/u/", "path": "uploads"}]}, []),
        (["pages", "data"], {"error_pages": [{"status": [404], "page": "pages/404.html"}]}, ["pages"]),
        (["pages", "data"], {"maintenance": {"page": "pages/closed.html"}}, ["pages"]),
    ],
)
def test_of_the_shared_folders_only_those_are_served_that_the_site_names(
    shared: list[str], site: dict[str, Any], served: list[str]
) -> None:
    assert releases([app(shared=shared, site=site)], SYSTEMD)[0]["served"] == served


def test_applications_are_checked_once_however_often_they_are_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(webapps_model, "check_app", lambda _checker, app, _where: checked.append(app["name"]))
    given = [
        {"name": name, "source": {"path": "a"}, "wsgi": "a:b", "threads": 4, "site": {"path": f"/{name}"}}
        for name in "ab"
    ]
    apps, problems, *_ = checked_inventory(given)
    facts = {"init": "systemd", "cpus": 2, "memory_bytes": 2**31, "supervisor": True}
    for one in (apps, present(apps)):
        nginx_sites(one)
        systemd_services(one, facts)
        supervisor_programs(one, facts)
        server_services("gunicorn", one, facts)
        activations(one, None, facts)
    assert (problems, checked) == ([], ["a", "b"])
