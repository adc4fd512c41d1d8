# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""nginx_sites: refused values and their messages, and the configuration of accepted sites."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import crossplane
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.filter.nginx_files import nginx_files
from ansible_collections.pyweb.stack.plugins.filter.nginx_problems import nginx_problems
from ansible_collections.pyweb.stack.plugins.filter.nginx_quote import nginx_quote
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.conditions import for_host
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx import client_headers
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import unbalanced
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.request_paths import paths_with_rules
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tree import buffer_lines

Block = list[dict[str, Any]]

APP = {"path": "/", "upstream": "unix:/run/app.sock"}
SHOP: dict[str, Any] = {
    "name": "shop",
    "domains": ["shop.example.com"],
    "redirects": ["www.shop.example.com"],
    "locations": [
        APP,
        {
            "path": "/api",
            "upstream": "http://127.0.0.1:5000",
            "websocket": True,
            "buffering": False,
            "read_timeout": 5,
        },
        {"path": "/static", "alias": "/srv/shop/my files", "immutable": True},
        {"path": "/files/", "alias": "/srv/files/"},
    ],
    "extra": 'add_header X-Extra "a; b";\nlocation = /x {\n    return 204;\n}\n',
}


@pytest.fixture
def parse(render: Callable[..., Any], tmp_path: Any) -> Callable[..., Block]:
    """The http block that a strict parser reads from the rendered tree, includes resolved."""

    def run(sites: list[dict[str, Any]], ipv6: bool = True, **settings: Any) -> Block:
        rendered = render("nginx", nginx_files(sites, settings))
        files = for_host({file["path"]: file["content"] for file in rendered}, str(tmp_path), ipv6)
        for path, content in files.items():
            # Files of the host outside the tree are not tested here.
            content = content.replace("include /etc/nginx/mime.types;", "")
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(content)
        main = str(tmp_path / "nginx.conf")
        parsed = crossplane.parse(main, combine=True)["config"][0]["parsed"]
        # The strict parser treats the entries of a map or geo as unknown directives.
        mappings = find(http(parsed), "map") + find(http(parsed), "geo")
        entries = {entry["line"] for mapping in mappings for entry in mapping["block"]}
        errors = crossplane.parse(main, strict=True)["errors"]
        assert [error for error in errors if error["file"] != main or error["line"] not in entries] == []
        return parsed

    return run


def find(block: Block, directive: str) -> list[dict[str, Any]]:
    return [entry for entry in block if entry["directive"] == directive]


def values(block: Block, directive: str) -> list[list[str]]:
    return [entry["args"] for entry in find(block, directive)]


def http(parsed: Block) -> Block:
    return find(parsed, "http")[0]["block"]


def servers(parsed: Block) -> Iterator[Block]:
    return (entry["block"] for entry in find(http(parsed), "server"))


def server(parsed: Block, name: str) -> Block:
    found = [block for block in servers(parsed) if name in values(block, "server_name")[0]]
    assert len(found) == 1
    return found[0]


def location(block: Block, *args: str) -> Block:
    found = [entry["block"] for entry in find(block, "location") if entry["args"] == list(args)]
    assert len(found) == 1, f"location {args}: {len(found)} of {values(block, 'location')}"
    return found[0]


def headers(block: Block) -> dict[str, str]:
    names = [args[0] for args in values(block, "proxy_set_header")]
    assert len(names) == len(set(names)), "nginx would send a header twice"
    return {args[0]: args[1] for args in values(block, "proxy_set_header")}


# --- what nginx reads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", ["", "proxy_buffers 4 256k;", "uwsgi_busy_buffers_size 64k;"])
def test_buffers_of_the_operator_replace_all_of_ours_for_that_protocol(extra: str) -> None:
    theirs = extra.partition("_")[0]
    protocols = {line.partition("_")[0] for line in buffer_lines(extra)}
    assert protocols == {"proxy", "uwsgi"} - {theirs}


def test_the_operator_s_size_of_the_table_of_variables_replaces_ours(parse: Callable[..., Block]) -> None:
    block = http(parse([SHOP], extra="variables_hash_max_size 8192;"))
    assert values(block, "variables_hash_max_size") == [["8192"]]
    assert values(block, "variables_hash_bucket_size") == [["128"]]


