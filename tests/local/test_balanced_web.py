# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A web host behind balancers: whom its nginx serves, and what it answers to health checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.balancing import paths
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx import balanced
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory
from nginx_instance import App, Front, needs_nginx, ok

pytestmark = needs_nginx

# The balancer and a stranger, as addresses of the loopback network. This host itself is 127.0.0.1.
BALANCER, STRANGER = "127.0.0.2", "127.0.0.3"


class WebHost(Front):
    """The sites of applications on a web host, behind a balancer."""

    def serve_app(self, **keys: Any) -> None:
        site = {"domains": ["shop.example.com"], "port": self.port, **keys.pop("site", {})}
        app = {"name": "shop", "source": {"path": "."}, "wsgi": "shop:app", "site": site, **keys}
        found = checked_inventory([app], "/srv/webapps", {"balancers": [BALANCER]}, [])
        assert not found.problems
        self.serve_planned(found.sites, found.settings)

    def serve_planned(self, sites: list[dict[str, Any]], settings: dict[str, Any]) -> None:
        from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tree import tree_files

        self.install(tree_files(sites, settings), owners=["webapps"])

    def here(self, content: str) -> str:
        content = content.replace(paths.DRAINED, f"{self.folder}/drained")
        return super().here(content).replace("/srv/webapps/shop/current.sock", self.socket)


@pytest.fixture
def web(tmp_path: Path, render: Callable[..., Any]) -> Iterator[WebHost]:
    tmp_path.chmod(0o755)
    instance = WebHost(tmp_path, render)
    yield instance
    instance.stop()


@pytest.fixture
def app(web: WebHost) -> Iterator[App]:
    application = App(web.socket, lambda request: ok(request.line.split()[1]))
    yield application
    application.close()


@pytest.mark.attack("17.3", "A visitor requests a web host directly, past the balancer and its limits.")
def test_a_web_host_serves_balancers_alone(web: WebHost, app: App) -> None:
    web.serve_app()
    assert web.ask("/page", source=STRANGER).status == 403
    # nginx compares with the address of the connection, and not with a header.
    forged = {"X-Forwarded-For": BALANCER, "X-Real-IP": BALANCER}
    assert web.ask("/page", source=STRANGER, headers=forged).status == 403
    assert not app.asked
    assert web.ask("/page", source=BALANCER).text == "/page"
    # The check of a deployment comes from the host itself.
    assert web.ask("/page").text == "/page"


def test_what_a_balancer_says_about_a_visitor_arrives(web: WebHost, app: App) -> None:
    web.serve_app()
    told = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "X-Request-ID": "0123456789abcdef"}
    assert web.ask("/", source=BALANCER, headers=told).status == 200
    seen = app.asked[-1].headers
    assert {name: seen[name] for name in told} == told
    # A visitor on the host itself is none.
    assert web.ask("/", headers=told).status == 200
    assert app.asked[-1].headers["X-Forwarded-For"] == "127.0.0.1"


def test_rules_by_address_compare_the_visitor(web: WebHost, app: App) -> None:
    web.serve_app(site={"allow": ["192.0.2.0/24"]})
    inside, outside = ({"X-Forwarded-For": address} for address in ("192.0.2.7", "198.51.100.7"))
    assert web.ask("/", source=BALANCER, headers=inside).status == 200
    assert web.ask("/", source=BALANCER, headers=outside).status == 403
    # The check of a balancer has no visitor.
    assert web.ask(paths.health_url("shop"), source=BALANCER).status == 200


def test_a_check_gets_the_response_of_the_health_path(web: WebHost, app: App) -> None:
    web.serve_app(health={"path": "/healthz?deep=1"})
    assert web.ask(paths.health_url("shop"), source=BALANCER).text == "/healthz?deep=1"
    assert web.ask(paths.HEALTH_URL, source=BALANCER).text == "up\n"
    app.answer = ok("broken", status="500 Internal Server Error")
    assert web.ask(paths.health_url("shop"), source=BALANCER).status == 500
    assert web.ask(paths.HEALTH_URL, source=BALANCER).text == "up\n"


def test_a_check_of_the_host_needs_no_name(web: WebHost, app: App) -> None:
    web.serve_app()
    assert web.ask(paths.HEALTH_URL, host="192.0.2.7", source=BALANCER).text == "up\n"
    assert web.ask(paths.HEALTH_URL, host="192.0.2.7", source=STRANGER).status == 403


def test_a_drained_host_answers_404_to_checks_and_still_serves_visitors(web: WebHost, app: App) -> None:
    web.serve_app()
    (web.folder / "drained").touch()
    assert web.ask(paths.health_url("shop"), source=BALANCER).status == 404
    assert web.ask(paths.HEALTH_URL, source=BALANCER).status == 404
    assert web.ask("/page", source=BALANCER).status == 200
    (web.folder / "drained").unlink()
    assert web.ask(paths.health_url("shop"), source=BALANCER).status == 200


@pytest.mark.attack("17.3", "A visitor uses the URL of health checks to get past the rules of the site.")
def test_no_visitor_gets_in_by_the_path_of_checks(web: WebHost, app: App) -> None:
    web.serve_app(site={"basic_auth": {"users": {"a": "$1$x$x"}}})
    visitor = {"X-Forwarded-For": "198.51.100.7"}
    assert web.ask(paths.health_url("shop"), source=BALANCER, headers=visitor).status == 403
    assert web.ask(paths.health_url("shop"), source=STRANGER).status == 403
    assert not app.asked
    assert web.ask(f"{paths.health_url('shop')}/x", source=BALANCER, headers=visitor).status == 401


def test_a_balancer_sees_that_a_response_is_a_stream(web: WebHost, app: App) -> None:
    web.serve_app()
    app.answer = ok("x", "X-Accel-Buffering: no", "X-Accel-Redirect: /x")
    answer = web.ask("/", source=BALANCER)
    assert answer.headers["x-accel-buffering"] == "no"
    assert "x-accel-redirect" not in answer.headers


def test_lines_for_strangers_name_each_address_once() -> None:
    assert balanced.stranger_lines(["192.0.2.1", "127.0.0.1"]).count("    127.0.0.1 0;") == 1
