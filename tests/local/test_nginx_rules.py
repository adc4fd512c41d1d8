# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Attacks on the rules of sites: where a rule of the operator would not hold although it seems to."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from attackers import http1, http2
from nginx_instance import App, Front, Request, needs_nginx, ok
from test_nginx_front import ALICE, HASH
from test_nginx_tls_sites import SecureFront, needs_openssl

pytestmark = needs_nginx

AUTH = {"users": {"alice": HASH}}
OPEN: dict[str, Any] = {"users": {}}
VISITOR = {"source": "127.0.0.2"}


@pytest.fixture
def front(tmp_path: Path, render: Callable[..., Any]) -> Iterator[Front]:
    tmp_path.chmod(0o755)
    instance = Front(tmp_path, render)
    yield instance
    instance.stop()


@pytest.fixture
def app(front: Front) -> Iterator[App]:
    application = App(front.socket, lambda request: ok("inside " + request.line.split()[1]))
    yield application
    application.close()


# --- paths that are served over http beside https -------------------------------------------------------------------

RULES = [
    "deny all;",
    "auth_basic x;\nauth_basic_user_file USERS;",
    "if ($http_x_gate != open) {\n    return 403;\n}",
    "location /internal/ {\n    deny all;\n}",
]


@pytest.mark.attack("21", "A visitor requests over http what directives of the operator close over https")
@needs_openssl
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("plain_path", ["health", "plain_paths"])
def test_plain_paths_of_a_site_with_own_directives_are_for_this_host_and_its_balancers(
    tmp_path: Path, render: Callable[..., Any], rule: str, plain_path: str
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "apps/shop").mkdir(parents=True)
    (tmp_path / "users").write_text(f"alice:{HASH}\n")
    path = "/internal/health"
    front = SecureFront(tmp_path, render)
    application = App(str(tmp_path / "apps/shop/current.sock"), ok("inside"))
    tls = {"mode": "selfsigned", "port": front.tls_port, **({} if plain_path == "health" else {"plain_paths": [path]})}
    site = {"port": front.port, "domains": ["shop.example.com"], "tls": tls}
    item = {
        "name": "shop",
        "source": {"path": "x"},
        "wsgi": "a:b",
        **({"health": {"path": path}} if plain_path == "health" else {}),
    }

    def status(source: str) -> int:
        return int(http1(front.port, "shop.example.com", path, source=source).status)

    try:
        extra = rule.replace("USERS", str(tmp_path / "users"))
        closed = nginx_sites([{**item, "site": {**site, "extra": extra}}], root=str(tmp_path / "apps"))
        front.serve(closed, trusted_proxies=["127.0.0.9"])
        assert http2(front.tls_port, "shop.example.com", path).status in (401, 403)
        assert [status(source) for source in ("127.0.0.2", "127.0.0.1", "127.0.0.9")] == [301, 200, 200]
        # A visitor behind the balancer is still a visitor.
        forwarded = http1(front.port, "shop.example.com", path, "X-Forwarded-For: 127.0.0.2", source="127.0.0.9")
        assert forwarded.status == 301
        front.serve(nginx_sites([{**item, "site": site}], root=str(tmp_path / "apps")))
        assert [status(source) for source in ("127.0.0.2", "127.0.0.1")] == [200, 200]
    finally:
        front.stop()
        application.close()


# --- the cache ------------------------------------------------------------------------------------------------------


def last_wins(request: Request) -> bytes:
    """As Django and Starlette read cookies: the last one of a name counts."""
    pairs = request.headers.get("Cookie", "").replace(",", ";").split(";")
    jar = dict([word.strip() for word in pair.split("=", 1)] for pair in pairs if "=" in pair)
    return ok(f"account of {jar['shop']}" if jar.get("shop") else "no account")


COOKIES = [
    "shop=; shop=alice",
    "shop=0; shop=alice",
    "shop=;shop=alice",
    "shop =alice",
    "a=b; shop\t=alice",
    "a=b, shop=alice",
    "SHOP=; shop=alice",
]