def test_unknown_hosts_are_closed_where_no_site_is_the_default(
    parse: Callable[..., Block],
) -> None:
    parsed = parse([SHOP, {"name": "other", "port": 8080}])
    defaults = [block for block in servers(parsed) if any("default_server" in a for a in values(block, "listen"))]
    by_port = {values(block, "listen")[0][0]: block for block in defaults}
    assert sorted(by_port) == ["80", "8080"]
    assert values(by_port["80"], "return") == [["444"]]
    assert values(by_port["8080"], "return") == []


def test_every_server_listens_on_both_families(parse: Callable[..., Block]) -> None:
    parsed = servers(parse([SHOP, {"name": "other", "port": "8080"}]))
    ports = [[args[0] for args in values(block, "listen")] for block in parsed]
    assert sorted(map(tuple, ports)) == [("80", "[::]:80")] * 3 + [("8080", "[::]:8080")]


def test_a_host_without_ipv6_listens_on_ipv4_alone(parse: Callable[..., Block]) -> None:
    assert [a for block in servers(parse([SHOP], ipv6=False)) for a in values(block, "listen") if "[" in a[0]] == []


def test_redirects_go_to_the_first_domain_and_keep_the_method(
    parse: Callable[..., Block],
) -> None:
    block = server(parse([SHOP]), "www.shop.example.com")
    target = "$pyweb_scheme://shop.example.com$pyweb_port_suffix$request_uri"
    assert values(block, "return") == [["301", target]]
    condition = find(block, "if")[1]
    assert condition["args"] == ["$request_method", "!~", "^(GET|HEAD)$"]
    assert values(condition["block"], "return") == [["308", target]]


@pytest.mark.attack("low", "A visitor sends the headers that nginx sets for the application")
def test_a_visitor_cannot_forge_what_the_application_believes(
    parse: Callable[..., Block],
) -> None:
    block = server(parse([SHOP]), "shop.example.com")
    removed = {header["name"]: "" for header in client_headers.removed([])}
    assert headers(location(block, "/")) == {
        **removed,
        "Host": "$pyweb_host",
        "X-Real-IP": "$remote_addr",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "$pyweb_scheme",
        "X-Forwarded-Host": "$pyweb_host",
        "X-Forwarded-Port": "$pyweb_port",
        "X-Forwarded-Prefix": "",
        "X-Request-ID": "$pyweb_request_id",
        "X-Pyweb-URI": "$pyweb_encoded_uri",
        "If-Match": "$pyweb_if_match",
        "Connection": "",
    }
    for name in ("Forwarded", "X-Forwarded-Protocol", "X-Forwarded-Ssl", "Proxy", "X-Remote-User", "True-Client-IP"):
        assert removed[name] == ""


def test_a_prefix_reaches_the_application_with_and_without_its_slash(
    parse: Callable[..., Block],
) -> None:
    parsed = parse([SHOP])
    block = server(parsed, "shop.example.com")
    for args in (("=", "/api"), ("/api/",)):
        here = location(block, *args)
        # Without a path after the upstream's name, nginx passes the path of the request.
        assert values(here, "proxy_pass") == [["http://shop_2"]]
        assert headers(here)["X-Forwarded-Prefix"] == "/api"
        assert values(here, "proxy_read_timeout") == [["5s"]]
    upstreams = {entry["args"][0]: values(entry["block"], "server") for entry in find(http(parsed), "upstream")}
    assert upstreams == {
        # Twice, so that nginx retries when a process died, and never marks the upstream as failed.
        "shop_1": [["unix:/run/app.sock", "max_fails=0"]] * 2,
        "shop_2": [["127.0.0.1:5000", "max_fails=0"]] * 2,
    }


def test_websocket_and_buffering_are_per_location(parse: Callable[..., Block]) -> None:
    block = server(parse([SHOP]), "shop.example.com")
    assert headers(location(block, "/api/"))["Upgrade"] == "$pyweb_upgrade"
    assert headers(location(block, "/api/"))["Connection"] == "$pyweb_connection"
    assert values(location(block, "/api/"), "proxy_buffering") == [["off"]]
    assert "Upgrade" not in headers(location(block, "/"))
    assert values(location(block, "/"), "proxy_buffering") == []


