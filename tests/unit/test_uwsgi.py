# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""uWSGI's ini file, rendered as the role renders it, and then run."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.filter.webapps import FilterModule
from ansible_collections.pyweb.stack.plugins.module_utils.release.workers import uwsgi_crashes
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import uwsgi
from serving import ask_uwsgi

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

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


def test_the_table_is_that_of_the_locked_uwsgi() -> None:
    """After a renewal of the locks: python scripts/uwsgi_options.py"""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import uwsgi_options
    finally:
        sys.path.remove(str(SCRIPTS))
    assert uwsgi_options.table() == uwsgi_options.TABLE.read_text()


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


def test_an_odd_folder_is_entered(serve: Callable[..., Any], tmp_path: Path) -> None:
    odd = tmp_path / "it's %n 100%"
    odd.mkdir()
    assert serve("uwsgi", chdir=str(odd)).ask()["folder"] == str(odd)


def test_an_unknown_option_does_not_start(serve: Callable[..., Any], tmp_path: Path) -> None:
    more = tmp_path / "more.ini"
    more.write_text("[uwsgi]\nno-such-option = 1\n")
    server = serve("uwsgi", wait=False, settings={"ini": str(more)})
    assert server.process.wait(10) != 0
    assert "no-such-option" in server.log.read_text()


def test_an_application_that_can_not_be_loaded_does_not_serve(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi", wait=False, code="raise RuntimeError('it will not')")
    server.wait(lambda: "it will not" in server.log.read_text())
    time.sleep(0.5)
    assert server.ready() == 0


def test_the_stats_socket_tells_of_every_worker(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi", workers=2)

    def requests() -> list[int]:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server.folder / "web.stats.sock"))
            told = json.loads(b"".join(iter(lambda: client.recv(65536), b"")))
        return sorted(worker["requests"] for worker in told["workers"])

    assert requests() == [0, 0]
    server.ask()
    server.wait(lambda: requests() == [0, 1])  # a worker counts when its visitor has the answer


def test_who_speaks_http_is_told_that_the_connection_ends(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi")
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(server.folder / "web.sock"))
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        answer = b"".join(iter(lambda: visitor.recv(65536), b""))
    assert b"\r\nConnection: close\r\n" in answer.partition(b"\r\n\r\n")[0] + b"\r\n"


def test_a_request_that_takes_too_long_costs_its_worker(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi", timeout=1)
    with pytest.raises((OSError, http.client.HTTPException)):
        server.ask("/slow?20")
    server.wait(lambda: server.ready() == 2)
    assert server.ask()["pid"]


def test_the_uwsgi_protocol_is_spoken_on_the_other_socket(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi")
    given = {"PATH_INFO": "/page", "REQUEST_URI": "/page", "REMOTE_ADDR": "192.0.2.7"}
    told = ask_uwsgi(server.folder / "web.uwsgi.sock", given)
    assert told["REMOTE_ADDR"] == "192.0.2.7"
    assert told["PATH_INFO"] == "/page"


def test_a_crash_is_told_from_a_worker_that_was_not_needed() -> None:
    alive, ended = str(os.getpid()), "999999999"
    assert uwsgi_crashes(f"ready {alive}\n", 1) == 0
    assert uwsgi_crashes(f"ready {ended}\nready {alive}\n", 1) == 1
    assert uwsgi_crashes(f"ready {ended}\nready {alive}\n", 2) == 0
    assert uwsgi_crashes(f"ready {ended}1\nready {ended}2\nready {ended}3\n", 1) == 2


def test_workers_tell_their_own_numbers(serve: Callable[..., Any]) -> None:
    server = serve("uwsgi", workers=2, threads=2)
    told = sorted(Path(f"{server.socket}.ready").read_text().split()[1::2])
    # The shell that has told of the last one ends a moment later.
    server.wait(lambda: told == sorted(str(pid) for pid in server.children()))


def test_a_port_has_no_file_beside_it() -> None:
    assert "hook-accepting" not in options(socket="127.0.0.1:3031")
    assert options()["hook-accepting"] == ['exec:echo "ready $PPID" >> /run/shop.sock.ready']
    assert os.path.basename(uwsgi_files([SERVICE])[1]["path"]) == "web"
