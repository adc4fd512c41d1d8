# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""uWSGI's ini file, rendered as the role renders it, and then run."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.filter.webapps import FilterModule
from ansible_collections.pyweb.stack.plugins.module_utils.switching.workers import uwsgi_crashes
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import uwsgi
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.translations import UWSGI_NAMES, UWSGI_SENTENCES
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

uwsgi_files = FilterModule().filters()["uwsgi_files"]

SERVICE: dict[str, Any] = {
    "name": "shop",
    "directory": "/srv/shop/releases/1",
    "socket": "/run/shop.sock",
    "module": "shop:app",
    "program": ["/srv/shop/releases/1/bin/run", "uwsgi"],
}


def options(**changes: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in uwsgi.complete({**SERVICE, **changes}):
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize(
    ("given", "found", "remedy"),
    [
        ({"max_requests": 5}, "'max_requests'", "Did you mean 'max-requests'?"),
        ({"buffersize": 5}, "'buffersize'", "Did you mean 'buffer-size'?"),
        ({"qqq": 5}, "'qqq'", "Leave it out"),
        ({"static-map": {"a": "b"}}, "a mapping", "texts and numbers"),
        ({"static-map": "a=b\nhttp=:80"}, "static-map", "one line"),
        ({"cheaper": "few"}, "'few'", "a whole number"),
        ({"socket": ":3031"}, "socket", "input of its own"),
        ({"environment": "A=1"}, "'environment'", "Did you mean 'env'?"),
        ({"logfile": "/x"}, "'logfile'", "Did you mean 'logto'?"),
        ({"preload_app": True}, "'preload_app'", "lazy-apps: false"),
        ({"worker_class": "gevent"}, "'worker_class'", "gevent: 100"),
        ({"plugins": "python3"}, "'python3'", "Python is a part of the installed uWSGI"),
    ],
)
def test_what_uwsgi_would_not_understand_is_refused(given: dict[str, Any], found: str, remedy: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        uwsgi_files([{**SERVICE, "settings": given}])
    assert found in str(error.value)
    assert remedy in str(error.value)


def test_a_service_listens_somewhere() -> None:
    with pytest.raises(AnsibleFilterError, match="has no socket"):
        uwsgi_files([{**SERVICE, "socket": None}])


@pytest.mark.parametrize("module", ["shop:dash.server", "shop:create_app('x')"])
def test_a_callable_that_uwsgi_can_not_load_is_refused(module: str) -> None:
    with pytest.raises(AnsibleFilterError, match="Assign anything else to a name in the module"):
        uwsgi_files([{**SERVICE, "module": module}])


def test_options_in_uwsgis_own_words() -> None:
    found = options(
        settings={
            "static-map": ["/a=/b", "/c=/d"],
            "listen": 64,
            "vacuum": False,
            "thunder-lock": True,
            "need-app": None,
        }
    )
    assert found["static-map"] == ["/a=/b", "/c=/d"]
    assert (found["listen"], found["vacuum"], found["thunder-lock"]) == (["64"], ["false"], ["true"])
    assert "need-app" not in found


def test_hooks_of_ones_own_come_beside_ours() -> None:
    found = options(settings={"hook-master-start": "print:hello"})["hook-master-start"]
    assert found == ["unix_signal:15 gracefully_kill_them_all", "print:hello"]


def test_the_cheaper_mode_starts_with_fewer_workers() -> None:
    assert uwsgi.booting_workers({}, 8) == 8
    assert uwsgi.booting_workers({"cheaper": 2}, 8) == 2
    assert uwsgi.booting_workers({"cheaper": 2, "cheaper-initial": "4"}, 8) == 4


def test_what_looks_like_a_placeholder_in_a_path_is_none() -> None:
    assert options(chdir="/srv/100%n")["chdir"] == ["/srv/100%%n"]


def test_a_crash_is_told_from_a_worker_that_was_not_needed() -> None:
    alive, ended = str(os.getpid()), "999999999"
    assert uwsgi_crashes(f"ready {alive}\n", 1) == 0
    assert uwsgi_crashes(f"ready {ended}\nready {alive}\n", 1) == 1
    assert uwsgi_crashes(f"ready {ended}\nready {alive}\n", 2) == 0
    assert uwsgi_crashes(f"ready {ended}1\nready {ended}2\nready {ended}3\n", 1) == 2


def checked(**given: Any) -> list[str]:
    checker = Checker()
    uwsgi.checked(checker, given, "uwsgi")
    return checker.problems


def test_ports_of_this_machine_are_added() -> None:
    given = {"socket": "127.0.0.1:8001", "http-socket": ["127.0.0.1:8002", "[::1]:8002"], "stats": "127.0.0.1:9191"}
    assert checked(**given) == []
    found = options(http_socket="/run/1.sock", stats="/run/1.stats.sock", settings=given)
    assert found["socket"] == ["127.0.0.1:8001", "/run/shop.sock"]
    assert found["http-socket"] == ["127.0.0.1:8002", "[::1]:8002", "/run/1.sock"]
    assert found["stats"] == ["127.0.0.1:9191"]
    assert found["reuse-port"] == ["true"]
    assert "reuse-port" not in options()
    assert list(uwsgi.ports(given).values()) == [8001, 8002, 8002, 9191]


@pytest.mark.attack("14.6", "An application listens past nginx, on an address that other machines reach")
@pytest.mark.parametrize("key", ["socket", "http-socket", "stats"])
@pytest.mark.parametrize(
    "address", [":8001", "0.0.0.0:8001", "10.0.0.1:8001", "*:8001", "8001", 8001, "/tmp/s.sock", "127.0.0.1:8001,x"]
)
def test_an_address_of_other_machines_is_refused(key: str, address: Any) -> None:
    (problem,) = checked(**{key: address})
    assert f"uwsgi.{key}: '{address}' is not a port of this machine alone" in problem
    assert "Write 127.0.0.1:8001" in problem


@pytest.mark.parametrize("port", [80, 70000])
def test_a_port_that_an_account_can_not_open_is_refused(port: int) -> None:
    (problem,) = checked(socket=f"127.0.0.1:{port}")
    assert f"can't open port {port}" in problem


@pytest.mark.parametrize("key", ["http", "shared-socket", "raw-socket", "puwsgi-socket", "stats-server", "wsgi-lite"])
def test_other_spellings_of_what_the_collection_sets_are_refused(key: str) -> None:
    (problem,) = checked(**{key: "127.0.0.1:8001"})
    assert f"uwsgi.{key}: it can't be set here" in problem


def test_every_translation_names_an_option() -> None:
    assert set(UWSGI_NAMES.values()) <= uwsgi.OPTIONS
    assert not set(UWSGI_NAMES) & uwsgi.OPTIONS
    assert not set(UWSGI_NAMES) & set(UWSGI_SENTENCES)


def test_an_ini_file_is_translated_line_by_line() -> None:
    text = "[uwsgi]\nmodule = wsgi:app\nmaster = true\nprocesses = 5\nmax-requests = 100\nenvironment = A=1\n"
    said = uwsgi.translator(uwsgi.OWN).text_problem(text)
    assert "module: name the callable as wsgi." in said
    assert "processes: give it as workers, outside of uwsgi." in said
    assert "max-requests: write max-requests: 100" in said
    assert "environment: Did you mean 'env'? There, give variables as env, outside of uwsgi." in said


def test_a_translation_advises_nothing_that_is_refused() -> None:
    said = uwsgi.translator(uwsgi.OWN).text_problem("[uwsgi]\nsocket = /tmp/shop.sock\nstats = 127.0.0.1:9191\n")
    assert "socket: '/tmp/shop.sock' is not a port of this machine alone." in said
    assert "Write 127.0.0.1:8001, or leave it out." in said
    assert "write socket: /tmp" not in said
    assert "stats: write stats: 127.0.0.1:9191" in said


def test_a_whole_command_is_translated() -> None:
    said = uwsgi.translator(uwsgi.OWN).text_problem("/usr/bin/uwsgi --master \\\n  --max-requests 100 -p 4")
    assert "--max-requests: write max-requests: 100" in said
    assert "-p: Did you mean 'processes'?" in said


def test_a_port_has_no_file_beside_it() -> None:
    assert "hook-accepting" not in options(socket="127.0.0.1:3031")
    assert "ready $PPID" in options()["hook-accepting"][0]
    assert os.path.basename(uwsgi_files([SERVICE])[1]["path"]) == "web"
