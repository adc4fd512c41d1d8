# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Attacks of visitors on a site, over raw sockets, and the harmless requests beside them that must pass.

One nginx serves all sites. Each table has one attack per line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx import client_headers
from attackers import Response, UwsgiApp, http1, http2
from nginx_instance import App, needs_nginx, ok
from test_nginx_front import ALICE, HASH
from test_nginx_tls_sites import SecureFront, needs_openssl

pytestmark = [needs_nginx, needs_openssl]

LOGIN = f"Authorization: {ALICE['Authorization']}"
AUTH: dict[str, Any] = {"basic_auth": {"users": {"alice": HASH}}}
OPEN: dict[str, Any] = {"basic_auth": {"users": {}}}
BALANCER = "127.0.0.9"  # the only trusted proxy


# As the README of the role describes it.
VERIFY = """
auth_request /verify;
auth_request_set $verified $upstream_http_x_user;
proxy_set_header X-Remote-User $verified;
PARAM
"""


class Gate(SecureFront):
    """The sites that are attacked, and the applications behind them."""

    def begin(self) -> None:
        self.app = App(self.socket, lambda request: ok(request.line.split()[1], "X-User: alice"))
        self.uwsgi = UwsgiApp(f"{self.folder}/uwsgi.sock")
        up, uwsgi = {"upstream": f"unix:{self.socket}"}, {"upstream": f"uwsgi:unix:{self.folder}/uwsgi.sock"}
        root = {"path": "/", **up}
        # The keys of each site, by the first label of its name.
        sites: dict[str, dict[str, Any]] = {
            "plain": {"locations": [root, {"path": "/ws", "websocket": True, **up}]},
            "uwsgi": {"locations": [{"path": "/", **uwsgi}, {"path": "/ws", "websocket": True, **uwsgi}]},
            "login": {"locations": [root], **AUTH},
            "hooks": {"locations": [root, {"path": "/hooks", **OPEN, **up}], **AUTH},
            "admin": {"locations": [root, {"path": "/admin", **AUTH, **up}]},
            "inner": {"locations": [{"path": "/", **AUTH, **up}, {"path": "/a/b", **OPEN, **up}]},
            "extra": {"locations": [root, {"path": "/admin", "extra": "deny all;", **up}]},
            "limit": {"locations": [root, {"path": "/in", "rate_limit": {"rate": "1r/m", "burst": 0}, **up}]},
            "closed": {"locations": [root], "maintenance": {"open_paths": ["/healthz", "/a/b"]}},
            "verify": {
                "locations": [
                    {
                        **root,
                        "instead": {"exists": f"{self.folder}/is-uwsgi", **uwsgi},
                        "extra": VERIFY.replace("PARAM", "uwsgi_param HTTP_X_REMOTE_USER $verified;"),
                    }
                ],
                "extra": f"location = /verify {{ internal; proxy_pass http://unix:{self.socket}:/verify; }}",
            },
            "secure": {"locations": [root], "tls": {"mode": "selfsigned", "port": self.tls_port}},
            "tls-rules": {
                "locations": [root, {"path": "/hooks", **OPEN, **up}],
                "tls": {"mode": "selfsigned", "port": self.tls_port},
                **AUTH,
            },
        }
        self.serve(
            [
                {"name": name, "domains": [f"{name}.example.com"], "port": self.port, "access_log": "off", **keys}
                for name, keys in sites.items()
            ],
            trusted_proxies=[BALANCER],
        )

    def get(self, site: str, target: str, *headers: str, **options: Any) -> Response:  # type: ignore[override]
        """Send a request, over HTTP/2 to the sites with TLS."""
        self.app.asked.clear()
        self.uwsgi.asked.clear()
        if site in ("secure", "tls-rules"):
            return http2(self.tls_port, f"{site}.example.com", target, *headers)
        return http1(self.port, f"{site}.example.com", target, *headers, **options)

    def seen(self, *headers: str, site: str = "plain", target: str = "/", **options: Any) -> dict[str, str]:
        """The headers that an application gets, in lower case, in both protocols alike."""
        assert self.get(site, target, *headers, **options).status == 200
        if site == "uwsgi":
            return {
                name.removeprefix("HTTP_").replace("_", "-").lower(): value
                for name, value in self.uwsgi.asked[0].items()
                if name.startswith("HTTP_")
            }
        return {name.lower(): value for name, value in self.app.asked[0].headers.items()}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, render: Callable[..., Any]) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("gate")
    folder.chmod(0o755)
    instance = Gate(folder, render)
    try:
        instance.begin()
        yield instance
    finally:
        instance.stop()
        instance.app.close()
        instance.uwsgi.close()