def test_a_request_that_changes_something_is_never_sent_twice(
    parse: Callable[..., Block],
) -> None:
    block = server(parse([SHOP]), "shop.example.com")
    retried = [a for entry in find(block, "location") for a in values(entry["block"], "proxy_next_upstream")]
    assert not any("non_idempotent" in args for args in retried)


def test_folders_end_in_slashes_and_hide_dot_files(parse: Callable[..., Block]) -> None:
    block = server(parse([SHOP]), "shop.example.com")
    static, files = location(block, "^~", "/static/"), location(block, "^~", "/files/")
    assert values(static, "alias") == [["/srv/shop/my files/"]]
    assert values(static, "set") == [["$pyweb_cache_control", "public, max-age=31536000, immutable"]]
    assert values(files, "set") == [["$pyweb_cache_control", "no-cache"]]
    for here in (static, files):
        assert values(location(here, "~", r"/\.(?!well-known/)"), "return") == [["404"]]
        # One there would drop those of the server block.
        assert values(here, "add_header") == []


def test_extra_stands_in_the_server_block_as_it_was_written(
    parse: Callable[..., Block],
) -> None:
    block = server(parse([SHOP]), "shop.example.com")
    assert ["X-Extra", "a; b"] in values(block, "add_header")
    assert values(location(block, "=", "/x"), "return") == [["204"]]


def test_nginx_extra_stands_in_the_http_block(parse: Callable[..., Block]) -> None:
    parsed = parse([SHOP], extra="limit_req_zone $remote_addr zone=z:1m rate=5r/s;")
    assert values(http(parsed), "limit_req_zone") == [["$remote_addr", "zone=z:1m", "rate=5r/s"]]


def test_limits_keep_slow_visitors_from_taking_all_connections(
    parse: Callable[..., Block],
) -> None:
    parsed = parse([SHOP], worker_connections=4096, worker_processes=3)
    assert values(find(parsed, "events")[0]["block"], "worker_connections") == [["4096"]]
    assert int(values(parsed, "worker_rlimit_nofile")[0][0]) >= 2 * 4096
    assert values(parsed, "worker_processes") == [["3"]]
    assert values(http(parsed), "client_header_timeout") == values(http(parsed), "client_body_timeout") == [["10s"]]
    assert values(http(parsed), "server_tokens") == [["off"]]


def test_a_long_domain_gets_a_bucket_it_fits_in(parse: Callable[..., Block]) -> None:
    name = ".".join(["a" * 60] * 4)
    size = values(
        http(parse([{"name": "long", "domains": [name]}])),
        "server_names_hash_bucket_size",
    )
    assert int(size[0][0]) > len(name) + 16


def test_an_absent_site_leaves_no_file() -> None:
    assert [f["path"] for f in nginx_files([{"name": "shop", "state": "absent"}]) if "sites" in f["path"]] == []


def test_files_do_not_depend_on_the_order_of_the_sites() -> None:
    other = {"name": "other", "port": 8080}
    assert nginx_files([SHOP, other]) == nginx_files([other, SHOP])


# --- what is refused ----------------------------------------------------------------------------------------------


def site(**keys: Any) -> list[dict[str, Any]]:
    return [{"name": "shop", "domains": ["shop.example.com"], **keys}]


