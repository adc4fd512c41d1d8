# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An old process in the background is retired when its release is live, and never earlier."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.adoption import retirement
from ansible_collections.pyweb.stack.plugins.module_utils.adoption.handmade_processes import handmade_processes
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, run_command
from nginx_instance import free_port

# A server that ends at SIGTERM, but not with the option --stubborn.
SERVER = """\
import http.server, signal, sys
if "--stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Old:
    """An old process, and the application that replaces it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.root = folder / "webapps"
        (self.root / "shop").mkdir(parents=True)
        self.program = folder / "bin" / "gunicorn"
        self.program.parent.mkdir()
        self.program.write_text(SERVER)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, str(self.program), str(self.port), "shop:app", *more])
        self.processes.append(process)
        until = time.monotonic() + 90
        while f"127.0.0.1:{self.port}" not in self.addresses():
            assert time.monotonic() < until
            time.sleep(0.05)
        return process

    def addresses(self) -> list[str]:
        return [address for one in handmade_processes(str(self.root)) for address in one.addresses]

    def item(self, *more: str, **changes: Any) -> dict[str, Any]:
        front = {"path": "/", "host": "localhost", "scheme": "http", "port": self.port}
        return {
            "name": "shop",
            "root": str(self.root),
            "command": " ".join(["gunicorn", str(self.port), "shop:app", *more]),
            "stop_timeout": 1,
            "front": front,
            "statuses": [200],
            **changes,
        }

    def release(self) -> None:
        (self.root / "shop/current.sock").symlink_to("there.sock")

    def retire(self, item: dict[str, Any], waiting: tuple[str, ...] = (), check_mode: bool = False) -> dict[str, Any]:
        return retirement.retire([item], [*waiting], run_command, check_mode)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Old]:
    # The nginx of this machine belongs to no test.
    monkeypatch.setattr(retirement, "processes", dict)
    monkeypatch.setattr(retirement, "still_used", lambda _service: [])
    found = Old(tmp_path)
    yield found
    for process in found.processes:
        process.kill()
        process.wait()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_a_process_is_retired_when_its_release_is_live(old: Old) -> None:
    process = old.start()
    assert old.retire(old.item())["retiring"] == ["shop"]
    old.release()
    assert old.retire(old.item(), waiting=("shop",))["retiring"] == ["shop"]
    assert len(old.retire(old.item(), check_mode=True)["retired"]) == 1
    assert process.poll() is None
    answer = old.retire(old.item())
    assert process.wait(5) == -signal.SIGTERM
    assert (answer["retiring"], len(answer["retired"])) == ([], 1)
    assert old.retire(old.item()) == {"retired": [], "retiring": [], "used": [], "warnings": []}


def test_an_old_process_that_is_not_there_is_named_before_the_first_release(old: Old) -> None:
    assert "the process of 'gunicorn" in old.retire(old.item())["warnings"][0]
    old.release()
    assert old.retire(old.item())["warnings"] == []


def test_a_process_that_ignores_the_signal_is_killed(old: Old) -> None:
    process = old.start("--stubborn")
    old.release()
    old.retire(old.item("--stubborn"))
    assert process.wait(5) == -signal.SIGKILL


def test_another_command_is_left_alone(old: Old) -> None:
    process = old.start()
    old.release()
    answer = old.retire(old.item("--reload"))
    assert answer == {"retired": [], "retiring": [], "used": [], "warnings": []}
    assert process.poll() is None


def test_a_site_that_does_not_answer_keeps_the_old_process(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "FRONT_TIMEOUT", 0.3)
    process = old.start()
    old.release()
    with pytest.raises(HostError, match=r"does not answer through nginx, so the process of .* keeps running"):
        old.retire(old.item(statuses=[204]))
    assert process.poll() is None


def test_a_server_that_still_leads_to_it_keeps_the_old_process(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "still_used", lambda _service: ["www.example.com in /etc/nginx/conf.d/x.conf"])
    process = old.start()
    old.release()
    answer = old.retire(old.item())
    assert "www.example.com in /etc/nginx/conf.d/x.conf" in answer["warnings"][0]
    assert process.poll() is None


def test_servers_that_lead_to_a_service_are_found(old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    old.start()
    service = retirement.old_service(old.item(), run_command)
    etc = tmp_path / "etc"
    (etc / "conf.d").mkdir(parents=True)
    (etc / "nginx.conf").write_text("# nginx role of pyweb.stack\n")
    (etc / "conf.d/x.conf").write_text(
        f"upstream x {{ server localhost:{old.port}; }}\n"
        "server { server_name a.org; location / { proxy_pass http://x; } }\n"
        f"server {{ server_name b.org; location /b/ {{ proxy_pass http://127.0.0.1:{old.port}/; }} }}\n"
        "server { server_name c.org; location / { proxy_pass http://127.0.0.1:1; } }\n"
    )
    found = " ".join(retirement.still_used(service, str(etc)))
    assert ("a.org" in found, "b.org" in found, "c.org" in found) == (True, True, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other accounts")
def test_processes_of_releases_are_no_old_ones(old: Old) -> None:
    release = old.root / "shop/releases/1/bin"
    release.mkdir(parents=True)
    (release / "gunicorn").write_text(SERVER)
    port = free_port()
    process = subprocess.Popen([sys.executable, str(release / "gunicorn"), str(port), "shop:app"])
    old.processes.append(process)
    old.start()
    assert process.pid not in [one.pid for one in handmade_processes(str(old.root))]