@pytest.mark.attack("21", "A doubled or oddly written cookie puts the response for one user into the cache")
@pytest.mark.parametrize("cookie", COOKIES)
def test_no_way_to_write_a_cookie_puts_a_response_for_one_user_into_the_cache(front: Front, cookie: str) -> None:
    application = App(front.socket, last_wins)
    cache = {"valid": 60, "bypass_cookies": ["shop"]}
    front.serve([front.site(locations=[{"path": "/", "upstream": f"unix:{front.socket}", "cache": cache}])])
    first, second = front.ask("/", headers={"Cookie": cookie}), front.ask("/")
    application.close()
    assert (first.text, second.text) == ("account of alice", "no account")
    assert first.headers["x-cache-status"] == "BYPASS"


# --- maintenance ----------------------------------------------------------------------------------------------------


@pytest.mark.attack("21", "A visitor reaches an application in maintenance by another case of an open path")
def test_open_paths_of_maintenance_are_compared_in_their_case(front: Front, app: App) -> None:
    front.serve([front.site(maintenance={"open_paths": ["/healthz", "/a.b"]})])
    paths = ("/healthz", "/a.b", "/HEALTHZ", "/HealthZ", "/aXb", "/healthz/x", "/x/healthz", "/healthz%0A", "/")
    found = {path: front.ask(path, **VISITOR).status for path in paths}
    assert found == {path: 200 if path in ("/healthz", "/a.b") else 503 for path in paths}


# --- locations inside a protected one -------------------------------------------------------------------------------


def answers(front: Front, locations: list[dict[str, Any]], paths: list[str], **site: Any) -> list[int]:
    """The statuses that a visitor without a password gets."""
    up = {"upstream": f"unix:{front.socket}"}
    (front.folder / "reports/old").mkdir(parents=True, exist_ok=True)
    (front.folder / "reports/old/q3.txt").write_text("secret figures")
    given = [{**({} if "alias" in item else up), **item} for item in [{"path": "/"}, *locations]]
    front.serve([front.site(locations=given, **site)])
    return [front.ask(path, **VISITOR).status for path in paths]


PROTECTED: dict[str, tuple[dict[str, Any], int]] = {
    "password": ({"basic_auth": AUTH}, 401),
    "address": ({"allow": ["127.0.0.1"]}, 403),
    "denied address": ({"deny": ["127.0.0.2"]}, 403),
    "extra deny": ({"extra": "deny all; # everyone"}, 403),
    "extra password": ({"extra": "auth_basic 'x;y';\nauth_basic_user_file USERS;"}, 401),
    "extra return": ({"extra": "return 403;"}, 403),
    "extra if": ({"extra": "set $gate 1;\nif ($gate) {\n    return 403;\n}"}, 403),
    "extra methods": ({"extra": "limit_except POST {\n    deny all;\n}"}, 403),
    "extra request": ({"extra": "auth_request /refuse;"}, 403),
}
INNER = ["/admin/x", "/admin/upload", "/admin/upload/x", "/admin/upload/big/x", "/admin/reports/q3.txt", "/admin/old/"]


@pytest.mark.attack("21", "A visitor requests a location below a protected path, which has no rules of its own")
@pytest.mark.parametrize(("rules", "status"), PROTECTED.values(), ids=PROTECTED)
def test_what_protects_a_path_protects_the_locations_below_it(
    front: Front, app: App, rules: dict[str, Any], status: int
) -> None:
    (front.folder / "users").write_text(f"alice:{HASH}\n")
    rules = {**rules, "extra": rules.get("extra", "").replace("USERS", str(front.folder / "users"))}
    reports = str(front.folder / "reports/old")
    inner = [
        {"path": "/admin/upload", "max_body_size": "1g"},
        {"path": "/admin/upload/big/", "buffering": False, "extra": "proxy_set_header X-A b;"},
        {"path": "/admin/reports/", "alias": reports},
        {"path": "/admin/old/", "alias": f"{front.folder}/none", "fallback": [reports]},
    ]
    refuse = "location = /refuse { return 403; }"
    paths = [*INNER, "/admin/old/q3.txt"]
    assert answers(front, [{"path": "/admin", **rules}, *inner], paths, extra=refuse) == [status] * 7
    opened = [{**item, "inherit_access": False} for item in inner]
    found = answers(
        front, [{"path": "/admin", **rules}, *opened], ["/admin/x", "/admin/upload", *paths[4:]], extra=refuse
    )
    assert found == [status, 200, 200, 404, 200]
    assert front.ask("/", **VISITOR).status == 200