@pytest.mark.parametrize(
    ("sites", "words"),
    [
        ([{"name": "../etc"}], ["nginx_sites '../etc'.name", "letters a-z"]),
        ([{"domains": []}], ["no. 1", "'name' is missing"]),
        (site(domians=["x"]), ["'shop'", "unknown key 'domians'", "domains"]),
        (site(port=0), ["'shop'.port", "0 is out of range", "65535"]),
        (site(port="http"), ["'shop'.port", "'http'", "whole number"]),
        (site(max_body_size="16 MB"), ["'shop'.max_body_size", "'16 MB'", "16m"]),
        (site(state="gone"), ["'shop'", "'gone'", "absent"]),
        (
            site(domains=["http://shop.example.com/"]),
            ["'http://shop.example.com/'", "is a URL", "shop.example.com"],
        ),
        (
            site(domains=["shop.example.com:8080"]),
            ["'shop.example.com:8080' has a port", "Write 'shop.example.com' here, and port: 8080"],
        ),
        (site(domains=["a\u200db.example"]), ["'a\u200db.example' is not a host name"]),
        (
            site(domains=["[2001:db8::1]:8080"]),
            ["'[2001:db8::1]:8080' has a port", "'[2001:db8::1]' here, and port: 8080"],
        ),
        (site(domains=["192.0.2.300"]), ["'192.0.2.300' looks like an IPv4 address", "such as 192.0.2.7"]),
        (
            site(locations=[{"path": "/x", "alias": "/srv", "page": "../x"}]),
            ["page: '../x' is not a file of the folder", "index.html"],
        ),
        (site(locations=[{"path": "/x", "alias": "/srv", "internal": True, "page": "a"}]), ["page", "internal folder"]),
        (site(locations=[{"path": "/x", "alias": "/srv", "charset": "a;b"}]), ["charset: 'a;b'", "utf-8"]),
        (
            site(locations=[APP], extra="proxy_set_header Host $host;"),
            ["proxy_set_header Host has no effect", "domains"],
        ),
        (
            site(locations=[APP], extra="location /x { return 204; } # }\nproxy_set_header\n 'X-Forwarded-For' a;"),
            ["proxy_set_header X-Forwarded-For", "nginx_trusted_proxies"],
        ),
        (site(locations=[APP], extra="uwsgi_param PATH_INFO /;"), ["uwsgi_param PATH_INFO has no effect"]),
        (site(locations=[APP], extra="proxy_http_version 1.1;"), ["proxy_http_version has no effect"]),
        (site(domains=["a b"]), ["'a b'", "*.example.com"]),
        (site(domains=["2001:db8::1"]), ["'2001:db8::1' is an IPv6 address without brackets", "'[2001:db8::1]'"]),
        (site(domains="shop.example.com"), ["'shop'.domains", "list; write it as [shop.example.com]"]),
        (
            site(domains=[], redirects=["www.example.com"]),
            ["'www.example.com'", "no domain to redirect", "under domains"],
        ),
        (
            site(domains=["*.example.com"], redirects=["example.com"]),
            ["'*.example.com'", "Name another first"],
        ),
        (
            site(redirects=["shop.example.com"]),
            ["'shop'", "'shop.example.com' on port 80", "itself"],
        ),
        (site(extra="}"), ["'shop'", "extra", "line 1 closes a brace"]),
        (site(extra="return 200 ok"), ["semicolon"]),
        (site(error_log="off"), ["'shop'", "error_log", "/dev/null"]),
        (site(access_log="logs/x"), ["access_log: 'logs/x'", "absolute"]),
        (
            site(locations=[{"path": "static", "alias": "/srv"}]),
            ["'shop'.locations", "'static'", "slash"],
        ),
        (site(locations=[{"path": "/a/../b", "alias": "/srv"}]), ["'/a/../b'"]),
        (
            site(locations=[{"path": "/"}]),
            ["locations '/'", "neither upstream nor alias"],
        ),
        (
            site(locations=[{**APP, "alias": "/srv"}]),
            ["locations '/'", "both upstream and alias"],
        ),
        (
            site(locations=[{**APP, "upstream": "http://app/path"}]),
            ["'http://app/path'", "unix:/run/app.sock"],
        ),
        (
            site(locations=[{**APP, "upstream": "http://app:99999"}]),
            ["'http://app:99999'"],
        ),
        (
            site(locations=[{**APP, "immutable": True}]),
            ["immutable has no meaning beside upstream"],
        ),
        (
            site(locations=[{**APP, "read_timeout": "1m"}]),
            ["read_timeout", "'1m'", "whole number"],
        ),
        (
            site(locations=[{**APP, "websocket": "maybe"}]),
            ["websocket", "'maybe'", "true or false"],
        ),
        (
            site(locations=[{**APP, "instead": {"exists": "up", "upstream": "uwsgi:unix:/x"}}]),
            ["instead.exists", "'up'", "absolute"],
        ),
        (
            site(locations=[{**APP, "instead": {"exists": "/up", "upstream": "/x"}}]),
            ["upstream is '/x'", "unix:/run/app.sock"],
        ),
        (site(locations=[{**APP, "instead": {"exists": "/up"}}]), ["instead", "'upstream' is missing"]),
        (
            site(locations=[{**APP, "instead": {"exists": "/up", "upstream": "unix:/other"}}]),
            ["instead", "both upstreams use the protocol http"],
        ),
        (
            site(
                locations=[
                    {
                        "path": "/",
                        "upstream": "uwsgi:unix:/x",
                        "instead": {"exists": "/up", "upstream": "uwsgi:unix:/y"},
                    }
                ]
            ),
            ["instead", "both upstreams use the protocol uwsgi"],
        ),
        (
            site(locations=[{**APP, "time_out": 3}]),
            ["locations '/'", "unknown key 'time_out'", "read_timeout"],
        ),
        (
            site(locations=[{"path": "/x", "alias": "srv"}]),
            ["alias: 'srv'", "absolute"],
        ),
        (site(locations=[{"path": "/x", "alias": "/srv/$host"}]), ["'/srv/$host'"]),
        (
            site(
                locations=[
                    {"path": "/api", "upstream": "http://a"},
                    {"path": "/api/", "upstream": "http://b"},
                ]
            ),
            ["locations '/api/'", "twice"],
        ),
        ([*site(), *site(domains=["x.example.com"])], ["2 sites named 'shop'"]),
        (
            [*site(), {"name": "two", "domains": ["SHOP.example.com"]}],
            ["'two'", "port 80", "by 'shop'"],
        ),
        (
            [{"name": "one"}, {"name": "two"}],
            ["'two'", "default site of port 80", "'one'"],
        ),
        ("shop", ["nginx_sites", "a string", "list"]),
        (["shop"], ["no. 1", "mapping"]),
    ],
)
def test_a_mistake_is_named_with_its_site_value_and_remedy(sites: Any, words: list[str]) -> None:
    problems = nginx_problems(sites)
    assert len(problems) == 1, problems
    for word in words:
        assert word in problems[0]


