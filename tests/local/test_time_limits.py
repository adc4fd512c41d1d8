# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A server that accepts a connection and never answers holds up no run: each step ends, and names the server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import network
from ansible_collections.pyweb.stack.plugins.module_utils.building.explanations import explained
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import commands, downloads
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import FetchError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository
from repositories import git

pytestmark = pytest.mark.usefixtures("home")

# Seconds. Each limit is one or two seconds in these tests, and uv asks twice.
BOUND = 25


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections, and never answers."""
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    accepted.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
    for connection in accepted:
        connection.close()


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(commands, "QUIET", 1)
    monkeypatch.setattr(downloads, "SILENCE", 1)
    monkeypatch.setattr(network, "SILENCE", 2)
    monkeypatch.setattr(network, "RETRIES", 1)
    began = time.monotonic()
    yield
    assert time.monotonic() - began < BOUND


@pytest.mark.parametrize("scheme", ["http", "https", "git", "ssh"])
def test_a_repository_that_never_answers_is_named(silent: int, scheme: str) -> None:
    address = f"{scheme}://127.0.0.1:{silent}/shop.git"
    with pytest.raises(FetchError, match=f"{address}.*failed"):
        Repository(address).commit_of("main")


def test_a_commit_that_never_comes_ends_with_its_processes(silent: int, tmp_path: Path) -> None:
    address = f"git://127.0.0.1:{silent}/shop.git"
    with pytest.raises(FetchError, match=f"fetching 'main' from {address} failed"):
        Repository(address).checkout("0" * 40, "main", tmp_path / "target")
    listed = subprocess.run(["ps", "-eo", "args="], check=True, capture_output=True, text=True).stdout
    assert str(silent) not in listed


def test_a_submodule_that_never_comes_is_named(silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    git(upstream, "init", "-q")
    (upstream / "app.py").write_text("app = None\n")
    address = f"git://127.0.0.1:{silent}/theme.git"
    (upstream / ".gitmodules").write_text(f'[submodule "theme"]\n\tpath = theme\n\turl = {address}\n')
    git(upstream, "add", "-A")
    git(upstream, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},theme")
    git(upstream, "commit", "-q", "-m", "change")
    monkeypatch.setattr(commands, "QUIET", 2)
    with pytest.raises(FetchError, match=r"fetching the submodules of .*upstream failed: the server did not answer"):
        Repository(str(upstream)).checkout(git(upstream, "rev-parse", "HEAD"), "main", tmp_path / "target")


def test_an_archive_that_never_comes_is_named(silent: int) -> None:
    address = f"http://127.0.0.1:{silent}/shop.tar.gz"
    with pytest.raises(FetchError, match=f"downloading {address} failed: .*timed out"):
        downloads.downloaded(address, f"sha256:{'0' * 64}")


@pytest.mark.parametrize(
    ("requirement", "scheme"), [("idna", "http"), ("idna", "https"), ("x @ git+http://127.0.0.1:{port}/x.git", "http")]
)
def test_uv_ends_and_names_the_server(silent: int, tmp_path: Path, requirement: str, scheme: str) -> None:
    uv = Path(sys.executable).parent / "uv"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_DEFAULT_INDEX": f"{scheme}://127.0.0.1:{silent}/simple",
        **network.network_environment(),
    }
    arguments = ["pip", "install", "--target", str(tmp_path / "there"), requirement.format(port=silent)]
    answer = subprocess.run([uv, *arguments], env=environment, check=False, capture_output=True, text=True)
    assert answer.returncode != 0
    assert f"127.0.0.1:{silent}" in answer.stderr
    assert "does not answer" in explained(answer.stderr)


def test_uv_on_a_host_without_git_asks_for_it(silent: int, tmp_path: Path) -> None:
    uv = Path(sys.executable).parent / "uv"
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "cache")}
    arguments = ["pip", "install", "--python", sys.executable, "--target", str(tmp_path / "there")]
    answer = subprocess.run(
        [uv, *arguments, f"x @ git+http://127.0.0.1:{silent}/x.git"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert network.lacks_git(answer.stderr)


@pytest.mark.parametrize("system", ["hg", "svn", "bzr"])
@pytest.mark.parametrize("form", ["x @ {}+https://127.0.0.1/x", "-e {}+https://127.0.0.1/x#egg=x"])
def test_a_repository_that_is_not_of_git_is_refused_by_name(tmp_path: Path, system: str, form: str) -> None:
    (tmp_path / "requirements.txt").write_text(form.format(system) + "\n")
    uv = Path(sys.executable).parent / "uv"
    arguments = ["pip", "install", "--target", str(tmp_path / "there"), "-r", str(tmp_path / "requirements.txt")]
    answer = subprocess.run([uv, *arguments], check=False, capture_output=True, text=True)
    hint = explained(answer.stderr)
    assert hint.startswith("uv installs requirements from git repositories only, not from Mercurial")
    assert f"{system}+https://127.0.0.1/x" in answer.stderr
