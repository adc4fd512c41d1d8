# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""granian's options, and the files that its role writes."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.filter.webapps import FilterModule
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import granian

granian_files = FilterModule().filters()["granian_files"]

SERVICE: dict[str, Any] = {
    "name": "shop",
    "directory": "/srv/shop/releases/1",
    "bind": "unix:/run/shop.sock",
    "target": "shop:app",
    "program": ["/srv/shop/venv/bin/python"],
}


def settings(**changes: Any) -> dict[str, Any]:
    files = granian_files([{**SERVICE, **changes}])
    return {name: ast.literal_eval(value) for name, value in files[0]["vars"]["settings"]}


@pytest.mark.parametrize(
    ("given", "found", "remedy"),
    [
        ({"backpresure": 5}, "'backpresure'", "Did you mean 'backpressure'?"),
        ({"--workers-max-rss": 5}, "'--workers-max-rss'", "Did you mean 'workers_max_rss'?"),
        ({"no-ws": True}, "'no-ws'", "Did you mean 'ws'?"),
        ({"qqq": 5}, "'qqq'", "Leave it out"),
        ({"backlog": 5}, "5 is out of range", "from 128 on"),
        ({"backpressure": "few"}, "'few'", "whole number"),
        ({"workers_lifetime": "soon"}, "'soon'", "such as 1h30m"),
        ({"workers_lifetime": "30s"}, "30 is out of range", "from 60 on"),
        ({"log_level": "loud"}, "'loud'", "warning"),
        ({"interface": "rsgi"}, "'rsgi' is not supported", "Use 'asgi' or 'wsgi'"),
        ({"ssl_certificate": "/a.pem"}, "ssl_certificate", "nginx ends TLS"),
        ({"static_path_mount": ["/a"]}, "static_path_mount", "site.static"),
        ({"http2_max_frame_size": 5}, "http2_max_frame_size", "HTTP/1.1"),
        ({"uds": "/run/x.sock"}, "uds", "give it as bind"),
        ({"workers": 3}, "workers", "outside of settings"),
    ],
)
def test_what_granian_would_not_understand_is_refused(given: dict[str, Any], found: str, remedy: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        granian_files([{**SERVICE, "settings": given}])
    assert found in str(error.value)
    assert remedy in str(error.value)


def test_an_address_is_a_socket_or_a_port() -> None:
    with pytest.raises(AnsibleFilterError, match=r"'/run/shop\.sock' is not an address"):
        granian_files([{**SERVICE, "bind": "/run/shop.sock"}])


def test_options_become_arguments_of_granians_server() -> None:
    found = settings(
        workers=3,
        threads=4,
        timeout=60,
        settings={"workers_lifetime": "1h30m", "access_log": True, "http1_keep_alive": False, "backpressure": None},
    )
    assert found["TARGET"] == "shop:app"
    assert found["OPTIONS"] == {
        "interface": "wsgi",
        "backlog": 1024,
        "respawn_failed_workers": True,
        "respawn_interval": 1.0,
        "log_level": "info",
        "workers": 3,
        "blocking_threads": 4,
        "workers_kill_timeout": 60,
        "workers_lifetime": 5400,
        "log_access": True,
    }
    assert found["HTTP1"] == {"keep_alive": False}
    assert found["READY_FILE"] == "/run/shop.sock.ready"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"threads": 4}, (4, True)),
        ({"threads": 4, "bind": "fd://3"}, (4, True)),
        ({"threads": 4, "bind": "127.0.0.1:8000"}, (None, False)),
        ({"threads": 4, "settings": {"backpressure": 64}}, (64, False)),
        ({"threads": 4, "settings": {"interface": "asgi"}}, (None, False)),
    ],
)
def test_a_worker_accepts_as_many_connections_as_it_has_threads(changes: dict[str, Any], wanted: Any) -> None:
    found = settings(**changes)
    assert (found["OPTIONS"].get("backpressure"), found["FAIR"]) == wanted


def test_an_asgi_application_has_one_thread() -> None:
    assert "blocking_threads" not in settings(threads=4, settings={"interface": "asgi"})["OPTIONS"]


def test_a_port_has_no_file_beside_it() -> None:
    assert settings(bind="127.0.0.1:8000")["READY_FILE"] == ""


@pytest.mark.parametrize(("text", "seconds"), [(5, 5), ("90", 90), ("1d2h3m4s", 93784), ("5m", 300), ("1s2m", None)])
def test_durations(text: Any, seconds: int | None) -> None:
    assert granian.duration(text) == seconds


@pytest.mark.parametrize("text", [True, "", "-5", "x", None, 1.5])
def test_what_is_no_duration(text: Any) -> None:
    assert granian.duration(text) is None


def test_a_command_line_is_translated() -> None:
    said = granian.translator(granian.OWN).text_problem("--interface asgi --host 0.0.0.0 --workers 4 --max-requests 9")
    for words in (
        "this is a text, but settings are a mapping, such as granian: {workers_lifetime: 6h}",
        "--interface: write interface: asgi",
        "--host: a release listens on its own socket",
        "--workers: give it as workers, outside of granian",
        "--max-requests: granian does not count requests. Use workers_lifetime",
    ):
        assert words in said