@pytest.mark.parametrize(
    "sites",
    [
        [SHOP],
        [SHOP, {**SHOP, "port": 8080, "name": "shop-2"}],
        [SHOP, {**SHOP, "name": "old", "state": "absent"}],
        site(domains=["*.example.com", "localhost", "192.0.2.1", "xn--bcher-kva.example"]),
        site(domains=["[2001:db8::1]", "my_app.local", "Shop.Example.com.", "b\u00fccher.example"]),
        site(locations=[{"path": "/.well-known/acme-challenge/", "alias": "/srv/acme"}]),
        site(locations=[{"path": "/x", "upstream": "http://[::1]:5000"}]),
        [],
    ],
)
def test_what_is_right_is_accepted(sites: Any) -> None:
    assert nginx_problems(sites) == []


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        nginx_files(site(port=0, max_body_size="x"), {"worker_connections": 0, "extra": "{"})
    for word in (
        "port: 0",
        "max_body_size: 'x'",
        "nginx_worker_connections",
        "nginx_extra",
    ):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("", None),
        ("return 204;", None),
        ("# a } in a comment\nreturn 204;", None),
        ('return 200 "} {";', None),
        ('add_header X "a\\"}";', None),
        ("location ~ ^/it's {\n return 204;\n}", None),
        ("rewrite ^ http://x/${host}y;", None),
        ("return 204;\n}", "line 2 closes"),
        ("location / {\n", "never closed"),
        ('return 200 "x;\n', "opens a quote"),
        ("return 204", "semicolon"),
    ],
)
def test_directives_that_would_leave_their_block_are_noticed(text: str, trouble: str | None) -> None:
    found = unbalanced(text)
    assert found is None if trouble is None else found is not None and trouble in found


# --- quoting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "",
        "a b",
        "a;b",
        "{}",
        'say "hi"',
        "it's",
        "back\\slash",
        "\\t",
        "#no comment",
        "naïve",
        "a#b",
        "x\\",
    ],
)
def test_a_quoted_value_is_read_back_as_it_was(value: str, tmp_path: Any) -> None:
    file = tmp_path / "x.conf"
    file.write_text(f"root {nginx_quote(value)};\n")
    parsed = crossplane.parse(str(file), check_ctx=False)["config"][0]["parsed"]
    # The parser keeps the backslashes before quotes and backslashes, which nginx removes.
    read = parsed[0]["args"][0].replace('\\"', '"').replace("\\\\", "\\")
    assert (len(parsed), len(parsed[0]["args"]), read) == (1, 1, value)


@pytest.mark.parametrize("value", ["$host", "a\nb", "a\0b", None, True, ["x"]])
def test_what_nginx_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(AnsibleFilterError):
        nginx_quote(value)


# --- rules that depend on the path ----------------------------------------------------------------------------------

