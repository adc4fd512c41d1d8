# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""App servers on sockets that root has made: systemd passes them by a socket unit, supervisor by a launcher."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import INHERITS_SOCKETS, Layout
from ansible_collections.pyweb.stack.plugins.module_utils.switching.gate import Gate, Unhealthy
from serving import KINDS, Server, ask_uwsgi, is_sample_of_kinds

SERVERS = ("gunicorn", "uwsgi")


@pytest.mark.sampled(by=is_sample_of_kinds)
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_serves_on_the_sockets_that_it_inherits(serve: Callable[..., Server], kind: str) -> None:
    server = serve(kind, inherited=True)
    inode = os.stat(server.socket).st_ino
    told = server.ask()
    assert told.get("PATH_INFO", told.get("path")) == "/"
    if kind == "uwsgi":
        assert (
            ask_uwsgi(server.folder / "web.uwsgi.sock", {"PATH_INFO": "/x", "REQUEST_URI": "/x"})["PATH_INFO"] == "/x"
        )
    slow = server.begin_slow(1)
    server.process.send_signal(signal.SIGTERM)
    # It still answers what it has begun, and does not remove the sockets.
    server.answer(slow[0])
    assert server.process.wait(20) == 0, server.log.read_text()
    assert "Permission" not in server.log.read_text()
    assert kind == "uwsgi" or os.stat(server.socket).st_ino == inode


def test_gunicorn_does_not_serve_http_on_the_socket_for_uwsgi(serve: Callable[..., Server]) -> None:
    server = serve("sync", inherited=True)
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    listed = subprocess.run(["ss", "-Hxl"], capture_output=True, text=True, check=True).stdout.splitlines()
    inodes = {words[4]: words[5] for line in listed if len(words := line.split()) > 5}
    found = {os.readlink(one) for one in descriptors.iterdir() if one.exists() or one.is_symlink()}
    assert f"socket:[{inodes[server.socket]}]" in found
    assert f"{server.folder}/web.uwsgi.sock" not in inodes, "a process still listens there"


@pytest.mark.parametrize("kind", SERVERS)
def test_a_release_without_its_sockets_refuses_to_run(render: Any, tmp_path: Path, kind: str) -> None:
    from ansible_collections.pyweb.stack.plugins.filter.webapps import FilterModule

    service = {"name": "shop", "directory": str(tmp_path), "program": ["/bin/echo", "it ran"]}
    addresses = {"gunicorn": {"wsgi_app": "a:b", "bind": "fd://3"}, "uwsgi": {"module": "a:b", "http_socket": "fd://3"}}
    files = render(kind, FilterModule().filters()[f"{kind}_files"]([{**service, **addresses[kind]}]))
    (program,) = [file["content"] for file in files if file["path"].endswith("bin/web")]
    for found in ({}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}):
        done = subprocess.run(["/bin/sh", "-c", program], env=found, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"passes no sockets to {'uWSGI' if kind == 'uwsgi' else kind}. Run the playbook site" in done.stderr


class Ended:
    """A process manager whose process has ended, or ends again and again, while its socket still listens."""

    def __init__(self, state: str, restarts: int) -> None:
        self.found = (state, restarts)

    def state(self, _service: str, _instance: str) -> str:
        return self.found[0]

    def restarts(self, _service: str, _instance: str) -> int:
        return self.found[1]

    def log(self, _service: str, _instance: str, _lines: int) -> str:
        return "no database"


@pytest.mark.parametrize(
    ("state", "restarts", "reason"),
    [("failed", 0, "its process has ended"), ("starting", 2, "its process ends again and again")],
)
def test_a_health_check_does_not_wait_at_the_socket_of_an_ended_process(
    short_path: Path, state: str, restarts: int, reason: str
) -> None:
    layout = Layout("shop", str(short_path), str(short_path))
    spec = {"name": "shop", "health": {"path": "/", "host": "h", "scheme": "http", "status": [], "timeout": 60}}
    os.makedirs(layout.release("1"))
    Path(layout.release("1"), INHERITS_SOCKETS).touch()
    os.mkdir(layout.sockets)
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(layout.socket("1"))
        held.listen(8)
        began = time.monotonic()
        with pytest.raises(Unhealthy, match=rf"(?s){reason}.*no answer yet.*no database"):
            Gate(spec, layout, "1", Ended(state, restarts), began).await_healthy()  # type: ignore[arg-type]
        assert time.monotonic() - began < 5
