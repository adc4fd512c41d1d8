# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The whole output of -vvv, of a deployment that fails and of one that succeeds, against a real host."""

from __future__ import annotations

import base64
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENT, Place, begin_playbook, webapps

# These must not be shown: a token of git, a password of a package index, the password of an address, an env secret.
TOKEN, INDEX, ADDRESS, SECRET = "hunter2-for-git", "hunter3-of-index", "hunter4-of-address", "hunter5-of-env"


class Private(http.server.SimpleHTTPRequestHandler):
    """A git server over plain HTTP that wants the token."""

    root = ""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == f"Basic {base64.b64encode(f'me:{TOKEN}'.encode()).decode()}":
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="forge"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def translate_path(self, path: str) -> str:
        return self.root + path.partition("?")[0]

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a repository on this machine, with its token."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    work, served = tmp_path / "work", tmp_path / "served"
    shutil.copytree(PATIENT, work / "backend", ignore=shutil.ignore_patterns("__pycache__"))
    whom = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "One"]):
        subprocess.run(["git", *whom, *words], cwd=work, check=True)
    subprocess.run(["git", "clone", "--quiet", "--bare", str(work), str(served / "shop.git")], check=True)
    subprocess.run(["git", "update-server-info"], cwd=served / "shop.git", check=True)
    Private.root = str(served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Private) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:{TOKEN}@127.0.0.1:{server.server_port}/shop.git"
        server.shutdown()


@pytest.mark.attack("17", "A reader of the whole output of -vvv looks for tokens and passwords of a deployment")
def test_no_secret_is_in_the_output_of_vvv(
    places: list[Place], scenario_inventory: str, tmp_path: Path, address: str
) -> None:
    place = places[0]

    def deploy(python: dict[str, Any]) -> tuple[int, str]:
        variables = webapps({"env": {"BOOT_SECONDS": "0", "TOKEN": SECRET}, "python": python})
        variables["webapps"][0]["source"] = {"git": address, "version": "main", "subdir": "backend"}
        run = begin_playbook(scenario_inventory, tmp_path, variables, "--limit", place.name, "-vvv", "--diff")
        status = run.wait(240)
        newest = max(tmp_path.glob("variables-*.log"), key=lambda path: path.stat().st_mtime_ns)
        return status, newest.read_text()

    failing = {
        "index_url": f"http://me:{INDEX}@127.0.0.1:9/simple",
        "packages": [f"other @ http://me:{ADDRESS}@127.0.0.1:9/other-1.0-py3-none-any.whl"],
    }
    for python, works in ((failing, False), ({}, True)):
        status, said = deploy(python)
        assert (status == 0) is works, said[-3000:]
        assert said.count("\n") > 50, "it is the verbose output"
        shown = [word for word in (TOKEN, INDEX, ADDRESS, SECRET) if word in said]
        encoded = base64.b64encode(f"me:{TOKEN}".encode()).decode()
        assert (shown, encoded in said) == ([], False)
    # The secret did travel.
    current = place.settled()["current"]
    assert SECRET in place.run(f"cat /srv/webapps/patient/releases/{current}/env")
    # The command itself is in the log of sudo, so it has the token as a pattern.
    pattern = TOKEN.replace("-", "[-]")
    assert not place.run(f"grep -rl '{pattern}' /srv/webapps /run /etc /var/log 2>/dev/null || true")
