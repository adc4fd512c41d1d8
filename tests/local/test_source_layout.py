# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The layout of a source: named files arrive, wherever they are, and a message names those that can't."""

from __future__ import annotations

import base64
import io
import os
import stat
import subprocess
import tarfile
import textwrap
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.ignore_files import ignored_by
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import ReleaseError
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.named_paths import named_paths, static_of_release
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.source_folders import folder_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import fingerprint, source_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.left_out import left_out
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin, origin_of
from hostile_account import needs_root
from repositories import git
from source_archives import tar_of, zip_of

from local import test_building as builds
from local.test_building import APP, Bench

account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"


def put(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    return folder


def app_of(folder: Path, **more: Any) -> dict[str, Any]:
    """An application of a folder, normalised, whose source names its paths as that of a plan does."""
    source = {"path": str(folder), **more.pop("source", {})}
    (app,), problems = normalised([{"name": "shop", "wsgi": "app:app", "source": source, **more}])
    assert problems == []
    app["source"]["named"] = named_paths(app)
    return dict(app)


def sent(origin: Origin) -> dict[str, tarfile.TarInfo]:
    assert origin.pack
    with tarfile.open(fileobj=io.BytesIO(origin.pack())) as tar:
        return {member.name + ("/" if member.isdir() else ""): member for member in tar}


def names(folder: Path, **more: Any) -> list[str]:
    return list(sent(origin_of(app_of(folder, **more)["source"], [])))


def static(*paths: str) -> dict[str, Any]:
    return {"static": [{"url": f"/s{number}/", "path": path} for number, path in enumerate(paths)]}


# Files that .gitignore leaves out


@pytest.mark.parametrize("in_repository", [True, False], ids=["repository", "folder"])
@pytest.mark.parametrize(
    ("ignored", "more", "arrive", "stay"),
    [
        ("dist/", {"site": static("frontend/dist")}, ["frontend/dist/a.js", "frontend/dist/i/b.png"], []),
        ("*.js", {"site": static("frontend/dist")}, ["frontend/dist/i/b.png"], ["frontend/dist/a.js"]),
        ("dist/", {}, [], ["frontend/dist/a.js"]),
        ("dist/", {"site": static("frontend/dist"), "commands": {"build": ["make"]}}, [], ["frontend/dist/a.js"]),
        ("dist/\n.env", {"site": static("frontend")}, ["frontend/dist/a.js"], ["frontend/.env"]),
        ("dist/", {"source": {"subdir": "back"}, "site": static("../frontend/dist")}, ["frontend/dist/a.js"], []),
        ("*.html", {"site": {"error_pages": [{"status": [502], "page": "sorry.html"}]}}, ["sorry.html"], []),
        ("*.lock\nrequirements*", {}, ["requirements.txt", "requirements-base.txt"], []),
        ("prod.txt", {"python": {"requirements": ["prod.txt"]}}, ["prod.txt", "requirements-base.txt"], []),
        ("/back", {"source": {"subdir": "back"}}, ["back/app.py"], []),
        ("local.py\n.env", {"source": {"include": ["local.py"]}}, ["local.py"], ["frontend/.env"]),
        ("local.py\n.env", {"source": {"include": ["frontend/.env"]}}, ["frontend/.env"], ["local.py"]),
        ("dist/", {"site": static("frontend/dist"), "shared": ["frontend/dist/i"]}, [], ["frontend/dist/i/b.png"]),
        ("dist/", {"site": static("frontend/dist"), "shared": ["frontend/dist"]}, [], ["frontend/dist/a.js"]),
    ],
)
def test_what_the_inventory_names_is_sent_although_gitignore_leaves_it_out(
    tmp_path: Path, in_repository: bool, ignored: str, more: dict[str, Any], arrive: list[str], stay: list[str]
) -> None:
    files = {
        ".gitignore": ignored + "\n",
        "app.py": APP,
        "back/app.py": APP,
        "frontend/dist/a.js": "x",
        "frontend/dist/i/b.png": "x",
        "frontend/.env": "SECRET=x",
        "sorry.html": "sorry",
        "requirements.txt": "-r requirements-base.txt\n",
        "prod.txt": "-r requirements-base.txt\n",
        "requirements-base.txt": "flask\n",
        "local.py": "x",
    }
    folder = put(tmp_path / "source", files)
    if in_repository:
        git(folder, "init", "-q")
        git(folder, "add", ".gitignore", "app.py")
    assert folder_problems(app_of(folder, **more), folder) == []
    found = names(folder, **more)
    assert [name for name in arrive if name not in found] == []
    assert [name for name in stay if name in found] == []
    assert "app.py" in found


def test_a_lock_that_gitignore_leaves_out_counts_as_it_does_for_its_author(tmp_path: Path) -> None:
    folder = put(tmp_path, {".gitignore": "uv.lock\n", "uv.lock": "version = 1\n", "pyproject.toml": "[project]\n"})
    assert "uv.lock" in names(folder)


def test_a_front_end_that_is_built_anew_makes_another_release(tmp_path: Path) -> None:
    folder = put(tmp_path, {".gitignore": "dist/\n", "app.py": APP, "dist/a.js": "one"})
    app = app_of(folder, site=static("dist"))
    first = origin_of(app["source"], []).description["digest"]
    (folder / "dist/a.js").write_text("two")
    assert origin_of(app["source"], []).description["digest"] != first


def test_a_static_folder_that_is_a_link_to_a_folder_that_is_left_out(tmp_path: Path) -> None:
    folder = put(tmp_path, {".gitignore": "build/\n/static\n", "app.py": APP, "build/out/a.js": "x"})
    (folder / "static").symlink_to("build/out")
    assert {"static", "build/out/a.js"} <= {*names(folder, site=static("static"))}


@pytest.mark.attack("2", "A path of the inventory leads out of the source by a link")
def test_a_named_path_that_leads_out_of_the_source_is_refused(tmp_path: Path) -> None:
    put(tmp_path, {"secret/key.txt": "x", "source/app.py": APP, "source/.gitignore": "static\n"})
    (tmp_path / "source/static").symlink_to("../secret")
    with pytest.raises(SourceError, match=r"'static' leads to .*/secret, outside of .*source\. Replace the link"):
        names(tmp_path / "source", site=static("static"))


@pytest.mark.parametrize(
    ("rules", "path", "rule"),
    [
        ("dist/\n", "frontend/dist", ".gitignore: dist/"),
        ("/frontend/dist\n", "frontend/dist", ".gitignore: /frontend/dist"),
        ("frontend/dist/*\n", "frontend/dist", ".gitignore: frontend/dist/*"),
        ("**/dist\n", "frontend/dist", ".gitignore: **/dist"),
        ("front*\n", "frontend/dist", ".gitignore: front*"),
        ("# dist/\n", "frontend/dist", ""),
        ("dist/\n!frontend/dist/\n", "frontend/dist", ""),
        ("other\n/dist\n", "frontend/dist", ""),
    ],
)
def test_the_rule_that_explains_a_missing_folder(tmp_path: Path, rules: str, path: str, rule: str) -> None:
    folder = put(tmp_path, {".gitignore": rules, "app.py": APP})
    assert ignored_by(str(folder), path) == rule
    (problem,) = folder_problems(app_of(folder, site=static(path)), folder)
    assert ("gitignore leaves it out of the repository" in problem) is bool(rule)


def test_an_included_path_that_does_not_exist_is_told(tmp_path: Path) -> None:
    folder = put(tmp_path, {"app.py": APP})
    app = app_of(folder, source={"include": ["config.json"]})
    (problem,) = folder_problems(app, folder)
    assert "source.include: 'config.json' is not in" in problem


def test_what_is_left_out_is_known_to_messages(tmp_path: Path) -> None:
    ignored = ".env\nconfig/local.py\n*.pyc\ndata/\ndist/\n.venv/\n"
    files = {".env": "x", "config/local.py": "x", "a.pyc": "x", "data/x/y": "x", "dist/a.js": "x", ".venv/x": "x"}
    folder = put(tmp_path, {".gitignore": ignored, "app.py": APP, "config/__init__.py": "", **files})
    assert left_out(folder) == [".env", "config/local.py", "data/", "dist/"]
    origin = origin_of(app_of(folder, site=static("dist"))["source"], [])
    assert origin.left_out == [".env", "config/local.py", "data/"]
    assert "left_out" not in origin.description


# Empty folders, executable bits, submodules


def test_empty_folders_stay(tmp_path: Path) -> None:
    folder = put(tmp_path / "plain", {"app.py": APP, "a/x": "x"})
    for name in ("a/empty", "uploads/in/deep", "venv", "cache/x"):
        (folder / name).mkdir(parents=True)
    assert source_files(folder) == ["a/empty/", "a/x", "app.py", "cache/x/", "uploads/in/deep/"]
    before = fingerprint(folder, source_files(folder))
    (folder / ".gitignore").write_text("cache/\n*.log\n")
    put(folder, {"logs/x.log": "x"})
    assert source_files(folder) == [".gitignore", "a/empty/", "a/x", "app.py", "uploads/in/deep/"]
    (folder / ".gitignore").unlink()
    (folder / "logs/x.log").unlink()
    assert source_files(folder) == ["a/empty/", "a/x", "app.py", "cache/x/", "logs/", "uploads/in/deep/"]
    assert fingerprint(folder, source_files(folder)) != before


def test_empty_folders_of_a_repository_stay(tmp_path: Path) -> None:
    folder = put(tmp_path, {"app.py": APP, "a/x": "x", ".gitignore": "cache/\n"})
    git(folder, "init", "-q")
    git(folder, "add", ".")
    for name in ("a/empty", "cache/x"):
        (folder / name).mkdir(parents=True)
    assert "a/empty/" in source_files(folder)
    assert "cache/x/" not in source_files(folder)


@pytest.mark.parametrize("kind", ["path", "git", "tar", "zip"])
def test_executable_files_and_empty_folders_of_every_kind_of_source(home: Path, tmp_path: Path, kind: str) -> None:
    if kind in ("path", "git"):
        folder = put(tmp_path / "source", {"app.py": APP, "bin/tool": "#!/bin/sh\n"})
        (folder / "bin/tool").chmod(0o755)
        (folder / "empty").mkdir()
        source = {"path": str(folder)}
        if kind == "git":
            git(folder, "init", "-q")
            git(folder, "add", ".")
            git(folder, "commit", "-qm", "x")
            source = {"git": str(folder)}
    elif kind == "tar":
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for name, mode in (("app.py", 0o644), ("bin/tool", 0o755)):
                member = tarfile.TarInfo(name)
                member.mode = mode
                tar.addfile(member)
            folder_entry = tarfile.TarInfo("empty")
            folder_entry.type = tarfile.DIRTYPE
            tar.addfile(folder_entry)
        source = {"archive": str(tmp_path / "a.tar")}
    else:
        entries = [("app.py", ("x", stat.S_IFREG | 0o644)), ("bin/tool", ("x", stat.S_IFREG | 0o755))]
        zip_of(tmp_path / "a.zip", [*entries, ("empty/", ("", stat.S_IFDIR | 0o755))])
        source = {"archive": str(tmp_path / "a.zip")}
    found = sent(origin_of(source, []))
    assert (found["bin/tool"].mode, found["app.py"].mode) == (0o755, 0o644)
    assert ("empty/" in found) == (kind != "git")


def test_a_named_folder_of_a_submodule_is_sent(tmp_path: Path) -> None:
    library = put(tmp_path / "library", {"lib.js": "x", ".gitignore": "dist/\n"})
    git(library, "init", "-q")
    git(library, "add", ".")
    git(library, "commit", "-qm", "x")
    shop = put(tmp_path / "shop", {"app.py": APP})
    git(shop, "init", "-q")
    git(shop, "submodule", "add", "-q", str(library), "front")
    put(shop, {"front/dist/a.js": "x"})
    assert {"front/lib.js", "front/dist/a.js"} <= {*names(shop, site=static("front/dist"))}


# Pointers of git-lfs


@pytest.mark.parametrize("place", ["", "static/"], ids=["elsewhere", "served"])
@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("path", "Run git lfs pull in"),
        ("git", "Install git-lfs on the controller and run git lfs install."),
        ("archive", "Run git lfs pull before you make the archive."),
    ],
)
def test_pointers_of_git_lfs_are_announced_and_refused_where_they_would_be_served(
    home: Path, tmp_path: Path, kind: str, remedy: str, place: str
) -> None:
    files = {"app.py": APP, "static/a.css": "x", f"{place}big.bin": POINTER, "about.md": POINTER + "x" * 2000}
    folder = put(tmp_path / "source", files)
    given: dict[str, Any] = {"path": str(folder)}
    if kind == "git":
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "x")
        given = {"git": str(folder), "path": None}
    if kind == "archive":
        given = {"archive": str(tar_of(tmp_path / "a.tgz", [*files.items()])), "path": None}
    source = app_of(folder, source=given, site=static("static"))["source"]
    if place:
        with pytest.raises(SourceError, match=r"has 'static/big.bin', which nginx would serve.*pointer") as caught:
            sent(origin_of(source, []))
        assert remedy in str(caught.value)
        return
    origin = origin_of(source, [])
    sent(origin)
    (note,) = origin.notes
    assert "has pointers of git-lfs instead of the files: 'big.bin'." in note
    assert remedy in note