@pytest.mark.attack("21", "A visitor requests a location whose own directives end nginx's rewrite phase")
@pytest.mark.parametrize("refusal", ["if ($arg_key != s3cret) {\n    return 403;\n}", "return 403;"])
@pytest.mark.parametrize(
    "own", ["rewrite ^/admin/files/(.*)$ /$1 break;", "break;", "if ($uri) {\n    break;\n}", "rewrite ^ /x last;"]
)
def test_own_directives_of_a_location_do_not_skip_an_inherited_refusal(
    front: Front, app: App, refusal: str, own: str
) -> None:
    reports = f"{front.folder}/reports/old"
    locations = [
        {"path": "/admin", "extra": refusal},
        {"path": "/admin/files/", "extra": own},
        {"path": "/admin/files/deep", "extra": own},
        {"path": "/admin/reports/", "alias": reports, "extra": own},
        {"path": "/open", "extra": own},
    ]
    paths = ["/admin/files/", "/admin/files/x", "/admin/files/deep", "/admin/reports/q3.txt"]
    assert answers(front, locations, [*paths, "/open"]) == [403] * 4 + [200]


def test_a_location_with_a_response_of_its_own_inherits_no_other_response(front: Front, app: App) -> None:
    locations = [
        {"path": "/admin", "extra": "if ($arg_bad) {\n    return 403;\n}\nreturn 404;"},
        {"path": "/admin/ping", "extra": "return 204;"},
    ]
    assert answers(front, locations, ["/admin", "/admin/ping", "/admin/ping?bad=1"]) == [404, 204, 403]


def test_a_location_says_otherwise_for_each_kind_of_rule(front: Front, app: App) -> None:
    rules = {"basic_auth": AUTH, "allow": ["127.0.0.1"]}
    locations = [
        {"path": "/admin", **rules},
        {"path": "/admin/hooks", "basic_auth": OPEN},
        {"path": "/admin/all", "allow": ["all"]},
        {"path": "/admin/open", "basic_auth": OPEN, "allow": ["all"]},
        {"path": "/admin/open/inner", "max_body_size": "1g"},
    ]
    paths = ["/admin", "/admin/hooks", "/admin/all", "/admin/open", "/admin/open/inner"]
    assert answers(front, locations, paths) == [403, 403, 401, 200, 403]
    # Without a password from the address that is allowed, and with one.
    assert [front.ask(path).status for path in paths] == [401, 200, 401, 200, 401]
    assert [front.ask(path, headers=ALICE).status for path in paths] == [200] * 5


@pytest.mark.attack(
    "21", "A visitor enters a location with a password of its own from an address that the path around allows"
)
def test_an_inherited_rule_never_opens_what_a_location_closes(front: Front, app: App) -> None:
    locations = [
        {"path": "/admin", "basic_auth": AUTH, "allow": ["127.0.0.2"], "satisfy": "any"},
        {"path": "/admin/keys", "basic_auth": {"users": {"bob": HASH}}},
        {"path": "/admin/files", "max_body_size": "1g"},
    ]
    assert answers(front, locations, ["/admin", "/admin/keys", "/admin/files"]) == [200, 401, 200]
    assert front.ask("/admin/keys", headers=ALICE, **VISITOR).status == 401


