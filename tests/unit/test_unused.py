# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Settings of app servers that have no effect are announced."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.cut_connections import cut_connections
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.unused import unused_settings
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications


def said(**changes: Any) -> list[str]:
    webapps = [{"name": "shop", "source": {"path": "shop"}, "wsgi": "shop:app", **changes}]
    return unused_settings(webapps, applications(webapps))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uwsgi": {"cheaper": 2, "listen": 9}}, "'shop'.uwsgi: cheaper, listen: no effect, because gunicorn serves"),
        ({"server": "uwsgi", "gunicorn": {"keepalive": 2}}, "'shop'.gunicorn: keepalive: no effect, because uwsgi"),
        ({"gunicorn": {"worker_class": "sync", "keepalive": 2}}, "gunicorn.keepalive: no effect, because the worker"),
        ({"threads": 1, "gunicorn": {"worker_connections": 9}}, "the worker class 'sync' ignores it"),
        ({"gunicorn": {"asgi_loop": "asyncio"}}, "the worker class 'gthread' ignores it"),
        ({"threads": 8, "gunicorn": {"worker_class": "gevent"}}, "'shop'.threads: 8: no effect"),
        ({"granian": {"backlog": 128}}, "'shop'.granian: backlog: no effect, because gunicorn serves"),
        ({"server": "uwsgi", "granian": {"backlog": 128}}, "'shop'.granian: backlog: no effect, because uwsgi"),
        ({"server": "granian", "gunicorn": {"keepalive": 2}}, "'shop'.gunicorn: keepalive: no effect, because granian"),
        ({"server": "granian", "uwsgi": {"listen": 9}}, "'shop'.uwsgi: listen: no effect, because granian serves"),
        ({"server": "granian", "threads": 8, "granian": {"interface": "asgi"}}, "granian has threads only for WSGI"),
        ({"threads": 8, "gunicorn": {"worker_class": "asgi"}}, "the worker class 'asgi' has no threads"),
        ({"process_manager": "supervisor", "systemd": {"Nice": 5}}, "systemd: Nice: no effect on web and background"),
        ({"systemd": {"RestrictAddressFamilies": "AF_UNIX"}}, 'begin the list with an empty value: ["", "AF_UNIX"]'),
        ({"systemd": {"SystemCallArchitectures": ["native"]}}, "native: no effect, because it adds to the list of"),
    ],
)
def test_what_has_no_effect_is_announced(changes: dict[str, Any], words: str) -> None:
    (text,) = said(**changes)
    assert words in text
    assert "Remove" in text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gunicorn": {"worker_class": "gevent", "keepalive": 2, "worker_connections": 9}},
        {"gunicorn": {"worker_class": "asgi", "asgi_loop": "asyncio"}},
        {"gunicorn": {"worker_class": "shop.Own", "asgi_loop": "asyncio"}, "threads": 8},
        {"server": "uwsgi", "threads": 8, "uwsgi": {"cheaper": 2}},
        {"threads": 1, "gunicorn": {"worker_class": "sync", "keepalive": None}},
        {"server": "granian", "threads": 8, "granian": {"interface": "wsgi"}},
        {"server": "granian", "granian": {"interface": "asgi"}},
        {"state": "absent", "uwsgi": {"cheaper": 2}},
    ],
)
def test_what_has_an_effect_is_not_announced(changes: dict[str, Any]) -> None:
    assert said(**changes) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"server": "granian"}, "granian has WebSocket only for ASGI"),
        ({"server": "uwsgi", "timeout": 45}, "uwsgi ends each request after 45 seconds"),
        ({"server": "uwsgi", "timeout": 3600}, ""),
        ({"threads": 1}, "gunicorn ends each request after 30 seconds"),
        ({"threads": 1, "timeout": 3600}, "a worker of the class 'sync' has one connection"),
        ({"server": "granian", "granian": {"interface": "asgi"}}, ""),
        ({"gunicorn": {"worker_class": "asgi"}}, ""),
        ({"gunicorn": {"worker_class": "gevent"}}, ""),
        ({"threads": 8}, ""),
    ],
)
@pytest.mark.parametrize("site", [{"websocket": True}, {"locations": [{"path": "/ws", "websocket": True}]}])
def test_a_websocket_that_the_server_can_not_serve_is_announced(
    changes: dict[str, Any], site: dict[str, Any], words: str
) -> None:
    """Once: both rules about long connections together say one thing."""
    webapps = [{"name": "shop", "source": {"path": "shop"}, "wsgi": "shop:app", "site": site, **changes}]
    apps = applications(webapps)
    found = [*unused_settings(webapps, apps), *cut_connections(apps)]
    assert [words in text for text in found] == ([True] if words else [])


def test_every_unused_server_is_announced() -> None:
    found = said(server="granian", gunicorn={"keepalive": 2}, uwsgi={"listen": 9})
    assert [text.partition(":")[0] for text in found] == ["webapps 'shop'.gunicorn", "webapps 'shop'.uwsgi"]


def test_a_list_that_adds_or_begins_anew_has_an_effect() -> None:
    for value in ("AF_VSOCK", ["", "AF_UNIX"], "~AF_UNIX", "none", [""]):
        assert said(systemd={"RestrictAddressFamilies": value}) == []
    # It allows again what ours has removed from it.
    assert said(systemd={"SystemCallFilter": "@system-service"}) == []


OPTIONS = {
    "UV_INDEX_URL": "Set python.index_url instead",
    "PIP_EXTRA_INDEX_URL": "Set python.extra_index_urls instead",
    "UV_PYTHON": "Set python.interpreter instead",
    "UV_OVERRIDE": "Use the keys of python, or a requirements file instead",
    "PIP_FIND_LINKS": "Use the keys of python, or a requirements file instead",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_variable_that_would_redirect_uv_is_announced(name: str) -> None:
    (text,) = said(env={name: "secret-value"})
    assert f"'shop'.env.{name}: no effect on the installation of dependencies. {OPTIONS[name]}" in text
    assert "secret-value" not in text


def test_credentials_and_other_variables_have_an_effect() -> None:
    assert (
        said(env={"UV_INDEX_CORP_PASSWORD": "x", "UV_BUILD_CONSTRAINT": "x", "PIP_TOKEN": "x", "WHEELHOUSE": "x"}) == []
    )