# --- paths --------------------------------------------------------------------------------------------------------

EVERY_SITE = ["plain", "uwsgi", "login", "hooks", "admin", "inner", "extra", "limit", "closed", "secure", "tls-rules"]
WITH_RULES = ["hooks", "admin", "inner", "extra", "limit", "closed", "tls-rules"]
WITHOUT_RULES = ["plain", "login", "secure"]

DOTTED = [
    "/admin/export/../../hooks/x",
    "/hooks/../admin",
    "/hooks/..",
    "/hooks/..?q=1",
    "/hooks/./x",
    "/hooks/.",
    "/./hooks/x",
    "/../hooks/x",
    "/hooks/%2e%2e/admin",
    "/hooks/%2E%2E/admin",
    "/hooks/.%2e/admin",
    "/hooks/%2e./admin",
    "/hooks/%2e/x",
    "/hooks/%2E",
    "/hooks/..%2fadmin",
    "/hooks%2F..%2Fadmin",
    "/hooks%2f%2e%2e%2fadmin",
    "/hooks/..\\admin",
    "/hooks\\..\\admin",
    "/hooks/..%5cadmin",
    "/hooks%5C..%5Cadmin",
    "/hooks/..;/admin",
    "/hooks/..;v=1/admin",
    "/hooks/%2e%2e;/admin",
    "/hooks/..%3Bx/admin",
    "/hooks//../admin",
    "/healthz/../admin",
    "/a%3F/../admin",
    "/hooks/x#/../../admin",
    "/admin#/hooks",
]


@pytest.mark.attack("14", "A visitor leaves an open path by raw or encoded dot segments")
@pytest.mark.parametrize("site", EVERY_SITE)
@pytest.mark.parametrize("target", DOTTED)
def test_a_dot_segment_gets_400_on_every_site(gate: Gate, site: str, target: str) -> None:
    assert gate.get(site, target, LOGIN).status == 400
    assert not gate.app.asked
    assert not gate.uwsgi.asked


@pytest.mark.attack("14", "A visitor sends dot segments in the absolute form of a request")
@pytest.mark.parametrize("target", ["/hooks/../admin", "/hooks/%2e%2e/admin", "/hooks#/../admin"])
def test_a_dot_segment_in_the_absolute_form_gets_400(gate: Gate, target: str) -> None:
    assert gate.get("plain", f"http://plain.example.com{target}").status == 400
    assert not gate.app.asked


@pytest.mark.attack("14", "A visitor sends a target that is no valid path")
@pytest.mark.parametrize("target", ["/x%00", "/%00/../x", "/x%zz", "/x%2", "x", "*", "/a\x01b", "/a\tb"])
def test_what_is_no_path_gets_400_from_nginx_itself(gate: Gate, target: str) -> None:
    assert gate.get("plain", target).status == 400
    assert not gate.app.asked


AMBIGUOUS = [
    "/a%2Fb",
    "/a%2fb",
    "/hooks%2Fx",
    "/admin%2fx",
    "/a%2Fb?x=1",
    "/a%5Cb",
    "/a%5cb",
    "/a\\b",
    "//hooks/x",
    "//admin",
    "//x.example.com/admin",
    "/%2Fhooks/x",
]


@pytest.mark.attack("14", "A visitor hides a slash by encoding it")
@pytest.mark.parametrize("target", AMBIGUOUS)
def test_an_encoded_slash_gets_400_only_where_rules_depend_on_the_path(gate: Gate, target: str) -> None:
    for site in WITH_RULES:
        assert gate.get(site, target, LOGIN).status == 400, site
        assert not gate.app.asked
    for site in WITHOUT_RULES:
        assert (gate.get(site, target, LOGIN).status, gate.app.asked[0].line.split()[1]) == (200, target), site


