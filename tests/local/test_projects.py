# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
# ruff: noqa: F811  # an imported fixture is an argument of each test
"""How the project itself and the libraries of its source are installed, with a real uv and real build backends."""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import project
from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.release.cloning import clone
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    WITHDRAWN,
    ReleaseError,
    manifests,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.resolutions import Unresolved
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.exact import Package
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import origin_of
from repositories import git
from test_building import (  # noqa: F401  # fixtures
    APP,
    ID,
    Bench,
    account,
    bench,
    needs_root,
    public,
    uv,
    wheel,
)

SECOND, THIRD = "20261121T020304Z-ab12cd34", "20261121T030405Z-ab12cd34"
SETUPTOOLS = '[build-system]\nrequires = ["setuptools>=68"]\nbuild-backend = "setuptools.build_meta"\n'
HATCHLING = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
FLIT = '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n'
POETRY = '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n'
PDM = '[build-system]\nrequires = ["pdm-backend"]\nbuild-backend = "pdm.backend"\n'
PROJECT = '[project]\nname = "shop"\nversion = "1.4.0"\ndescription = "x"\n'
SCRIPT = '[project.scripts]\nshop-admin = "shop.cli:main"\n'
SHOP = {
    "shop/__init__.py": f"from importlib.metadata import version\n__version__ = version('shop')\n{APP}",
    "shop/cli.py": "import sys\ndef main():\n    print('did', sys.argv[1:])\n",
}
SRC = {f"src/{name}": text for name, text in SHOP.items()}
CORE = {
    "libs/core/pyproject.toml": f'{HATCHLING}[project]\nname = "core"\nversion = "1.0"\n',
    "libs/core/src/core/__init__.py": "NAME = 'core'\n",
}
TELL = "import shop; print(shop.__version__)"
SETUP = "from setuptools import setup\nsetup(name='shop', version='1.4.0', packages=['shop']{more})\n"
ENTRY = ", entry_points={'console_scripts': ['shop-admin=shop.cli:main']}"


@needs_root
@pytest.mark.parametrize(
    "files",
    [
        {**SHOP, "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{SCRIPT}[tool.setuptools]\npackages = ['shop']\n"},
        {**SRC, "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{SCRIPT}"},
        {**SRC, "pyproject.toml": f"{HATCHLING}{PROJECT}{SCRIPT}"},
        {**SHOP, "pyproject.toml": f"{FLIT}{PROJECT}{SCRIPT}"},
        {**SRC, "pyproject.toml": f"{POETRY}{PROJECT}{SCRIPT}"},
        {**SRC, "pyproject.toml": f"{PDM}{PROJECT}{SCRIPT}"},
        {**SHOP, "setup.py": SETUP.format(more=ENTRY)},
        {**SHOP, "setup.py": SETUP.format(more=ENTRY), "pyproject.toml": "[tool.black]\nline-length = 100\n"},
        {
            **SHOP,
            "setup.py": "from setuptools import setup\nsetup()\n",
            "setup.cfg": "[metadata]\nname = shop\nversion = 1.4.0\n[options]\npackages = shop\n"
            "[options.entry_points]\nconsole_scripts =\n    shop-admin = shop.cli:main\n",
        },
        {**SHOP, "setup.py": SETUP.format(more=ENTRY), "requirements.txt": "-e .\n"},
        {**SHOP, "setup.py": SETUP.format(more=ENTRY), "requirements.txt": ".\n"},
        {**SRC, "pyproject.toml": f"{HATCHLING}{PROJECT}{SCRIPT}", "requirements.txt": "-e .[more]\n"},
        {
            **SHOP,
            "VERSION": "1.4.0",
            "needs.txt": "",
            "pyproject.toml": f'{SETUPTOOLS}[project]\nname = "shop"\ndynamic = ["version", "dependencies"]\n{SCRIPT}'
            "[tool.setuptools]\npackages = ['shop']\n[tool.setuptools.dynamic]\nversion = {file = 'VERSION'}\n"
            "dependencies = {file = 'needs.txt'}\n",
        },
    ],
    ids=lambda files: "-".join(sorted(name for name in files if "/" not in name)),
)
def test_a_project_is_installed_with_its_metadata_and_programs(bench: Bench, files: dict[str, str]) -> None:
    release = bench.build(files, wsgi="shop:app")
    assert bench.run("python", "-c", TELL) == "1.4.0\n"
    assert bench.run("shop-admin", "migrate") == "did ['migrate']\n"
    assert bench.run("python", "-c", "import sys; print(sys.prefix)").strip() == str(release / "venv")
    assert (release / "venv/bin/shop-admin").exists()
    assert not list((release / "src").rglob("*.egg-info"))
    subprocess.run([release / "venv/bin/shop-admin"], env={}, check=True, capture_output=True)
    for base, folders, names in os.walk(release / "venv"):
        for entry in [base, *(os.path.join(base, name) for name in folders + names)]:
            assert os.path.islink(entry) or os.lstat(entry).st_uid == 0, entry