# Above and beside the application root


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        (
            {"subdir": "back"},
            {"python": {"requirements": ["../../other.txt"]}},
            "'../../other.txt' is not a file inside the source",
        ),
        (
            {},
            {"python": {"requirements": ["../other.txt"]}},
            "'../other.txt' is not a file inside the application root",
        ),
        ({"subdir": "a/b"}, {"python": {"requirements": ["../c/../../../x.txt"]}}, "is not a file inside the source"),
        ({"subdir": "back"}, {"site": static("../..")}, "path '../..' is not a folder inside the source"),
        ({"subdir": "back"}, {"site": static("../../x")}, "path '../../x' is not a folder inside the source"),
        ({"include": ["../x"]}, {}, "'../x' is not a path inside the source"),
        ({"git": "https://example.com/x", "path": None, "include": ["x"]}, {}, "does not apply to git, only to path"),
    ],
)
def test_paths_that_lead_out_of_the_source_are_refused(
    tmp_path: Path, source: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    _apps, problems = normalised([{"name": "s", "wsgi": "a:b", "source": {"path": str(tmp_path), **source}, **more}])
    assert words in "".join(problems)


def test_a_path_that_goes_up_from_a_link_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path, {"apps/back/app.py": APP, "requirements.txt": "", "apps/requirements.txt": ""})
    (folder / "back").symlink_to("apps/back")
    app = app_of(folder, source={"subdir": "back"}, python={"requirements": ["../requirements.txt"]})
    (problem,) = folder_problems(app, folder)
    assert "source.subdir: 'back' leads through the link 'back'" in problem


