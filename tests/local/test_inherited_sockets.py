# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""App servers on sockets that root has made: systemd passes them by a socket unit, supervisor by a launcher."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import KINDS, Server, ask_uwsgi

SERVERS = ("gunicorn", "uwsgi")


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
