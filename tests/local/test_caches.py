# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""uv's cache of an application after many releases: as large as the kept environments."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import pwd
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release import caches
from ansible_collections.pyweb.stack.plugins.module_utils.release.caches import free_space
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import prune
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    GOOD,
    build_account,
    manifests,
    write_manifest,
)
from hostile_account import needs_root

from local import test_building as builds
from local.test_building import APP, Bench, wheel

pytestmark = needs_root

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv


PYPROJECT = """
[build-system]
requires = []
build-backend = "own"
backend-path = ["."]
[project]
name = "lone"
version = "1.0"
"""
# The smallest backend, which needs no package.
BACKEND = """
import os, zipfile
def build_wheel(folder, *_settings):
    name = "lone-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("lone.py", open("app.py").read())
        info = "lone-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: lone\\nVersion: 1.0\\n")
        tags = "Generator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\\n{tags}")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_args: Any) -> None:
        pass


class Shop:
    """An application whose releases have other versions of a package from an index."""

    def __init__(self, bench: Bench, index: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench, self.layout, self.index, self.url = bench, bench.layout, index, url
        for number in range(1, 8):
            self.serve("helper", f"{number}.0", "x" * 500_000)
        self.serve("other", "1.0")
        # As the account of this collection has it on a host.
        monkeypatch.setattr(caches, "builder_of", lambda name: pwd.getpwnam(build_account(name)))

    def serve(self, name: str, version: str, text: str = "") -> None:
        folder = self.index / name
        wheel(folder, name, version, f"TEXT = '{text}'\n")
        links = "".join(
            f'<a href="{one.name}#sha256={hashlib.sha256(one.read_bytes()).hexdigest()}">{one.name}</a>'
            for one in sorted(folder.glob("*.whl"))
        )
        (folder / "index.html").write_text(f"<html><body>{links}</body></html>")

    def deploy(self, number: int, *packages: str, text: str = "", **files: str) -> None:
        """Build a release, and do with the earlier ones what its activation does."""
        identity = f"202611{number:02d}T010203Z-ab12cd34"
        python = {"interpreter": None, "packages": [*packages, "other"], "index_url": self.url}
        self.bench.build({"app.py": f"{APP}{text}", **files}, identity, python=python)
        (manifest,) = [one for one in manifests(self.layout) if one.id == identity]
        manifest.state = GOOD
        write_manifest(self.layout, manifest)
        if os.path.lexists(self.layout.current):
            os.unlink(self.layout.current)
        os.symlink(os.path.join("releases", identity), self.layout.current)
        prune(self.layout, 2)
        assert free_space(self.layout) == []

    @property
    def cache(self) -> Path:
        return Path(self.layout.build, "uv")

    def cached(self, name: str = "helper") -> list[str]:
        found = self.cache.glob(f"archive-v*/*/{name}-*.dist-info")
        return sorted(path.name.split("-")[1].removesuffix(".dist") for path in found)


@pytest.fixture
def shop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    index = bench.folder / "index"
    index.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(index)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.asked.clear()
    yield Shop(bench, index, f"http://127.0.0.1:{server.server_port}", monkeypatch)
    server.shutdown()
    server.server_close()


def test_seven_releases_leave_the_packages_of_the_kept_ones(shop: Shop) -> None:
    for number in range(1, 8):
        shop.deploy(number, f"helper=={number}.0")
    assert len(os.listdir(shop.layout.venvs)) == 2
    assert shop.cached() == ["6.0", "7.0"]
    assert shop.cached("other") == ["1.0"]
    links = [path for path in shop.cache.rglob("*") if path.is_symlink()]
    assert links, "what is used can be found"
    assert all(path.exists() for path in links)
    left = [path.name for path in shop.cache.glob("wheels-v*/**/helper/*")]
    assert not [name for name in left if name.startswith("1.0")]


def test_a_used_package_is_not_downloaded_again(shop: Shop) -> None:
    shop.deploy(1, "helper==1.0")
    shop.deploy(2, "helper==2.0")
    Handler.asked.clear()
    shop.deploy(3, "helper==2.0", "other>=1")
    assert not [path for path in Handler.asked if path.endswith(".whl")]


def test_a_removed_package_can_be_installed_again(shop: Shop) -> None:
    for number in (1, 2, 3):
        shop.deploy(number, f"helper=={number}.0")
    assert shop.cached() == ["2.0", "3.0"]
    shop.deploy(4, "helper==1.0")
    assert shop.cached() == ["1.0", "3.0"]


def test_a_change_of_code_trims_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.deploy(1, "helper==1.0")
    monkeypatch.setattr(caches, "run_as_builder", None)
    shop.deploy(2, "helper==1.0", text="# changed\n")


def test_packages_that_only_builds_need_stay(shop: Shop) -> None:
    shop.deploy(1, "helper==1.0")
    builder = pwd.getpwnam(build_account(shop.layout.name))
    archive = next(shop.cache.glob("archive-v*"))
    for version in ("69.0", "70.0"):
        info = archive / f"tool{version}" / f"setuptools-{version}.dist-info"
        info.mkdir(parents=True)
        for path in (info.parent, info):
            os.chown(path, builder.pw_uid, builder.pw_gid)
        os.utime(info.parent, (float(version.split(".")[0]),) * 2)
    shop.deploy(2, "helper==2.0")
    assert shop.cached("setuptools") == ["70.0"]


def test_sources_of_earlier_releases_are_removed(shop: Shop) -> None:
    shop.deploy(1, "helper==1.0")
    builder = pwd.getpwnam(build_account(shop.layout.name))
    kept = []
    for name, age in (("old", 10_000), ("new", 0)):
        folder = shop.cache / "sdists-v10" / "url" / name
        folder.mkdir(parents=True)
        for path in (folder.parent, folder):
            os.chown(path, builder.pw_uid, builder.pw_gid)
        os.utime(folder, (time.time() - age + 100,) * 2)
        kept.append(folder)
    shop.deploy(2, "helper==2.0")
    assert [path.exists() for path in kept] == [False, True]


def test_builds_of_the_project_itself_do_not_pile_up(shop: Shop) -> None:
    project = {"own.py": BACKEND, "pyproject.toml": PYPROJECT}
    for number in range(1, 5):
        shop.deploy(number, "./", text=f"# {number}\n", **project)
    assert len(os.listdir(shop.layout.venvs)) == 1
    assert shop.cached("lone") == ["1.0"]
    assert list(shop.cache.glob("sdists-v*/path/*")) == []


def test_a_cache_that_is_far_too_large_is_removed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "SPARE", -(1024**3))
    shop.deploy(1, "helper==1.0")
    assert not shop.cache.exists()
    shop.deploy(2, "helper==2.0")


@pytest.mark.attack("11", "A build puts a link to other files into its cache, which is then trimmed")
def test_nothing_outside_of_the_cache_is_removed(shop: Shop) -> None:
    shop.deploy(1, "helper==1.0")
    outside = shop.bench.folder / "precious"
    (outside / "old-1.0.dist-info").mkdir(parents=True)
    outside.chmod(0o777)
    archive = next(shop.cache.glob("archive-v*"))
    (archive / "link").symlink_to(outside)
    shop.deploy(2, "helper==2.0")
    assert (outside / "old-1.0.dist-info").exists()
    shutil.rmtree(outside)