def build(bench: Bench, folder: Path, **more: Any) -> list[str]:
    """Build a release of a folder as a run does; return its notes."""
    changes = {key: more.pop(key) for key in ("build_commands",) if key in more}
    app = app_of(folder, **more)
    assert folder_problems(app, folder) == []
    origin = origin_of(app["source"], [])
    assert origin.pack
    notes: list[str] = []
    spec = bench.spec({}, notes=notes, static=static_of_release(app), shared=app["shared"], wsgi=app["wsgi"], **changes)
    spec["python"] |= {"requirements": app["python"]["requirements"]}
    spec["source"] = {
        **origin.description,
        "data": base64.b64encode(origin.pack()).decode(),
        "left_out": origin.left_out,
    }
    bench.build_spec(spec)
    return notes


BACKEND = """\
    import zipfile
    FILES = {
        "core.py": "NAME = 'core'",
        "core-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: core\\nVersion: 1\\n",
        "core-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "core-1.dist-info/RECORD": "",
    }
    def build_wheel(folder, settings=None, metadata=None):
        with zipfile.ZipFile(folder + "/core-1-py3-none-any.whl", "w") as wheel:
            for name, text in FILES.items():
                wheel.writestr(name, text)
        return "core-1-py3-none-any.whl"
    """
PROJECT = """\
    [build-system]
    requires = []
    build-backend = "backend"
    backend-path = ["."]
    [project]
    name = "core"
    version = "1"
    """
