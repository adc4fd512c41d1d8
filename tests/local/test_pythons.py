# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Interpreters that uv provides from an archive, which is made here of the interpreter of this machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import pwd
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import interpreters
from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.host import pythons
from ansible_collections.pyweb.stack.plugins.module_utils.release import listed_pythons, provided_pythons
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import fingerprint
from ansible_collections.pyweb.stack.plugins.module_utils.release.interpreters import InterpreterVersions
from ansible_collections.pyweb.stack.plugins.module_utils.release.provided_pythons import PythonError, Supply
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import Request
from hostile_account import needs_root

from local import test_building as builds
from local.test_building import APP, ID, Bench

pytestmark = needs_root

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv

SYSTEM = "/usr/bin/python3"
LAST = "20261122T010203Z-ab12cd34"
VERSION = subprocess.run(
    [SYSTEM, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"], capture_output=True, text=True, check=True
).stdout.strip()
MINOR = VERSION.rpartition(".")[0]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive in the layout of python-build-standalone, with the interpreter of this machine."""
    folder = tmp_path_factory.mktemp("archive")
    path = folder / f"cpython-{VERSION}+20261110-{platform.machine()}-unknown-linux-gnu-install_only_stripped.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as packed:
        packed.add(os.path.realpath(SYSTEM), f"python/bin/python{MINOR}")
        packed.add(f"/usr/lib/python{MINOR}", f"python/lib/python{MINOR}", filter=without_caches)
    return path


def without_caches(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    left_out = {"__pycache__", "test", "idlelib", "lib2to3", "dist-packages", "tkinter"}
    member.uid = member.gid = 0
    return None if member.issym() or left_out.intersection(member.name.split("/")) else member


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Shop:
    """A host whose own interpreters are hidden, and that gets others from an archive."""

    def __init__(self, bench: Bench, archive: Path, uv: str) -> None:
        self.bench, self.archive, self.uv = bench, archive, uv
        self.folder = bench.folder / "python"
        self.listing = bench.folder / "downloads.json"
        self.notes: list[str] = []
        self.list(digest(archive))

    def list(self, checksum: str | None) -> None:
        name, entry = provided_pythons.entry_of(
            {"name": self.archive.name, "path": str(self.archive), "sha256": "0" * 64}
        )
        self.listing.write_text(json.dumps({name: {**entry, "sha256": checksum}}))

    def given(self, interpreter: str | None, **changes: Any) -> dict[str, Any]:
        python = {"interpreter": interpreter, "packages": []}
        places = {"folder": str(self.folder), "listing": str(self.listing)}
        return {"python": python, "pythons": places, "notes": self.notes, **changes}

    def build(self, files: dict[str, str], interpreter: str | None = None, identity: str = ID) -> Path:
        return self.bench.build({"app.py": APP, **files}, identity, **self.given(interpreter))

    def refuse(self, files: dict[str, str], interpreter: str | None = None) -> str:
        return self.bench.refuse({"app.py": APP, **files}, **self.given(interpreter))

    @property
    def home(self) -> Path:
        return self.folder / f"cpython-{VERSION}-linux-{platform.machine()}-gnu"

    def prefix(self, identity: str = ID) -> str:
        return self.bench.run("python", "-c", "import sys; print(sys.base_prefix)", identity=identity).strip()


@pytest.fixture
def shop(bench: Bench, archive: Path, uv: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(pythons, "PLACES", ())
    shop = Shop(bench, archive, uv)
    os.chmod(bench.folder, 0o755)
    return shop


# Interpreters that uv provides


def test_a_version_that_the_host_lacks_is_provided(shop: Shop) -> None:
    shop.build({}, MINOR)
    assert shop.prefix() == str(shop.home)
    assert any(f"uv has installed Python {VERSION}" in note for note in shop.notes)
    assert sorted(path.name for path in shop.folder.iterdir() if not path.name.startswith(".")) == [shop.home.name]


def test_no_account_but_root_can_change_it_or_hold_its_lock(shop: Shop) -> None:
    shop.build({}, MINOR)
    for path in (shop.folder, *shop.folder.rglob("*")):
        status = path.lstat()
        assert status.st_uid == 0
        assert stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o022, path
    assert not (shop.folder / ".lock").stat().st_mode & 0o077
    owner = pwd.getpwnam(shop.bench.layout.name)
    read = ["/bin/sh", "-c", f"test -r {shop.home}/lib/python{MINOR}/os.py && ! test -w {shop.home}/bin"]
    subprocess.run(read, user=owner.pw_uid, group=owner.pw_gid, extra_groups=[], check=True)


def test_a_second_release_uses_it_without_a_download(shop: Shop) -> None:
    shop.build({}, MINOR)
    shop.listing.unlink()
    shop.build({"other.py": ""}, VERSION, identity=LAST)
    assert shop.prefix(LAST) == str(shop.home)


@pytest.mark.attack("low", "A mirror serves another archive of Python")
def test_another_archive_than_the_listed_one_is_not_installed(shop: Shop) -> None:
    shop.list("0" * 64)
    message = shop.refuse({}, MINOR)
    assert "The archive is not the one whose checksum is known" in message
    assert not shop.home.exists()


@pytest.mark.attack("low", "A list of downloads of Python has no checksum")
def test_a_download_without_a_checksum_is_refused(shop: Shop) -> None:
    shop.list(None)
    assert "has no entry with a sha256" in shop.refuse({}, MINOR)
    assert not shop.home.exists()


def test_a_version_that_nobody_has_is_refused(shop: Shop) -> None:
    message = shop.refuse({}, "3.99")
    assert "python.interpreter: '3.99' is set, but the host has no such Python" in message
    assert "The list of downloads has no such version" in message


@pytest.mark.attack("12", "The account of an application can replace uv, which root would run")
def test_root_runs_no_uv_that_others_can_change(shop: Shop, public: Path) -> None:
    other = public / "other"
    other.mkdir()
    program = Path(shutil.copy(shop.uv, other / "uv"))
    os.chown(program, pwd.getpwnam(shop.bench.layout.name).pw_uid, -1)
    with pytest.raises(PythonError, match="other accounts than root can change"):
        provided_pythons.find_or_provide(Request(MINOR, exact=True), Supply(str(program), str(shop.folder)), "/srv")
    shutil.rmtree(other)


# The choice of a source


def test_a_version_file_chooses_the_interpreter(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "DEFAULT", "python3.0")
    shop.build(
        {
            ".python-version": f"# as we develop\n{VERSION}\n",
            "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n',
        }
    )
    assert shop.prefix() == str(shop.home)
    (note,) = [note for note in shop.notes if "because" in note]
    assert f".python-version says {VERSION}" in note


def test_requires_python_chooses_the_interpreter(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "DEFAULT", "python3.0")
    project = f'[project]\nname = "shop"\nversion = "1"\nrequires-python = ">={MINOR}"\n'
    shop.build({"pyproject.toml": project, "requirements.txt": ""})
    assert shop.prefix() == str(shop.home)
    assert any(f"requires-python is '>={MINOR}'" in note for note in shop.notes)


@pytest.mark.parametrize("text", ["", "system\n", f"{MINOR}\n", f"{VERSION}\n", f"cpython-{MINOR}\n", f"{MINOR}.99\n"])
def test_a_fitting_interpreter_of_the_system_is_used(shop: Shop, text: str) -> None:
    shop.build({".python-version": text})
    assert shop.prefix() == "/usr"
    assert not shop.notes
    assert not shop.folder.exists()


def test_an_environment_of_pyenv_chooses_nothing_and_is_told(shop: Shop) -> None:
    shop.build({".python-version": "shop-env\n"})
    assert shop.prefix() == "/usr"
    (note,) = shop.notes
    assert ".python-version says 'shop-env', which is no version of CPython" in note


def test_the_inventory_wins_over_the_source_and_says_so(shop: Shop) -> None:
    shop.build({".python-version": "3.8.1\n"}, "python3")
    (note,) = shop.notes
    assert f"'python3' is Python {VERSION}, although .python-version says 3.8.1" in note


def test_a_version_that_the_source_excludes_is_refused(shop: Shop) -> None:
    project = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.99"\n'
    message = shop.refuse({"pyproject.toml": project}, MINOR)
    assert f"python.interpreter is '{MINOR}', but pyproject.toml says requires-python = '>=3.99'" in message


def test_a_source_that_no_python_fits_is_refused_with_the_way_out(shop: Shop) -> None:
    message = shop.refuse({".python-version": "3.99.1\n"})
    assert ".python-version says 3.99.1, but the host has no such Python" in message
    assert "Or set python.interpreter to python3" in message


def test_a_source_that_contradicts_itself_is_refused(shop: Shop) -> None:
    project = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.12"\n'
    message = shop.refuse({".python-version": "3.8\n", "pyproject.toml": project})
    assert ".python-version says 3.8 and requires-python is '>=3.12', so no Python fits both" in message


# Interpreters of the host


@pytest.fixture
def opt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like /opt/python, with an interpreter that runs that of the system."""
    folder = bench.folder / "opt"
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / f"python{MINOR}"
    program.symlink_to(os.path.realpath(SYSTEM))
    monkeypatch.setattr(pythons, "PLACES", (str(folder / "bin"),))
    return folder


def test_an_interpreter_of_the_host_is_found_before_uv_is_asked(shop: Shop, opt: Path) -> None:
    found, is_new = provided_pythons.find_or_provide(
        Request(MINOR, exact=True), Supply("/nowhere", str(shop.folder)), shop.bench.layout.root
    )
    assert (found.path, found.version, is_new) == (f"{opt}/bin/python{MINOR}", VERSION, False)


def test_an_environment_is_no_interpreter_of_the_host(shop: Shop, opt: Path) -> None:
    (opt / "pyvenv.cfg").write_text("home = /usr/bin\n")
    assert list(pythons.installed(MINOR)) == []


@pytest.mark.attack("12", "An account puts an interpreter where versions are searched")
def test_an_interpreter_that_another_account_can_change_is_not_found(shop: Shop, opt: Path) -> None:
    owner = pwd.getpwnam(shop.bench.layout.name)
    os.chown(opt, owner.pw_uid, owner.pw_gid)
    assert list(pythons.installed(MINOR)) == []


def test_an_interpreter_in_a_closed_home_names_the_folder(shop: Shop) -> None:
    home = shop.bench.folder / "admin"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python3").symlink_to(SYSTEM)
    home.chmod(0o700)
    message = shop.refuse({}, f"{home}/bin/python3")
    assert f"is in {home}, a folder of root that the account" in message
    assert "Set a version, such as '3.13', which uv provides" in message


# Unused interpreters


def test_an_interpreter_stays_while_an_environment_uses_it(shop: Shop) -> None:
    shop.build({}, MINOR)
    layout = shop.bench.layout
    assert listed_pythons.prune(layout, str(shop.folder)) == []
    for name in os.listdir(layout.venvs):
        shutil.rmtree(os.path.join(layout.venvs, name))
    assert listed_pythons.prune(layout, str(shop.folder)) == [VERSION]
    assert not shop.home.exists()


def test_an_interpreter_stays_while_another_application_is_deployed(shop: Shop) -> None:
    shop.build({}, MINOR)
    layout = shop.bench.layout
    for name in os.listdir(layout.venvs):
        shutil.rmtree(os.path.join(layout.venvs, name))
    other = Path(layout.root, "blog")
    other.mkdir()
    (other / ".lock").write_text("alice\n")
    assert listed_pythons.prune(layout, str(shop.folder)) == []
    (other / ".lock").write_text("")
    assert listed_pythons.prune(layout, str(shop.folder)) == [VERSION]


def test_a_listed_archive_is_installed_and_stays_while_it_is_listed(shop: Shop) -> None:
    folder = str(shop.folder)
    item = {"name": shop.archive.name, "sha256": digest(shop.archive), "path": str(shop.archive)}
    assert listed_pythons.apply_archives([item], shop.uv, True, folder)
    assert not shop.home.exists(), "check mode"
    assert listed_pythons.apply_archives([item], shop.uv, False, folder)
    assert not listed_pythons.apply_archives([{**item, "path": ""}], shop.uv, False, folder)
    assert pythons.state(folder) == [
        {"version": VERSION, "path": f"{shop.home}/bin/python{MINOR}", "listed": item["sha256"]}
    ]
    assert listed_pythons.prune(shop.bench.layout, folder) == []
    assert listed_pythons.apply_archives([], shop.uv, False, folder)
    assert listed_pythons.prune(shop.bench.layout, folder) == [VERSION]


# The fingerprint


def test_the_default_and_the_same_version_have_one_fingerprint(shop: Shop) -> None:
    def dependencies(interpreter: str | None) -> str:
        spec = {
            **shop.bench.spec({"app.py": APP}, **shop.given(interpreter)),
            "processes": [],
            "limits": {},
            "process_manager": "systemd",
        }
        spec["source"]["digest"] = "code"
        return fingerprint(spec, shop.bench.layout, InterpreterVersions(shop.bench.layout.root), True)["dependencies"]

    assert dependencies(None) == dependencies("python3") == dependencies(MINOR)
    assert dependencies(MINOR) != dependencies("3.99")


def test_an_environment_does_not_depend_on_where_its_interpreter_is(shop: Shop) -> None:
    shop.build({}, "python3")
    (name,) = os.listdir(shop.bench.layout.venvs)
    shop.build({}, None, identity=LAST)
    assert os.listdir(shop.bench.layout.venvs) == [name]


def test_the_interpreter_is_chosen_by_the_source_in_the_application_root(shop: Shop) -> None:
    spec = shop.bench.spec({"api/app.py": APP, "api/x": "", ".python-version": f"{MINOR}.1\n"})
    folder = Path(shop.bench.layout.release(ID), "src", "api")
    folder.mkdir(parents=True)
    (folder.parent / ".python-version").write_text("3.98\n")
    spec["source"]["subdir"] = "api"
    build = Build({**spec, **shop.given(None)}, shop.bench.layout, shop.uv, "code", ID)
    with pytest.raises(Exception, match=r"says 3\.98"):
        interpreters.find_interpreter(build)


def test_the_own_environment_of_a_release_has_the_interpreter_of_the_shared_one(shop: Shop) -> None:
    project = {"setup.py": "from setuptools import setup\nsetup(name='lone', version='1', py_modules=['lone'])\n"}
    shop.build({"requirements.txt": "itsdangerous\n", **project}, "python3")
    shop.build({"requirements.txt": ".\nitsdangerous\n", **project, "lone.py": ""}, MINOR, identity=LAST)
    (name,) = {os.path.basename(os.path.dirname(path)) for path in Path(shop.bench.layout.venvs).glob("*/pyvenv.cfg")}
    assert shop.prefix(LAST) == shop.prefix()
    assert listed_pythons.interpreter_home(os.path.join(shop.bench.layout.venvs, name)) == "/usr/bin"


def test_an_interpreter_stays_while_the_own_environment_of_a_release_uses_it(shop: Shop) -> None:
    release = shop.build({}, MINOR)
    layout = shop.bench.layout
    shutil.copytree(os.path.join(layout.venvs, *os.listdir(layout.venvs)), shop.bench.folder / "own", symlinks=True)
    shutil.rmtree(layout.venvs)
    (release / "venv").unlink()
    (shop.bench.folder / "own").rename(release / "venv")
    assert listed_pythons.prune(layout, str(shop.folder)) == []
    shutil.rmtree(release)
    assert listed_pythons.prune(layout, str(shop.folder)) == [VERSION]
