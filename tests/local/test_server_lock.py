# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An index that serves another file for an app server, for a package that it needs, or for uv itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import uv as installer
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import fingerprint
from ansible_collections.pyweb.stack.plugins.module_utils.release.interpreters import InterpreterVersions
from hostile_account import needs_root

from local import test_building as builds
from local.test_building import APP, Bench, wheel

pytestmark = needs_root

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
NEEDS = {"gunicorn": ["helper>=2"], "helper": []}
VERSION = {"gunicorn": "27.0.1", "helper": "2.0"}
CHOSEN = "gunicorn>=22.0"


class Shelf:
    """A package index in a folder, and a lock of the files that are in it now."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.folder = bench.folder / "index"
        self.lock: dict[str, Any] = {"requirements": [CHOSEN], "versions": {}, "hashes": {}, "sources": {}}
        for name, version in VERSION.items():
            self.serve(name, version, requires="helper>=2" if name == "gunicorn" else "")
            self.lock["hashes"][f"{name}=={version}"] = [self.digest(name)]
        minors = [f"3.{minor}" for minor in range(9, 15)]
        self.lock["versions"] = {one: {name: [VERSION[name], NEEDS[name]] for name in NEEDS} for one in minors}

    def serve(self, name: str, version: str, text: str = "", requires: str = "") -> None:
        wheel(self.folder / name, name, version, text, requires)
        links = "".join(f'<a href="{one.name}">{one.name}</a>' for one in sorted((self.folder / name).glob("*.whl")))
        (self.folder / name / "index.html").write_text(f"<html><body>{links}</body></html>")
        for path in (self.folder, *self.folder.rglob("*")):
            path.chmod(0o755)

    def digest(self, name: str) -> str:
        path = self.folder / name / f"{name}-{VERSION[name]}-py3-none-any.whl"
        return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()

    def given(self, **changes: Any) -> dict[str, Any]:
        python = {"interpreter": "python3", "packages": [], "index_url": self.folder.as_uri()}
        return {"server_packages": [CHOSEN], "server_lock": self.lock, "python": python, **changes}

    def installed(self) -> str:
        code = "import importlib.metadata as m; print(m.version('gunicorn'), m.version('helper'))"
        return self.bench.run("python", "-c", code).strip()


@pytest.fixture
def shelf(bench: Bench) -> Shelf:
    return Shelf(bench)


def test_the_locked_files_are_installed_and_not_the_newest(bench: Bench, shelf: Shelf) -> None:
    shelf.serve("gunicorn", "99.0")
    bench.build({"app.py": APP}, **shelf.given())
    assert shelf.installed() == "27.0.1 2.0"


@pytest.mark.attack("low", "A package index serves another file for the app server, or for a package it needs")
@pytest.mark.parametrize("name", ["gunicorn", "helper"])
def test_another_file_of_the_same_version_is_refused(bench: Bench, shelf: Shelf, name: str) -> None:
    shelf.serve(name, VERSION[name], "raise SystemExit('evil')", "helper>=2" if name == "gunicorn" else "")
    message = bench.refuse({"app.py": APP}, **shelf.given())
    assert "could not install gunicorn==27.0.1 with the hashes of this collection" in message
    assert "compare the package on your index or mirror with the original" in message
    assert f"{name}==" in message
    assert "webapp_server_requirements chooses another version" in message


@pytest.mark.attack(
    "low", "A package index lacks the locked version and offers another, to get it installed without a hash"
)
def test_an_index_without_the_locked_version_changes_nothing(bench: Bench, shelf: Shelf) -> None:
    shutil.rmtree(shelf.folder / "gunicorn")
    shelf.serve("gunicorn", "26.9", "raise SystemExit('evil')")
    message = bench.refuse({"app.py": APP}, **shelf.given())
    assert "could not install gunicorn==27.0.1 with the hashes of this collection" in message


@pytest.mark.attack("low", "A package index offers the locked version as a source file, to run code in its build")
def test_a_source_file_is_not_built(bench: Bench, shelf: Shelf) -> None:
    path = shelf.folder / "gunicorn"
    shutil.rmtree(path)
    source = bench.folder / "gunicorn-27.0.1"
    source.mkdir()
    mark = bench.folder / "built"
    (source / "setup.py").write_text(f"open({str(mark)!r}, 'w')\nimport setuptools\nsetuptools.setup(name='gunicorn')")
    path.mkdir()
    subprocess.run(["tar", "-czf", str(path / "gunicorn-27.0.1.tar.gz"), "-C", source.parent, source.name], check=True)
    (path / "index.html").write_text('<html><body><a href="gunicorn-27.0.1.tar.gz">x</a></body></html>')
    digest = hashlib.sha256((path / "gunicorn-27.0.1.tar.gz").read_bytes()).hexdigest()
    shelf.lock["hashes"]["gunicorn==27.0.1"].append(f"sha256:{digest}")
    for one in (path, *path.iterdir()):
        one.chmod(0o755)
    assert "with the hashes of this collection" in bench.refuse({"app.py": APP}, **shelf.given())
    assert not mark.exists()


def test_an_application_keeps_its_own_packages(bench: Bench, shelf: Shelf) -> None:
    """A package that it has installed itself needs none of our hashes."""
    shelf.serve("helper", "3.0", "OURS = True")
    python = {**shelf.given()["python"], "packages": ["helper==3.0"]}
    bench.build({"app.py": APP}, **shelf.given(python=python))
    assert shelf.installed() == "27.0.1 3.0"


@pytest.mark.parametrize(
    ("files", "packages", "wanted"),
    [
        ({}, ["helper==1.0"], "23.0.0 1.0"),
        ({"requirements.txt": "-c limits.txt\nhelper\n", "limits.txt": "gunicorn<24\n"}, [], "23.0.0 2.0"),
        ({}, ["gunicorn==23.0.0"], "23.0.0 2.0"),
    ],
    ids=["a package that the locked server can't use", "a constraint", "a server of its own"],
)
def test_an_application_that_the_lock_does_not_fit_gets_a_server_that_fits(
    bench: Bench, shelf: Shelf, files: dict[str, str], packages: list[str], wanted: str
) -> None:
    shelf.serve("gunicorn", "23.0.0", requires="helper>=1")
    shelf.serve("helper", "1.0")
    notes: list[str] = []
    python = {**shelf.given()["python"], "packages": packages}
    bench.build({"app.py": APP, **files}, **shelf.given(python=python, notes=notes))
    assert shelf.installed() == wanted
    assert len(notes) == (0 if packages == ["gunicorn==23.0.0"] else 1), notes
    assert all("gunicorn is installed without the hashes of this collection, because" in note for note in notes)


def test_a_chosen_requirement_gets_the_newest_version(bench: Bench, shelf: Shelf) -> None:
    shelf.serve("gunicorn", "99.0", requires="helper>=2")
    bench.build({"app.py": APP}, **shelf.given(server_packages=["gunicorn>=23"]))
    assert shelf.installed() == "99.0 2.0"


def test_a_newer_lock_makes_no_new_environment(bench: Bench, shelf: Shelf) -> None:
    """An upgrade of the collection does not rebuild an unchanged application."""
    bench.build({"app.py": APP}, **shelf.given())
    shelf.serve("gunicorn", "28.0")
    for packages in shelf.lock["versions"].values():
        packages["gunicorn"] = ["28.0", []]
    shelf.lock["hashes"] = {"gunicorn==28.0": ["sha256:" + "0" * 64]}
    bench.build({"app.py": APP}, "20261122T010203Z-ab12cd34", **shelf.given())
    assert len(os.listdir(bench.layout.venvs)) == 1
    spec = {**bench.spec({"app.py": APP}), "process_manager": "systemd", "limits": {}, "processes": []}
    spec["source"]["digest"] = "x"
    found = [
        fingerprint({**spec, "server_lock": lock}, bench.layout, InterpreterVersions(bench.layout.root), True)
        for lock in (shelf.lock, None)
    ]
    # Without a key, the digest of secrets is another one each time.
    assert all(found[0][part] == found[1][part] for part in ("code", "dependencies", "settings"))


# uv


def run(argv: list[str]) -> tuple[int, str, str]:
    answer = subprocess.run(argv, capture_output=True, text=True, check=False)
    return answer.returncode, answer.stdout, answer.stderr


@pytest.mark.attack("low", "A package index serves another file for uv, which installs everything else")
def test_another_uv_is_refused(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = bench.folder / "uv-index"
    wheel(shelf / "uv", "uv", installer.VERSION)
    name = f"uv-{installer.VERSION}-py3-none-any.whl"
    (shelf / "uv/index.html").write_text(f'<html><body><a href="{name}">{name}</a></body></html>')
    for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    given = {"home": str(tmp_path / "uv"), "version": installer.VERSION, "index_url": shelf.as_uri()}
    with pytest.raises(HostError, match="the index has another file for uv") as caught:
        installer.apply(given, run, False)
    assert "DO NOT MATCH THE HASHES" in str(caught.value)
    assert installer.installed_version(given["home"]) == ""