LIBRARY = {"libs/core/pyproject.toml": PROJECT, "libs/core/backend.py": BACKEND}


@needs_root
@pytest.mark.parametrize("named", [["../requirements.txt"], None], ids=["named", "found"])
def test_requirements_and_a_library_above_the_application_root(
    bench: Bench, tmp_path: Path, named: list[str] | None
) -> None:
    files = {"requirements.txt": "./libs/core\n", "backend/app.py": "import core\n" + APP, **LIBRARY}
    folder = put(tmp_path / "source", files)
    notes = build(bench, folder, source={"subdir": "backend"}, python={"requirements": named})
    assert bench.run("python", "-c", "import core; print(core.NAME)") == "core\n"
    told = "source.subdir 'backend' lists no dependencies, so '../requirements.txt', above it, is installed."
    assert [told in note for note in notes] == ([] if named else [True])


@needs_root
def test_the_list_of_the_application_root_comes_first(bench: Bench, tmp_path: Path) -> None:
    files = {"requirements.txt": "nosuchthing-at-all\n", "backend/requirements.txt": "", "backend/app.py": APP}
    assert build(bench, put(tmp_path / "source", files), source={"subdir": "backend"}) == []


def test_a_lock_above_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path, {"Pipfile.lock": "{}", "backend/app.py": APP})
    (problem,) = folder_problems(app_of(folder, source={"subdir": "backend"}), folder)
    assert "'../Pipfile.lock' lists the versions to install, but uv can't read it" in problem