@pytest.mark.attack("14", "A visitor hides a dot segment at the end of a long path")
def test_a_long_path_is_examined_to_its_end(gate: Gate) -> None:
    """A regular expression that gives up would let the path through."""
    long = "/" + "a/" * 2000 + ".a./" * 900
    for site in ("plain", "hooks", "secure"):
        assert gate.get(site, long, LOGIN).status == 200
        assert gate.get(site, f"{long}../x", LOGIN).status == 400
        assert gate.get(site, f"{long}%2e%2E/x", LOGIN).status == 400
    assert gate.get("hooks", f"{long}%2Fx", LOGIN).status == 400


@pytest.mark.attack("14", "A visitor leaves a protected path by a doubled slash")
def test_a_doubled_slash_does_not_lead_into_an_open_path(gate: Gate) -> None:
    for site in ("inner", "closed"):
        assert gate.get(site, "/a//b").status == 400
        assert gate.get(site, "/a/b").status == 200
    assert gate.get("inner", "/a/b//c").text == "/a/b//c"
    assert gate.get("hooks", "/hooks//c").text == "/hooks//c"


HARMLESS = [
    "/",
    "/files/a..b",
    "/files/..a",
    "/files/a..",
    "/files/...",
    "/files/.../x",
    "/%2e.txt",
    "/..txt",
    "/.hidden",
    "/%2ehidden",
    "/.well-known/x",
    "/a%20b",
    "/a%25b",
    "/%252e%252e/x",
    "/a%252Fb",
    "/a;b=1/c;d",
    "/x/y//z",
    "/x?next=/../y",
    "/x?next=%2F..%2Fy",
    "/x?a#b",
    "/x?p=//y\\..\\z",
    "/%C3%BC",
    "/%c0%ae%c0%ae/x",
    "/a+b,c@d:e~f!g$h&i'j(k)l*m=n",
    "/a%3Fb",
    "/a%23b",
]


@pytest.mark.parametrize("target", HARMLESS)
def test_a_harmless_path_reaches_the_application_unchanged(gate: Gate, target: str) -> None:
    for site in set(EVERY_SITE) - {"uwsgi", "closed"}:
        answer = gate.get(site, target, LOGIN)
        assert (answer.status, gate.app.asked[0].line.split()[1]) == (200, target), site
    assert gate.get("uwsgi", target).status == 200
    assert gate.uwsgi.asked[0]["REQUEST_URI"] == target
    assert gate.get("closed", target).status == 503


def test_nginx_warns_of_nothing(gate: Gate) -> None:
    """As it does when its tables of headers or variables are too small. The role itself announces HTTP/3."""
    assert [text for text in gate.warnings if "UDP port" not in text] == []


def test_rules_hold_for_the_plain_paths(gate: Gate) -> None:
    assert [gate.get("hooks", path).status for path in ("/", "/hooks", "/hooks/x", "/hooksx")] == [401, 200, 200, 401]
    assert [gate.get("admin", path).status for path in ("/", "/admin", "/admin/x", "/%61dmin")] == [200, 401, 401, 401]
    assert [gate.get("extra", path).status for path in ("/", "/admin/x")] == [200, 403]
    assert [gate.get("closed", path).status for path in ("/", "/healthz", "/healthz/x")] == [503, 200, 503]
    assert [gate.get("tls-rules", path).status for path in ("/", "/hooks/x")] == [401, 200]


# --- headers ------------------------------------------------------------------------------------------------------

NAMES = [*client_headers.FORWARDING, *client_headers.IDENTITY, *client_headers.INSTRUCTIONS, *client_headers.SPELLINGS]
SET_BY_NGINX = ["X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix"]


@pytest.mark.attack("low", "A visitor sends headers that claim an identity")
@pytest.mark.parametrize("site", ["plain", "uwsgi", "secure"])
def test_no_header_of_a_visitor_claims_who_he_is(gate: Gate, site: str) -> None:
    forged = [f"{name}: forged" for name in [*NAMES, *SET_BY_NGINX]]
    found = gate.seen(*forged, "X-Own: forged", site=site)
    assert {name for name, value in found.items() if "forged" in value} == {"x-own"}