ROOT = {"path": "/", "upstream": "unix:/a.sock"}
ADMIN = {"path": "/admin", "upstream": "unix:/a.sock"}
STAFF = {"users": {"alice": "$6$salt$hash"}}
OUTSIDE: dict[str, Any] = {"enabled": True, "open_paths": ["/healthz"]}


@pytest.mark.parametrize(
    ("keys", "paths"),
    [
        ({"locations": [ROOT]}, []),
        ({"locations": [ROOT], "basic_auth": STAFF, "allow": ["192.0.2.1"]}, []),
        ({"locations": [ROOT, ADMIN], "rate_limit": {"rate": "1r/s"}}, []),
        ({"locations": [ROOT, {**ADMIN, "max_body_size": "1g", "buffering": False, "headers": {"X-A": "b"}}]}, []),
        ({"locations": [ROOT, {**ADMIN, "basic_auth": {"users": {}}}]}, []),
        ({"locations": [ROOT, {**ADMIN, "maintenance": {"enabled": False}}]}, []),
        ({"locations": [ROOT, {"path": "/f", "alias": "/srv", "basic_auth": STAFF}]}, []),
        ({"locations": [ROOT], "maintenance": {"enabled": True}}, []),
        ({"locations": [ROOT], "maintenance": {**OUTSIDE, "enabled": False}}, []),
        ({"locations": [ROOT], "extra": "location = /robots.txt { return 200 x; }"}, []),
        ({"locations": [ROOT], "extra": "deny 192.0.2.1;"}, []),
        ({"locations": [ROOT, {**ADMIN, "extra": "proxy_set_header X-A b;"}]}, []),
        ({"locations": [ROOT, {**ADMIN, "basic_auth": STAFF}]}, ["", "/admin"]),
        ({"locations": [ROOT, {**ADMIN, "basic_auth": {"users": {}}}], "basic_auth": STAFF}, ["", "/admin"]),
        ({"locations": [ROOT, {**ADMIN, "allow": ["192.0.2.1"]}]}, ["", "/admin"]),
        ({"locations": [ROOT, {**ADMIN, "deny": ["192.0.2.1"]}]}, ["", "/admin"]),
        ({"locations": [ROOT, {**ADMIN, "satisfy": "any"}]}, ["", "/admin"]),
        ({"locations": [ROOT, {**ADMIN, "connection_limit": 3}]}, ["", "/admin"]),
        ({"locations": [ROOT, {**ADMIN, "rate_limit": {"rate": "1r/s"}}]}, ["", "/admin"]),
        ({"locations": [ROOT, {**ADMIN, "maintenance": {"enabled": True}}]}, ["", "/admin"]),
        ({"locations": [ROOT], "maintenance": OUTSIDE}, ["/healthz"]),
        ({"locations": [{**ROOT, "maintenance": OUTSIDE}]}, ["/healthz"]),
        ({"locations": [ROOT, {**ADMIN, "extra": "auth_request /verify;"}]}, ["", "/admin"]),
        ({"locations": [ROOT], "extra": "location ^~ /admin/ {\n    deny all;\n}"}, ["/admin/"]),
        ({"locations": [ROOT], "extra": "location ~ ^/a { return 403; }"}, ["/a"]),
        ({"locations": [ROOT], "extra": "if ($uri ~ x) { return 403; }"}, ["/"]),
    ],
)
def test_rules_that_depend_on_the_path_are_recognised(keys: dict[str, Any], paths: list[str]) -> None:
    (found,), _settings, problems = checked([{"name": "shop", **keys}], {})
    assert (problems, paths_with_rules(found)) == ([], paths)


@pytest.mark.parametrize("fallback", [[], ["/srv/old"]])
@pytest.mark.parametrize("brotli", [False, True])
def test_links_are_checked_with_and_without_brotli(
    render: Callable[..., Any], fallback: list[str], brotli: bool
) -> None:
    folder = {"path": "/static", "alias": "/srv/new", "precompressed": True, "fallback": fallback}
    files = render("nginx", nginx_files(site(locations=[APP, folder]), {"brotli": brotli}))
    text = next(file["content"] for file in files if file["path"] == "sites/shop.conf")
    assert text.count("disable_symlinks if_not_owner") == text.count("disable_symlinks") > 0
    assert ("brotli_static on" in text) is brotli