@needs_root
def test_a_build_command_makes_a_front_end_beside_the_application_root(bench: Bench, tmp_path: Path) -> None:
    folder = put(tmp_path / "source", {"backend/app.py": APP, "frontend/src.js": "x"})
    make = "cd ../frontend && mkdir dist && cp src.js dist/app.js"
    build(bench, folder, source={"subdir": "backend"}, site=static("../frontend/dist"), **as_built(make))
    made = Path(bench.layout.release(builds.ID)) / "src/frontend/dist/app.js"
    assert (made.read_text(), made.stat().st_uid) == ("x", 0)


def as_built(*commands: str) -> dict[str, Any]:
    return {"commands": {"build": list(commands)}, "build_commands": list(commands)}


@needs_root
@pytest.mark.attack("11", "A build command replaces the application root by a link")
@pytest.mark.parametrize(
    "command",
    [
        "mv backend other && ln -s /etc backend",
        "rm -rf backend",
        "mv backend x && > backend",
    ],
)
def test_an_application_root_that_a_build_command_replaces_is_refused(
    bench: Bench, tmp_path: Path, command: str
) -> None:
    folder = put(tmp_path / "source", {"backend/app.py": APP})
    with pytest.raises(ReleaseError, match="have replaced or removed 'backend', the application root"):
        build(bench, folder, source={"subdir": "backend"}, **as_built(f"cd .. && {command}"))


@needs_root
@pytest.mark.parametrize(
    ("ignored", "commands", "words"),
    [
        ("dist/\n", ["true"], ["'dist' is not a folder of the release", ".gitignore: dist/", "source.include"]),
        ("", ["true"], ["no command of commands.build has created it"]),
    ],
)
def test_a_static_folder_that_no_build_command_makes_is_refused(
    bench: Bench, tmp_path: Path, ignored: str, commands: list[str], words: list[str]
) -> None:
    folder = put(tmp_path / "source", {"app.py": APP, ".gitignore": ignored})
    with pytest.raises(ReleaseError) as caught:
        build(bench, folder, site=static("dist"), **as_built(*commands))
    assert [word for word in words if word not in str(caught.value)] == []


@needs_root
def test_empty_folders_arrive(bench: Bench, tmp_path: Path) -> None:
    folder = put(tmp_path / "source", {"app.py": APP})
    (folder / "plugins/extra").mkdir(parents=True)
    build(bench, folder)
    release = Path(bench.layout.release(builds.ID))
    made = release / "src/plugins/extra"
    assert (made.is_dir(), made.stat().st_uid, stat.S_IMODE(made.stat().st_mode)) == (True, 0, 0o755)


def test_git_is_asked_once_more_only_for_empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path, {"app.py": APP, ".gitignore": "x\n"})
    asked = []
    real = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        asked.append("check-ignore" in command)
        return real(command, **options)

    monkeypatch.setattr(subprocess, "run", run)
    source_files(folder)
    assert not any(asked)
    os.mkdir(folder / "empty")
    source_files(folder)
    assert any(asked)