def test_the_rules_of_an_application_do_not_hold_for_another_below_its_path(front: Front) -> None:
    def item(name: str, **site: Any) -> dict[str, Any]:
        (front.folder / f"apps/{name}").mkdir(parents=True)
        common = {"port": front.port, "domains": ["shop.example.com"]}
        return {"name": name, "source": {"path": "x"}, "wsgi": "a:b", "site": {**common, **site}}

    shop = item("shop", basic_auth=AUTH, locations=[{"path": "/hooks", "basic_auth": OPEN}, {"path": "/hooks/inner"}])
    blog = item("blog", path="/blog", locations=[{"path": "/admin", "allow": ["127.0.0.1"]}, {"path": "/admin/up"}])
    applications = [App(str(front.folder / f"apps/{name}/current.sock"), ok(name)) for name in ("shop", "blog")]
    front.serve(nginx_sites([shop, blog], root=str(front.folder / "apps")))
    paths = ["/", "/hooks", "/hooks/inner", "/blog", "/blog/admin", "/blog/admin/up"]
    assert [front.ask(path, **VISITOR).status for path in paths] == [401, 200, 401, 200, 403, 403]
    shop["site"]["locations"][1]["inherit_access"] = False
    front.serve(nginx_sites([shop, blog], root=str(front.folder / "apps")))
    assert front.ask("/hooks/inner", **VISITOR).status == 401, "the application's own rules hold"
    for application in applications:
        application.close()


# --- named locations ------------------------------------------------------------------------------------------------


@pytest.mark.attack("21", "An application jumps to a named location of the operator by X-Accel-Redirect")
def test_an_application_does_not_jump_to_a_named_location(front: Front) -> None:
    (front.folder / "files").mkdir()
    (front.folder / "files/a.txt").write_text("file")
    sent = ["X-Accel-Redirect: @backstage"]
    application = App(
        front.socket, lambda request: ok("", *sent, status="502 Bad" if "bad" in request.line else "200 OK")
    )
    locations = [
        {"path": "/", "upstream": f"unix:{front.socket}"},
        {"path": "/files/", "alias": str(front.folder / "files"), "internal": True},
    ]
    extra = 'location @backstage\n{ return 200 "backstage"; }\nproxy_intercept_errors on;\nerror_page 502 = @backstage;'
    front.serve([front.site(locations=locations, extra=extra)])
    assert front.ask("/").status == 404
    # Those who may use it still do.
    sent[:] = ["X-Accel-Redirect: /files/a.txt"]
    assert front.ask("/").text == "file"
    sent[:] = []
    assert front.ask("/bad").text == "backstage"
    application.close()


# --- the files of nginx ---------------------------------------------------------------------------------------------


@pytest.mark.attack("21", "An account reads the secrets that the operator's directives contain")
@pytest.mark.skipif(os.geteuid() != 0, reason="reads as another account, which only root can")
def test_no_other_account_reads_the_configuration(front: Front, app: App) -> None:
    sites = [front.site(extra='set $key "k3y-of-secure-link";', basic_auth=AUTH, maintenance={"enabled": False})]
    front.serve(sites)
    for folder in (front.folder, *list(front.folder.parents)[:3]):
        folder.chmod(folder.stat().st_mode | 0o005)
    nobody = pwd.getpwnam("nobody").pw_uid

    def seen() -> str:
        command = ["grep", "-rc", "", str(front.conf / "pyweb"), str(front.conf / "pyweb/current/sites/shop.conf")]
        return subprocess.run(
            command, user=nobody, group=nobody, extra_groups=[], capture_output=True, text=True
        ).stdout

    assert "shop.conf" not in seen()
    assert "secrets" not in seen()
    trees = front.conf / "pyweb/trees"
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in trees.rglob("*.conf")} == {0}
    # As an earlier version has left it.
    trees.chmod(0o755)
    for path in trees.rglob("*.conf"):
        path.chmod(0o644)
    assert "shop.conf" in seen()
    assert "install tree" in front.serve(sites)["actions"]
    assert "shop.conf" not in seen()
    assert front.serve(sites)["changed"] is False
    assert front.ask("/", headers=ALICE).status == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="nginx changes its account, which only root can")
def test_the_workers_read_passwords_and_pages_in_a_closed_folder(front: Front, app: App) -> None:
    front.user = "www-data"
    for folder in (front.folder, *list(front.folder.parents)[:3]):
        folder.chmod(folder.stat().st_mode | 0o005)
    front.serve([front.site(basic_auth=AUTH)])
    assert [front.ask("/").status, front.ask("/", headers=ALICE).status] == [401, 200]
    front.serve([front.site(maintenance={"enabled": True})])
    answer = front.ask("/", **VISITOR)
    assert (answer.status, "Back soon" in answer.text) == (503, True)