@pytest.mark.attack("low", "A visitor spells an identity header in another way")
@pytest.mark.parametrize("name", ["X_Remote_User", "x-remote-user", "X-REMOTE-USER", "REMOTE_USER", "X-Remote_User"])
def test_no_other_spelling_of_a_header_passes(gate: Gate, name: str) -> None:
    for site in ("plain", "uwsgi"):
        assert "forged" not in gate.seen(f"{name}: forged", site=site).values()


@pytest.mark.attack("low", "A trusted proxy passes on identity headers of a visitor")
@pytest.mark.parametrize("site", ["plain", "uwsgi"])
def test_a_trusted_proxy_may_set_headers_about_the_connection_only(gate: Gate, site: str) -> None:
    told = gate.seen(*(f"{name}: told" for name in NAMES), site=site, source=BALANCER)
    assert {name for name, value in told.items() if value == "told"} == {
        name.lower() for name in client_headers.FORWARDING
    }


@pytest.mark.attack("low", "A visitor asks for an upgrade to h2c, to pass nginx's rules")
@pytest.mark.parametrize(
    ("upgrade", "passed"),
    [
        ("websocket", "websocket"),
        ("WebSocket", "WebSocket"),
        ("h2c", None),
        ("h2c, websocket", None),
        ("TLS/1.0", None),
    ],
)
@pytest.mark.parametrize("site", ["plain", "uwsgi"])
def test_only_an_upgrade_to_websocket_is_passed_on(gate: Gate, site: str, upgrade: str, passed: str | None) -> None:
    headers = ("Connection: Upgrade, close, HTTP2-Settings", f"Upgrade: {upgrade}", "HTTP2-Settings: AAMAAABkAAQ")
    found = gate.seen(*headers, site=site, target="/ws")
    assert found.get("upgrade") == passed
    assert found.get("connection", "close") == ("upgrade" if passed else "close")
    assert "http2-settings" not in found
    assert "upgrade" not in gate.seen(*headers, site=site)


def test_the_operator_s_own_directives_set_the_header_of_the_user(gate: Gate) -> None:
    for _protocol in ("http", "uwsgi"):
        assert gate.get("verify", "/x", "X-Remote-User: forged").status == 200
        if gate.uwsgi.asked:
            assert gate.uwsgi.asked[0]["HTTP_X_REMOTE_USER"] == "alice"
        else:
            assert gate.app.asked[-1].headers["X-Remote-User"] == "alice"
        (gate.folder / "is-uwsgi").touch()
    assert gate.uwsgi.asked


@pytest.mark.attack("13", "An application under uWSGI sends the visitor to a path of another one")
def test_a_uwsgi_application_without_internal_folders_redirects_nobody(gate: Gate) -> None:
    usual, gate.uwsgi.answer = (
        gate.uwsgi.answer,
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Accel-Redirect: /ws/x\r\n\r\nown",
    )
    answer = gate.get("uwsgi", "/")
    gate.uwsgi.answer = usual
    assert (answer.status, answer.text, b"X-Accel" in answer.head) == (200, "own", False)


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.attack("low", "A visitor uses many addresses of one IPv6 network, to pass a limit")
def test_a_limit_counts_a_network_of_ipv6_and_an_address_of_ipv4(gate: Gate) -> None:
    def ask(address: str) -> int:
        return gate.get("limit", "/in", f"X-Forwarded-For: {address}", source=BALANCER).status

    assert [ask(f"2001:db8:1:1::{number:x}") for number in (1, 2, 3)] == [200, 429, 429]
    assert ask("2001:db8:1:1:ffff:ffff:ffff:ffff") == 429
    assert ask("2001:db8:1:2::1") == 200
    # Bytes that a regular expression or a C string could treat as special.
    assert [ask(address) for address in ("2001:db8:0:a00::1", "2001:db8:0:a00:a0a::2", "2001:db8::1")] == [
        200,
        429,
        200,
    ]
    assert [ask(f"198.51.100.{number}") for number in (1, 1, 2)] == [200, 429, 200]
    assert [ask(f"::ffff:198.51.100.{number}") for number in (7, 7, 8)] == [200, 429, 200]