def lock(files: dict[str, str], folder: Path, uv: str, *options: str) -> dict[str, str]:
    """The files of a project and the lock that uv makes of them."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run([uv, "lock", "--quiet", *options], cwd=folder, check=True)
    return {**files, "uv.lock": (folder / "uv.lock").read_text()}


NEEDS = 'requires-python = ">=3.9"\ndependencies = ["itsdangerous"]\n'


@needs_root
def test_a_lock_installs_what_it_lists_and_the_project(bench: Bench, tmp_path: Path, uv: str) -> None:
    files = lock({**SRC, "pyproject.toml": f"{HATCHLING}{PROJECT}{NEEDS}{SCRIPT}"}, tmp_path, uv)
    release = bench.build(files, wsgi="shop:app")
    assert bench.run("python", "-c", f"import itsdangerous; {TELL}") == "1.4.0\n"
    assert bench.run("shop-admin", "migrate") == "did ['migrate']\n"
    changed = {**files, "src/shop/__init__.py": files["src/shop/__init__.py"] + "MORE = 1\n"}
    bench.build(changed, SECOND, wsgi="shop:app")
    assert bench.run("python", "-c", "import shop; print(shop.MORE)", identity=SECOND) == "1\n"
    assert len(os.listdir(bench.layout.venvs)) == 1, "a change of code makes no shared environment"
    assert not (release / "venv").is_symlink()


@needs_root
@pytest.mark.parametrize("package", ["package = false\n", ""])
def test_a_project_that_is_no_package_is_not_installed(
    bench: Bench,
    tmp_path: Path,
    uv: str,
    package: str,
) -> None:
    system = f"[tool.uv]\n{package}{HATCHLING}" if package else ""
    files = lock({"app.py": APP, "pyproject.toml": f"{system}{PROJECT}{NEEDS}"}, tmp_path, uv)
    assert (bench.build(files) / "venv").is_symlink()
    files.pop("uv.lock")
    assert (bench.build(files, SECOND) / "venv").is_symlink()
    assert bench.run("python", "-c", "import itsdangerous; print(1)", identity=SECOND) == "1\n"


@needs_root
def test_a_member_of_a_workspace_gets_its_siblings(bench: Bench, tmp_path: Path, uv: str) -> None:
    member = f'{HATCHLING}{PROJECT}requires-python = ">=3.9"\ndependencies = ["core"]\n{SCRIPT}'
    files = {
        **CORE,
        "pyproject.toml": '[tool.uv.workspace]\nmembers = ["backend", "libs/core"]\n',
        **{f"backend/{name}": text for name, text in SRC.items()},
        "backend/pyproject.toml": f"{member}[tool.uv.sources]\ncore = {{workspace = true}}\n",
        "libs/core/src/core/data.txt": "data",
    }
    for number, given in enumerate((lock(files, tmp_path, uv), files)):
        spec = bench.spec(given, wsgi="shop:app")
        spec["source"]["subdir"] = "backend"
        identity = (ID, SECOND)[number]
        bench.build_spec(spec, identity)
        tell = f"import core; print(core.NAME, core.__file__); {TELL}"
        core, version = bench.run("python", "-c", tell, identity=identity).splitlines()
        assert core.startswith(f"core {bench.layout.release(identity)}/venv/lib/")
        assert version == "1.4.0"


@needs_root
def test_a_lock_with_an_index_of_its_own(bench: Bench, tmp_path: Path, uv: str) -> None:
    wheel(tmp_path / "wheels", "companylib", "1.4.0", "ANSWER = 42\n")
    sources = '[[tool.uv.index]]\nname = "company"\nurl = "./wheels"\nformat = "flat"\nexplicit = true\n'
    sources += '[tool.uv.sources]\ncompanylib = {index = "company"}\n'
    project = f'{PROJECT}requires-python = ">=3.9"\ndependencies = ["companylib"]\n{sources}'
    files = lock({"app.py": APP, "pyproject.toml": project}, tmp_path, uv)

    def build(identity: str, code: str, *without: str) -> str:
        spec = bench.spec({name: text for name, text in files.items() if name not in without})
        add_wheels(bench, spec, tmp_path / "wheels")
        bench.build_spec(spec, identity, code)
        return bench.run("python", "-c", "import companylib; print(companylib.ANSWER)", identity=identity).strip()

    assert build(ID, "one") == "42"
    # Without the folder of its author, as a lock that was made for several machines.
    files["uv.lock"] = files["uv.lock"].replace(f"file://{tmp_path}/wheels", "wheels")
    assert build("20261121T010204Z-ab12cd34", "one") == "42"
    assert build(SECOND, "one", "uv.lock") == "42"
    (tmp_path / "wheels/companylib-1.4.0-py3-none-any.whl").unlink()
    wheel(tmp_path / "wheels", "companylib", "1.4.0", "ANSWER = 43\n")
    assert build(THIRD, "two", "uv.lock") == "43"


def add_wheels(bench: Bench, spec: dict[str, Any], wheels: Path) -> None:
    """Put a folder of wheels into the source of a specification."""

    from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import archive, source_files

    source = max(bench.folder.glob("source-*"))
    shutil.copytree(wheels, source / "wheels")
    spec["source"]["data"] = base64.b64encode(archive(source, source_files(source))).decode()


LIBRARIES = ["./libs/core", "libs/core", "core @ file:libs/core", "-e ./libs/core", "file:libs/core"]


@needs_root
@pytest.mark.sampled(by=lambda where: where in ("./libs/core", "python: libs/core", "nested", "lock"))
@pytest.mark.parametrize(
    "where", [*LIBRARIES, *(f"python: {one}" for one in LIBRARIES if one[0] != "-"), "nested", "pyproject", "lock"]
)
def test_a_library_of_the_source_that_changes_is_installed_anew(
    bench: Bench,
    tmp_path: Path,
    uv: str,
    where: str,
) -> None:
    files, packages = {"app.py": APP, **CORE}, []
    if where.startswith("python: "):
        packages = [where[8:]]
    elif where == "nested":
        files |= {"requirements.txt": "-r more/base.in\n", "more/base.in": "./libs/core\n"}
    elif where in ("pyproject", "lock"):
        sources = "[tool.uv.sources]\ncore = {path = 'libs/core'}\n"
        files["pyproject.toml"] = f'{PROJECT}requires-python = ">=3.9"\ndependencies = ["core"]\n{sources}'
        files = lock(files, tmp_path, uv) if where == "lock" else files
    else:
        files["requirements.txt"] = f"{where}\n"
    python = {"interpreter": "python3", "packages": packages}
    told = []
    for identity, name in ((ID, "core"), (SECOND, "cord")):
        files["libs/core/src/core/__init__.py"] = f"NAME = '{name}'\n"
        bench.build_spec(bench.spec(files, python=python), identity, code=name)
        told.append(bench.run("python", "-c", "import core; print(core.NAME)", identity=identity).strip())
    assert told == ["core", "cord"]
    assert bench.run("python", "-c", "import core; print(core.NAME)").strip() == "core", "the older release"
    assert len(os.listdir(bench.layout.venvs)) == 1


@needs_root
def test_files_that_a_build_generates_are_part_of_the_package(bench: Bench) -> None:
    project = f'{SETUPTOOLS}[project]\nname = "shop"\nversion = "1"\n[tool.setuptools]\npackages = ["shop"]\n'
    setup = (
        "from setuptools import setup\nfrom setuptools.command.build_py import build_py\n"
        "class Build(build_py):\n    def run(self):\n        super().run()\n"
        "        open(self.build_lib + '/shop/_made.py', 'w').write('A = 1')\n"
        "setup(cmdclass={'build_py': Build})\n"
    )
    files = {
        "shop/__init__.py": f"from shop._made import A\n{APP}",
        "shop/page.html": "a page that the project does not declare as data of its package",
        "pyproject.toml": project,
        "setup.py": setup,
    }
    bench.build(files, wsgi="shop:app")
    tell = "import shop, os; print(os.path.dirname(shop.__file__), *sorted(os.listdir(os.path.dirname(shop.__file__))))"
    folder, *names = bench.run("python", "-c", tell).split()
    assert folder.endswith("/src/shop")
    assert {"_made.py", "page.html"} <= set(names)


@needs_root
def test_a_project_in_which_setuptools_finds_too_much_runs_from_its_folder(bench: Bench) -> None:
    for identity, dynamic in ((ID, 'version = "1"'), (SECOND, 'dynamic = ["version"]')):
        project = f'{SETUPTOOLS}[project]\nname = "shop"\n{dynamic}\ndependencies = ["itsdangerous"]\n'
        files = {"app.py": APP, "shop/__init__.py": "", "migrations/__init__.py": "", "pyproject.toml": project}
        notes: list[str] = []
        bench.build(files, identity, notes=notes)
        assert "Multiple top-level packages discovered" in notes[0]
        assert "set 'package = false' in [tool.uv]" in notes[0]
        assert bench.run("python", "-c", "import itsdangerous; print(1)", identity=identity) == "1\n"


@needs_root
def test_a_pyproject_of_tools_alone_is_no_project(bench: Bench) -> None:
    files = {"app.py": APP, "pyproject.toml": "[tool.black]\nline-length = 100\n", "shop/__init__.py": ""}
    release = bench.build({**files, "tests/__init__.py": ""})
    assert (release / "venv").is_symlink()


def offered(bench: Bench, *packages: str, **requires: str) -> str:
    """Lines of a requirements file that name an index in a folder with these packages, NAME==VERSION."""
    for package in packages:
        name, _equals, version = package.partition("==")
        wheel(bench.folder / "offered", name, version, f"VERSION = '{version}'\n", requires=requires.get(name, ""))
    for path in (bench.folder / "offered", *(bench.folder / "offered").iterdir()):
        path.chmod(0o755)
    return f"--no-index\n--find-links {bench.folder}/offered\n"


def version_of(bench: Bench, name: str, identity: str = ID) -> str:
    code = f"import importlib.metadata as m; print(m.version('{name}'))"
    return bench.run("python", "-c", code, identity=identity).strip()


@needs_root
def test_a_newer_version_changes_nothing_until_it_is_asked_for(bench: Bench) -> None:
    listed = offered(bench, "one==1.0")
    files = {"app.py": APP, "requirements.txt": f"{listed}one\n"}
    bench.build(files)
    offered(bench, "one==2.0", "two==1.0")
    bench.build({**files, "app.py": f"{APP}# changed\n"}, SECOND)
    assert version_of(bench, "one", SECOND) == "1.0", "the same inputs"
    bench.build({**files, "requirements.txt": f"{listed}one\ntwo\n"}, THIRD)
    assert version_of(bench, "one", THIRD) == "1.0", "other inputs, which the old version still fits"
    assert version_of(bench, "two", THIRD) == "1.0"
    fourth, fifth = "20261121T040405Z-ab12cd34", "20261121T050405Z-ab12cd34"
    bench.build({**files, "requirements.txt": f"{listed}one>=2\n"}, fourth)
    assert version_of(bench, "one", fourth) == "2.0"
    offered(bench, "one==3.0")
    bench.build(files, fifth, upgrade=True)
    assert version_of(bench, "one", fifth) == "3.0"


@needs_root
@pytest.mark.parametrize("state", [BAD, WITHDRAWN])
@pytest.mark.parametrize("more", ["", "two\n"])
def test_versions_of_a_release_that_failed_are_not_used_again(bench: Bench, state: str, more: str) -> None:
    listed = offered(bench, "one==1.0")
    files = {"app.py": APP, "requirements.txt": f"{listed}one\n"}
    bench.build(files)
    os.symlink(os.path.join("releases", ID), bench.layout.current)
    offered(bench, "one==2.0", "two==1.0")
    bench.build(files, SECOND, upgrade=True)
    assert version_of(bench, "one", SECOND) == "2.0"
    (failed, _live) = manifests(bench.layout)
    failed.state = state
    write_manifest(bench.layout, failed)
    bench.build({"app.py": f"{APP}# corrected\n", "requirements.txt": f"{listed}one\n{more}"}, THIRD)
    assert version_of(bench, "one", THIRD) == "1.0"


@needs_root
def test_the_versions_of_another_host_are_installed_exactly(bench: Bench) -> None:
    listed = offered(bench, "one==1.0", "one==1.5")
    files = {"app.py": APP, "requirements.txt": f"{listed}one\n"}
    with pytest.raises(Unresolved) as caught:
        bench.build(files, shared_inputs=[])
    offer = caught.value.offer
    assert (offer["versions"], offer["recorded"]) == ([{"name": "one", "version": "1.5"}], False)
    assert os.listdir(bench.layout.releases) == [], "nothing is left of a build that waits"
    # Meanwhile, the index gets a newer version.
    offered(bench, "one==2.0", "evil==1.0")
    given = {"inputs": offer["inputs"], "versions": [{"name": "one", "version": "1.0"}], "host": "web1"}
    release = bench.build(files, resolution=given)
    assert version_of(bench, "one", ID) == "1.0"
    record = release / "resolution.toml"
    assert record.read_text().startswith(f"# The inputs: {offer['inputs']}\n# The versions: ")
    assert record.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Unresolved) as caught:
        bench.build({**files, "app.py": f"{APP}# changed\n"}, SECOND, shared_inputs=[])
    assert caught.value.offer == {"inputs": offer["inputs"], "versions": given["versions"], "recorded": True}
    bench.build({**files, "app.py": f"{APP}# changed\n"}, SECOND, shared_inputs=[offer["inputs"]])
    assert version_of(bench, "one", SECOND) == "1.0"
    for number, (versions, words) in enumerate(
        (
            ([*given["versions"], {"name": "evil", "version": "1.0"}], r"evil \(1.0 there, not needed here\)"),
            ([{"name": "one", "version": "0.9"}], r"one \(0.9 there, 2.0 here\)"),
            ([], r"one \(not listed there, 2.0 here\)"),
        )
    ):
        identity = f"2026112{number + 2}T030405Z-ab12cd34"
        with pytest.raises(ReleaseError, match=f"web1 has resolved versions that do not fit here: {words}"):
            bench.build(files, identity, resolution={**given, "versions": versions}, upgrade=True)


@needs_root
def test_inputs_with_secrets_are_the_same_on_all_hosts(bench: Bench) -> None:
    """Each host has its own key for the fingerprints of secrets."""
    files = {"app.py": APP, "requirements.txt": "-e .\n", "setup.py": "from setuptools import setup\nsetup(name='x')\n"}
    found = []
    for secret in ("1", "1", "2"):
        Path(bench.layout.path(".fingerprint_key")).unlink(missing_ok=True)
        with pytest.raises(Unresolved) as caught:
            bench.build(files, shared_inputs=[], env={"TOKEN": secret})
        found.append(caught.value.offer["inputs"])
    assert found[0] == found[1] != found[2]


def digest_of(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


@needs_root
def test_files_with_hashes_are_installed_as_they_are_and_the_server_beside_them(bench: Bench) -> None:
    listed = offered(bench, "web==1.0", "web==2.0", "helper==1.0", "gunicorn==23.0.0", web="helper")
    hashes = {name: digest_of(bench.folder / f"offered/{name}-1.0-py3-none-any.whl") for name in ("web", "helper")}
    lines = "".join(f"{name}==1.0 --hash=sha256:{value}\n" for name, value in hashes.items())
    packages = {"interpreter": "python3", "packages": ["gunicorn==23.0.0"]}
    files = {"app.py": APP, "requirements.txt": f"--require-hashes\n{listed}{lines}"}
    index = {"UV_FIND_LINKS": f"{bench.folder}/offered"}
    bench.build(files, python=packages, server_packages=["gunicorn>=22.0"], env=index)
    assert (version_of(bench, "web"), version_of(bench, "gunicorn")) == ("1.0", "23.0.0")
    wrong = {**files, "requirements.txt": files["requirements.txt"].replace(hashes["web"], "0" * 64)}
    with pytest.raises(ReleaseError, match="another file for this version"):
        bench.build(wrong, SECOND, python=packages, env=index)
    missing = {**files, "requirements.txt": f"{listed}web==1.0 --hash=sha256:{hashes['web']}\n"}
    with pytest.raises(ReleaseError, match="helper"):
        bench.build(missing, THIRD, python=packages, env=index)


@needs_root
@pytest.mark.parametrize("top", ["# This file is autogenerated by pip-compile with Python 3.11", "# by hand"])
def test_a_list_that_a_tool_has_made_is_not_resolved_again(bench: Bench, top: str) -> None:
    listed = offered(bench, "web==1.0", "helper==1.0", "helper==2.0", web="helper<2")
    files = {"app.py": APP, "requirements.txt": f"{top}\n{listed}web==1.0\nhelper==2.0\n"}
    if "hand" in top:
        with pytest.raises(ReleaseError, match="could not resolve"):
            bench.build(files)
        return
    files["requirements.txt"] = f"{top}\nweb==1.0\nhelper==2.0\n"
    for path in (bench.folder / "offered").glob("*.whl"):
        page = bench.folder / "simple" / path.name.partition("-")[0] / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a") as stream:
            stream.write(f'<a href="{path.as_uri()}">{path.name}</a>')
    index = f"file://{bench.folder}/simple"
    bench.build(files, python={"interpreter": "python3", "packages": [], "index_url": index})
    assert (version_of(bench, "web"), version_of(bench, "helper")) == ("1.0", "2.0")


@needs_root
def test_a_constraint_that_names_the_server_installs_none_and_limits_ours(bench: Bench) -> None:
    listed = offered(bench, "gunicorn==23.0.0", "gunicorn==24.0.0", "web==1.0")
    files = {"app.py": APP, "requirements.txt": f"{listed}-c limits.txt\nweb\n", "limits.txt": "gunicorn==23.0.0\n"}
    env = {"UV_FIND_LINKS": f"{bench.folder}/offered"}
    bench.build(files, server_packages=["gunicorn>=22.0"], env=env)
    assert version_of(bench, "gunicorn") == "23.0.0"
    project = f'{PROJECT}requires-python = ">=3.9"\ndependencies = ["gunicorn==23.0.0 ; python_version > \'3\'"]\n'
    bench.build({"app.py": APP, "pyproject.toml": project}, SECOND, server_packages=["gunicorn>=22.0"], env=env)
    assert version_of(bench, "gunicorn", SECOND) == "23.0.0"


@needs_root
def test_extras_and_groups_are_chosen_by_their_keys(bench: Bench, tmp_path: Path, uv: str) -> None:
    project = (
        f'{HATCHLING}{PROJECT}requires-python = ">=3.9"\n[project.optional-dependencies]\nmore = ["itsdangerous"]\n'
        '[dependency-groups]\nprod = ["blinker"]\ndev = ["markupsafe"]\n'
    )
    files = lock({**SRC, "pyproject.toml": project}, tmp_path, uv)
    python = {"interpreter": "python3", "packages": [], "extras": ["more"], "groups": ["prod"]}
    tell = "from importlib.metadata import distributions; print(*sorted(d.name.lower() for d in distributions()))"
    for identity, without in ((ID, ""), (SECOND, "uv.lock")):
        given = {name: text for name, text in files.items() if name != without}
        bench.build(given, identity, python=python, wsgi="shop:app")
        assert bench.run("python", "-c", tell, identity=identity).split() == ["blinker", "itsdangerous", "shop"]
    with pytest.raises(ReleaseError, match="Remove these keys"):
        bench.build({"app.py": APP, "requirements.txt": ""}, THIRD, python=python)


@needs_root
def test_overrides_of_the_project_count(bench: Bench, tmp_path: Path, uv: str) -> None:
    listed = offered(bench, "web==1.0", "helper==1.0", "helper==2.0", web="helper<2").split()[-1]
    settings = f'[tool.uv]\noverride-dependencies = ["helper==2.0"]\nno-index = true\nfind-links = ["{listed}"]\n'
    project = f'{PROJECT}requires-python = ">=3.9"\ndependencies = ["web"]\n{settings}'
    files = lock({"app.py": APP, "pyproject.toml": project}, tmp_path, uv)
    for identity, without in ((ID, ""), (SECOND, "uv.lock")):
        bench.build({name: text for name, text in files.items() if name != without}, identity)
        assert version_of(bench, "helper", identity) == "2.0"


@needs_root
def test_variables_of_the_application_are_there_while_dependencies_are_installed(bench: Bench) -> None:
    offered(bench, "one==1.0")
    files = {"app.py": APP, "requirements.txt": "--no-index\none @ file://${PLACE}/one-1.0-py3-none-any.whl\n"}
    with pytest.raises(ReleaseError):
        bench.build(files)
    bench.build(files, SECOND, env={"PLACE": f"{bench.folder}/offered"})
    assert version_of(bench, "one", SECOND) == "1.0"


@needs_root
def test_modules_that_newer_versions_have_dropped_are_told_with_their_package(bench: Bench) -> None:
    with pytest.raises(ReleaseError, match=r"Add 'setuptools<81' to python\.packages"):
        bench.build({"app.py": f"import pkg_resources\n{APP}"})
    with pytest.raises(ReleaseError, match=r"the metadata of the package 'shop'.*add '\.' to python\.packages"):
        bench.build({"app.py": f"from importlib.metadata import version\nversion('shop')\n{APP}"}, SECOND)


@needs_root
def test_the_project_named_beside_its_lock_is_installed_once_and_anew(bench: Bench, tmp_path: Path, uv: str) -> None:
    project = f"{HATCHLING}{PROJECT}{NEEDS}{SCRIPT}"
    files = lock({**SRC, "pyproject.toml": project}, tmp_path, uv)
    python = {"interpreter": "python3", "requirements": ["uv.lock"], "packages": ["."]}
    for identity, version in ((ID, "1.4.0"), (SECOND, "2.6.0")):
        changed = {**files, "pyproject.toml": project.replace("1.4.0", version)}
        bench.build_spec(bench.spec(changed, python=python, wsgi="shop:app"), identity, code=version)
        assert bench.run("python", "-c", TELL, identity=identity) == f"{version}\n"


@needs_root
def test_a_pylock_of_uv_installs_the_project_too(bench: Bench, tmp_path: Path, uv: str) -> None:
    files = lock({**SRC, "pyproject.toml": f"{HATCHLING}{PROJECT}{NEEDS}{SCRIPT}"}, tmp_path, uv)
    command = [uv, "export", "--quiet", "--frozen", "--format", "pylock.toml", "-o", "pylock.toml"]
    subprocess.run(command, cwd=tmp_path, check=True)
    files = {**files, "pylock.toml": (tmp_path / "pylock.toml").read_text()}
    del files["uv.lock"]
    bench.build(files, wsgi="shop:app")
    assert bench.run("python", "-c", f"import itsdangerous; {TELL}") == "1.4.0\n"
    assert bench.run("shop-admin", "migrate") == "did ['migrate']\n"


@needs_root
def test_a_lock_is_installed_from_the_named_index(bench: Bench, tmp_path: Path, uv: str) -> None:
    """A host without internet access has a mirror. The files are verified by the hashes of the lock."""
    project = f'{PROJECT}requires-python = ">=3.9"\ndependencies = ["itsdangerous"]\n'
    files = lock({"app.py": APP, "pyproject.toml": project}, tmp_path, uv)
    mirror = bench.folder / "mirror/itsdangerous"
    mirror.mkdir(parents=True)
    python = {"interpreter": "python3", "packages": [], "index_url": f"file://{mirror.parent}"}
    with pytest.raises(ReleaseError, match="itsdangerous"):
        bench.build(files, python=python)
    found = next(line for line in files["uv.lock"].split("\n") if ".whl" in line and "itsdangerous" in line)
    address = found.split('url = "')[1].split('"')[0]
    (mirror / "index.html").write_text(f'<a href="{address}">{address.rpartition("/")[2]}</a>')
    bench.build(files, SECOND, python=python)
    assert version_of(bench, "itsdangerous", SECOND)


SCM = 'requires = ["{}"]\nbuild-backend = "{}"\n[project]\nname = "shop"\ndynamic = ["version"]\n{}'


@needs_root
@pytest.mark.parametrize(
    "project",
    [
        SCM.format('setuptools>=80", "setuptools-scm>=8', "setuptools.build_meta", "[tool.setuptools_scm]\n"),
        SCM.format(
            'hatch-vcs", "hatchling',
            "hatchling.build",
            '[tool.hatch.version]\nsource = "vcs"\n'
            '[tool.hatch.build.hooks.vcs]\nversion-file = "src/shop/_version.py"\n',
        ),
    ],
    ids=["setuptools-scm", "hatch-vcs"],
)
def test_a_project_gets_its_version_from_the_tags_of_its_repository(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "shop"
    for name, text in {**SRC, "pyproject.toml": f"[build-system]\n{project}"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    git(folder, "tag", "v2.3.0")
    digests = set()
    for number, source in enumerate(({"path": str(folder)}, {"git": str(folder)}, {"path": str(folder)})):
        origin = origin_of(source, [])
        assert origin.pack is not None
        spec = bench.spec({}, wsgi="shop:app")
        spec["source"] |= {**origin.description, "data": base64.b64encode(origin.pack()).decode()}
        identity = (ID, SECOND, THIRD)[number]
        bench.build_spec(spec, identity, code=origin.description["digest"])
        digests.add(origin.description["digest"])
        assert bench.run("python", "-c", TELL, identity=identity).strip() == ("2.3.0", "2.3.0", "2.4.0")[number]
        if number == 1:
            git(folder, "tag", "-d", "v2.3.0")
            git(folder, "tag", "v2.4.0")
    assert len(digests) == 3, "a tag makes another release of a folder"


class Index(http.server.SimpleHTTPRequestHandler):
    """A package index that wants a login."""

    place = ""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, directory=self.place)

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != f"Basic {base64.b64encode(b'me:T0ken').decode()}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def index(bench: Bench) -> Iterator[str]:
    wheel(bench.folder / "simple/private", "private", "1.0")
    name = "private-1.0-py3-none-any.whl"
    (bench.folder / "simple/private/index.html").write_text(f'<a href="{name}">{name}</a>')
    Index.place = str(bench.folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:T0ken@127.0.0.1:{server.server_port}/simple"
        server.shutdown()


@needs_root
@pytest.mark.parametrize("place", ["extra_index_urls", "file", "variable", "direct", "pyproject"])
def test_an_index_with_a_login_is_asked_whenever_an_environment_is_made(bench: Bench, index: str, place: str) -> None:
    direct = f"private @ {index}/private/private-1.0-py3-none-any.whl"
    text = {
        "file": f"--extra-index-url {index}\nprivate\n",
        "variable": f"--extra-index-url {index.replace('T0ken', '${TOKEN}')}\nprivate\n",
        "direct": f"{direct}\n",
    }.get(place, "private\n")
    files = {"app.py": APP, "requirements.txt": text}
    if place == "pyproject":
        settings = f'[[tool.uv.index]]\nname = "shelf"\nurl = "{index.replace("me:T0ken@", "")}"\n'
        files = {"app.py": APP, "pyproject.toml": f'{PROJECT}dependencies = ["private"]\n{settings}'}
    python = {"interpreter": "python3", "packages": []}
    if place == "extra_index_urls":
        python["extra_index_urls"] = [index]
    env = {"TOKEN": "T0ken", "UV_INDEX_SHELF_USERNAME": "me", "UV_INDEX_SHELF_PASSWORD": "T0ken"}
    notes: list[str] = []
    bench.build(files, python=python, env=env, notes=notes)
    assert [index.replace("me:T0ken@", "") in note for note in notes] == [True] * (place == "pyproject")
    shutil.rmtree(bench.layout.venvs)
    os.mkdir(bench.layout.venvs, 0o755)
    shutil.rmtree(f"{bench.layout.build}/uv")
    bench.build(files, SECOND, python=python, env=env)
    assert version_of(bench, "private", SECOND) == "1.0"


@pytest.mark.attack("11", "A project that is built replaces a folder of its environment by a link, or adds another")
@needs_root
@pytest.mark.parametrize("kind", ["link", "second"])
def test_root_writes_through_no_link_of_an_environment_that_a_project_has_filled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    victim = bench.folder / "victim"
    victim.mkdir()
    take = project.take_environment

    def replaced(build: Any, path: str) -> None:
        (packages,) = Path(path).glob("lib/python*/site-packages")
        if kind == "link":
            packages.rename(packages.parent / "moved")
            packages.symlink_to(victim)
        else:
            (Path(path) / "lib/python3.99/site-packages").mkdir(parents=True)
        take(build, path)

    monkeypatch.setattr(project, "take_environment", replaced)
    with pytest.raises(ReleaseError, match="Remove that package"):
        bench.build({**SHOP, "setup.py": SETUP.format(more="")}, wsgi="shop:app")
    assert os.listdir(victim) == []


@pytest.mark.attack("11", "A package in a list is built from a folder above the source, whose files root then copies")
@pytest.mark.parametrize("folder", ["../victim", "/../victim", "libs/../../victim", "link"])
def test_root_completes_packages_with_files_of_the_source_alone(tmp_path: Path, folder: str) -> None:
    source, packages = tmp_path / "src", tmp_path / "venv/lib/python3.11/site-packages"
    for name in ("src/libs/core", "victim/core", "venv/lib/python3.11/site-packages/core"):
        (tmp_path / name).mkdir(parents=True)
    (source / "link").symlink_to(tmp_path / "victim")
    (tmp_path / "victim/core/secret").write_text("secret")
    (packages / "core-1.0.dist-info").mkdir()
    (packages / "core-1.0.dist-info/RECORD").write_text("core/__init__.py,,\n")
    package = Package(f'name = "core"\ndirectory = {{ path = "@SOURCE@/{folder}" }}')
    build: Any = SimpleNamespace(source=str(source), root=str(source))
    project.fill_packages(build, str(tmp_path / "venv"), [package])
    assert os.listdir(packages / "core") == []


@needs_root
@pytest.mark.parametrize("installed", [False, True])
def test_a_link_to_the_files_of_a_package_can_be_served(bench: Bench, installed: bool) -> None:
    files = {"app.py": APP, "requirements.txt": "itsdangerous\n"}
    if installed:
        files |= {**SHOP, "setup.py": SETUP.format(more=""), "requirements.txt": ".\nitsdangerous\n"}
    find = "python -c 'import itsdangerous, os; print(os.path.dirname(itsdangerous.__file__))'"
    release = bench.build(files, build_commands=[f"ln -s $({find}) static"])
    assert (release / "venv").is_symlink() is not installed
    link = release / "src/static"
    assert (link.lstat().st_uid, (link / "__init__.py").exists()) == (0, True), "nginx follows links of root to root"


@needs_root
def test_a_change_of_code_or_of_other_tools_starts_no_uv(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tomllib")  # reason: without it, a host compares the whole file
    files = {"app.py": APP, "requirements.txt": "itsdangerous\n", "pyproject.toml": f"{PROJECT}[tool.black]\n"}
    bench.build(files)
    changed = {"app.py": f"{APP}# changed\n", "pyproject.toml": files["pyproject.toml"].replace("1.4.0", "1.4.1")}
    with monkeypatch.context() as context:
        context.setattr(Build, "build_with", lambda *_arguments: pytest.fail("a program was started"))
        bench.build({**files, **changed}, SECOND)
    limits = {"pyproject.toml": f"{files['pyproject.toml']}[tool.uv]\nconstraint-dependencies = ['itsdangerous<2']\n"}
    bench.build({**files, **limits}, THIRD)
    assert version_of(bench, "itsdangerous", THIRD) < "2"


@needs_root
def test_a_copy_of_a_release_has_the_programs_of_its_environment(bench: Bench) -> None:
    files = {**SHOP, "setup.py": SETUP.format(more=ENTRY)}
    release = bench.build(files, wsgi="shop:app")
    (release / "venv/bin/native").write_bytes(b"\x7fELF\r\n\xff\0\r")
    (manifest,) = manifests(bench.layout)
    copy = clone(bench.layout, manifest)
    assert bench.run("shop-admin", "migrate", identity=copy.id) == "did ['migrate']\n"
    folder = Path(bench.layout.release(copy.id))
    assert str(folder) in (folder / "venv/bin/shop-admin").read_text()
    assert (folder / "venv/bin/native").read_bytes() == b"\x7fELF\r\n\xff\0\r"
    shutil.rmtree(release)
    assert bench.run("python", "-c", TELL, identity=copy.id) == "1.4.0\n"
