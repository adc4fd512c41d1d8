# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Dependency files: which lines need no other file of the source, which files count, which versions are pinned."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.requirements import lines as requirement_lines
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    constraint_files,
    kind,
    lines_of,
    logical_lines,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.locks import unverified_package, without_login
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.reading import (
    automatic,
    ignored,
    is_too_old,
    pinned_too_old,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.self_contained import (
    are_lines_self_contained,
    is_file_self_contained,
    is_pylock_self_contained,
    is_self_contained,
)

DIGEST = "0" * 64


def files(folder: Path, given: dict[str, str]) -> Path:
    for name, text in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "flask",
        "Flask == 3.0",
        "flask>=2,<4,!=3.0.1",
        "flask (>=2)",
        "zope.interface~=6.0",
        "redis[hiredis, ocsp]>=5",
        "ruamel.yaml",
        "torch==2.1.0+cpu",
        "pywin32; sys_platform == 'win32'",
        'tomli>=2 ; python_version < "3.11" and (os_name == "posix" or extra == "x")',
        f"flask==3.0 --hash=sha256:{DIGEST} --hash sha256:{DIGEST}",
        f"tomli==2.0 ; python_version < '3.11' --hash=sha256:{DIGEST}",
        "lib @ https://files.example.com/lib-1.0-py3-none-any.whl",
        f"lib[x]@https://files.example.com/lib-1.0.tar.gz#sha256={DIGEST}",
        "lib @ git+https://git.example.com/lib.git@v1 ; os_name == 'posix'",
        "git+ssh://git@git.example.com/lib.git@v1#egg=lib",
        "-i https://user:word@index.example.com/simple",
        "--index-url=https://index.example.com/simple",
        "--extra-index-url https://index.example.com/simple",
        "--find-links https://files.example.com/wheels",
        "--pre",
        "--require-hashes",
        "--no-binary :all:",
        "--only-binary=lxml,numpy",
        "--trusted-host index.example.com",
    ],
)
def test_a_requirement_of_somebody_else_is_plain(text: str) -> None:
    assert is_self_contained(text)


LOCAL = [
    "./libs/core",
    "libs/core",
    "libs\\core",
    "../core",
    ".",
    ".[extra]",
    "..",
    "~/core",
    "/srv/core",
    "core @ file:libs/core",
    "core @ ./libs/core",
    "core@libs/core",
    "core @ file:///srv/app/libs/core",
    "core @ git+file:///srv/core",
    "file:libs/core",
    "file:./libs/core#egg=core",
    "file:///srv/app/libs/core",
    "${PWD}/libs/core",
    "core @ ${PWD}/libs/core",
    "-e ./libs/core",
    "-e libs/core",
    "-e file:libs/core",
    "-e.",
    "--editable=./libs/core",
    "--editable libs/core",
    "core-1.0-py3-none-any.whl",
    "wheels/core-1.0-py3-none-any.whl",
    "core-1.0.tar.gz",
    "core.zip",
    "-f wheels",
    "-fwheels",
    "--find-links wheels",
    "--find-links=./wheels",
    "--find-links file:///srv/wheels",
    "-i file:///srv/simple",
    "--index-url ./simple",
    "--extra-index-url=simple",
    "-r nosuch.txt",
    "--requirement=setup.py",
    "-r pyproject.toml",
    "-r https://example.com/requirements.txt",
    "--unknown-option",
    "--config-settings core=./x",
    "flask ./libs/core",
    "flask; ./libs/core \\",
    "\ufeffflask",
]


@pytest.mark.parametrize("text", LOCAL)
def test_all_else_may_need_the_source(tmp_path: Path, text: str) -> None:
    assert not are_lines_self_contained(
        lines_of(str(files(tmp_path, {"requirements.txt": f"flask\n{text}\n"})), "requirements.txt")
    )
    assert not is_self_contained(text)


def test_lines_are_joined_and_lose_their_comments() -> None:
    text = "flask \\\n  --hash=sha256:0 # one\n# all\n\nlib@https://x/y#egg=lib\n-e \\\n./core"
    assert logical_lines(text) == ["flask --hash=sha256:0", "lib@https://x/y#egg=lib", "-e ./core"]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements.in", "requirements", "base.lock", "deps.pip"])
@pytest.mark.parametrize("option", ["-r ", "-c ", "--requirement=", "--constraint ", "-r"])
def test_files_are_followed_whatever_their_names(tmp_path: Path, name: str, option: str) -> None:
    given = {name: f"flask\n{option}more/inner.in", "more/inner.in": "-r last", "more/last": "redis"}
    lines = lines_of(str(files(tmp_path, given)), name)
    assert [line.text for line in lines if not line.followed] == ["flask", "redis"]
    assert are_lines_self_contained(lines)
    (tmp_path / "more/last").write_text("./core")
    assert not are_lines_self_contained(lines_of(str(tmp_path), name))


def test_files_that_name_each_other_end(tmp_path: Path) -> None:
    files(tmp_path, {"a.txt": "-r b.txt\nflask\n", "b.txt": "-c a.txt\nredis\n"})
    lines = lines_of(str(tmp_path), "a.txt")
    assert [(line.text, line.constraint) for line in lines if line.text == "flask"] == [
        ("flask", True),
        ("flask", False),
    ]


def test_constraints_are_found_where_they_are_named(tmp_path: Path) -> None:
    files(tmp_path, {"a.txt": "-r more/b.txt\n-c c.txt", "more/b.txt": "-c d.txt", "more/d.txt": "", "c.txt": ""})
    assert sorted(constraint_files(str(tmp_path), "a.txt")) == [str(tmp_path / "c.txt"), str(tmp_path / "more/d.txt")]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("uv.lock", "lock"),
        ("deploy/pylock.prod.toml", "pylock"),
        ("pyproject.toml", "project"),
        ("setup.py", "program"),
        ("setup.cfg", "program"),
        ("requirements.lock", "text"),
        ("requirements.in", "text"),
    ],
)
def test_a_file_is_known_by_its_name(name: str, wanted: str) -> None:
    assert kind(name) == wanted


STATIC = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["flask>=3", "redis"]\n'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (STATIC, True),
        ('[project]\nname = "shop"\ndynamic = ["version"]\ndependencies = ["flask"]\n', True),
        (f'{STATIC}[tool.uv.sources]\nredis = {{index = "company"}}\nflask = {{git = "https://x/flask"}}\n', True),
        (f'{STATIC}[tool.uv]\nconstraint-dependencies = ["redis<6"]\npackage = false\n', True),
        ("[tool.black]\n", False),
        ('[tool.poetry.dependencies]\nflask = "^3"\n', False),
        ('[project]\nname = "shop"\ndynamic = ["version", "dependencies"]\n', False),
        ('[project]\nname = "shop"\nversion = "1"\ndynamic = ["optional-dependencies"]\n', False),
        ('[project]\nname = "shop"\nversion = "1"\ndependencies = ["core @ file:libs/core"]\n', False),
        (f'{STATIC}[project.optional-dependencies]\nx = ["core @ file:libs/core"]\n', False),
        (f'{STATIC}[tool.uv.sources]\ncore = {{path = "libs/core"}}\n', False),
        (f"{STATIC}[tool.uv.sources.core]\nworkspace = true\n", False),
        (f'{STATIC}[tool.uv.sources]\ncore = [{{path = "x", marker = "os_name == \'nt\'"}}]\n', False),
        (f'{STATIC}[tool.uv.sources]\ncore = {{git = "../core"}}\n', False),
        (f'{STATIC}[[tool.uv.index]]\nname = "here"\nurl = "./wheels"\n', False),
        (f'{STATIC}[tool.uv]\nfind-links = ["wheels"]\n', False),
        (f'{STATIC}[tool.uv]\noverride-dependencies = ["core @ file:libs/core"]\n', False),
        (f'{STATIC}[tool.uv.workspace]\nmembers = ["libs/*"]\n', False),
        (f"{STATIC}[tool.uv]\nsome-new-key = 1\n", False),
        ("[project", False),
    ],
)
def test_a_project_is_plain_if_all_of_it_is(tmp_path: Path, text: str, wanted: bool) -> None:
    files(tmp_path, {"pyproject.toml": text})
    assert is_file_self_contained(str(tmp_path), str(tmp_path), "pyproject.toml") is wanted


def test_a_project_above_may_say_where_dependencies_come_from(tmp_path: Path) -> None:
    files(tmp_path, {"pyproject.toml": "", "apps/shop/pyproject.toml": STATIC})
    assert not is_file_self_contained(str(tmp_path / "apps/shop"), str(tmp_path), "pyproject.toml")
    assert is_file_self_contained(str(tmp_path / "apps/shop"), str(tmp_path / "apps/shop"), "pyproject.toml")


@pytest.mark.parametrize(
    ("package", "wanted"),
    [
        ('wheels = [{url = "https://files.example.com/a.whl"}]', True),
        ('sdist = {url = "https://files.example.com/a.tar.gz"}', True),
        ('archive = {url = "https://files.example.com/a.zip"}', True),
        ('vcs = {type = "git", url = "https://git.example.com/a", commit-id = "0"}', True),
        ('directory = {path = "libs/core"}', False),
        ('archive = {path = "core.zip"}', False),
        ('wheels = [{path = "core.whl"}]', False),
        ('wheels = [{url = "file:///srv/core.whl"}]', False),
        ('wheels = [{name = "core.whl"}]', False),
        ('vcs = {type = "git", path = "core", commit-id = "0"}', False),
    ],
)
def test_a_pylock_is_plain_if_it_lists_addresses(tmp_path: Path, package: str, wanted: bool) -> None:
    text = f'lock-version = "1.0"\n[[packages]]\nname = "core"\n{package}\n'
    assert is_pylock_self_contained(text) is wanted
    files(tmp_path, {"pylock.toml": text})
    assert is_file_self_contained(str(tmp_path), str(tmp_path), "pylock.toml") is wanted


def test_where_toml_can_not_be_read_nothing_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirement_lines, "tomllib", None)
    assert not is_pylock_self_contained('lock-version = "1.0"\n')


WORKSPACE = '[[package]]\nname = "shop"\nversion = "1"\nsource = {{ {} = "{}" }}\n'


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ""),
        ({"app/requirements.txt": "", "app/pyproject.toml": STATIC}, "requirements.txt"),
        ({"app/pyproject.toml": STATIC}, "pyproject.toml"),
        ({"app/pyproject.toml": "[tool.black]\n"}, ""),
        ({"app/pyproject.toml": "[tool.black]\n", "app/setup.py": ""}, ""),
        ({"app/pyproject.toml": "[tool.black]\n", "app/setup.py": "setup()"}, "setup.py"),
        ({"app/setup.cfg": "[flake8]\n"}, ""),
        ({"app/pyproject.toml": STATIC, "uv.lock": WORKSPACE.format("virtual", "app")}, "../uv.lock"),
        ({"app/pyproject.toml": STATIC, "uv.lock": WORKSPACE.format("editable", "app")}, "../uv.lock"),
        ({"app/pyproject.toml": STATIC, "uv.lock": WORKSPACE.format("virtual", "other")}, "pyproject.toml"),
    ],
)
def test_the_most_exact_file_counts_by_itself(tmp_path: Path, given: dict[str, str], wanted: str) -> None:
    files(tmp_path, {"app/app.py": "", **given})
    assert automatic(str(tmp_path / "app"), str(tmp_path)) == wanted


@pytest.mark.parametrize(
    ("given", "named", "words"),
    [
        ({"poetry.lock": "", "pyproject.toml": STATIC}, None, "poetry export -f requirements.txt"),
        ({"pdm.lock": "", "pyproject.toml": STATIC}, None, "pdm export --prod"),
        ({"Pipfile.lock": "{}", "Pipfile": ""}, None, "pipenv requirements > requirements.txt"),
        ({"Pipfile": ""}, None, "pipenv lock"),
        ({"pylock.prod.toml": "", "pyproject.toml": STATIC}, None, "python: {requirements: [pylock.prod.toml]}"),
        ({"requirements.lock": "", "pyproject.toml": STATIC}, None, "python: {requirements: [requirements.lock]}"),
        ({"pyproject.toml": "[tool.poetry]\npackage-mode = false\n"}, None, ""),
        (
            {"pyproject.toml": "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\na = {git = 'x'}\n"},
            None,
            "only Poetry can read",
        ),
        ({"poetry.lock": ""}, ["poetry.lock"], "which uv can't read. Run: poetry export"),
        ({"requirements.txt": "<<<<<<< HEAD\na==1\n=======\n"}, None, "'requirements.txt' has the marks of a merge"),
        ({"uv.lock": "version = 1\n<<<<<<< HEAD\n"}, None, "'uv.lock' has the marks of a merge"),
        ({"a.txt": "<<<<<<< HEAD\n"}, ["a.txt"], "'a.txt' has the marks of a merge"),
        ({"poetry.lock": "", "requirements.txt": ""}, None, ""),
        ({"poetry.lock": "", "uv.lock": ""}, None, ""),
        ({"poetry.lock": "", "pyproject.toml": STATIC}, [], ""),
        ({"poetry.lock": "", "pyproject.toml": STATIC}, ["pyproject.toml"], ""),
        ({"pyproject.toml": STATIC}, None, ""),
    ],
)
def test_a_lock_is_never_ignored(tmp_path: Path, given: dict[str, str], named: list[str] | None, words: str) -> None:
    files(tmp_path, given)
    told = ignored(str(tmp_path), str(tmp_path), named)
    assert words in told
    assert bool(told) is bool(words)


LOCK = """
[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "web" }, { name = "uwsgi", marker = "sys_platform == 'win32'" }]
[[package]]
name = "web"
version = "2"
dependencies = [{ name = "gunicorn" }]
[[package]]
name = "gunicorn"
version = "21.2.0"
[[package]]
name = "uwsgi"
version = "2.0.20"
"""


@pytest.mark.parametrize(
    ("given", "packages", "server", "words"),
    [
        ({"requirements.txt": "flask\nGunicorn[gevent] == 21.2.0 # old"}, [], "gunicorn>=22.0", "'requirements.txt'"),
        ({"requirements.txt": "-c limits", "limits": "gunicorn==21.2.0"}, [], "gunicorn>=22.0", "Gunicorn 21.2.0"),
        ({"requirements.txt": "gunicorn==21.2.0 --hash=sha256:00"}, [], "gunicorn>=22.0", "gunicorn 21.2.0"),
        ({"requirements.txt": "gunicorn==23.0.0"}, [], "gunicorn>=22.0,>=26.2.2", "gunicorn 23.0.0"),
        ({"pyproject.toml": '[project]\ndependencies = ["gunicorn==21"]'}, [], "gunicorn>=22.0", "'pyproject.toml'"),
        ({"uv.lock": LOCK}, [], "gunicorn>=22.0", "'uv.lock' asks for gunicorn 21.2.0"),
        ({"uv.lock": LOCK}, [], "pyuwsgi>=2.0.28", ""),
        ({"pylock.toml": '[[packages]]\nname = "gunicorn"\nversion = "21.0"'}, [], "gunicorn>=22.0", "'pylock.toml'"),
        ({}, ["gunicorn==21.2.0"], "gunicorn>=22.0", "python.packages asks for gunicorn 21.2.0"),
        ({"requirements.txt": "uWSGI==2.0.20"}, [], "pyuwsgi>=2.0.28", "uWSGI 2.0.20"),
        ({"requirements.txt": "gunicorn==22.0.0"}, [], "gunicorn>=22.0", ""),
        ({"requirements.txt": "gunicorn==21; sys_platform == 'win32'"}, [], "gunicorn>=22.0", ""),
        ({"requirements.txt": "gunicorn-extras==1"}, [], "gunicorn>=22.0", ""),
    ],
)
def test_a_server_that_is_pinned_too_low_is_told(
    tmp_path: Path, given: dict[str, str], packages: list[str], server: str, words: str
) -> None:
    listed = [name for name in files(tmp_path, given) and given if name != "limits"]
    told = pinned_too_old(str(tmp_path), listed, packages, server)
    assert words.lower() in told.lower()
    assert bool(told) is bool(words)


@pytest.mark.parametrize(
    ("version", "old"),
    [("21.9", True), ("22", False), ("22.0.0", False), ("22.0.0rc1", False), ("100", False), ("unknown", False)],
)
def test_versions_are_compared_by_their_numbers(version: str, old: bool) -> None:
    assert is_too_old(version, "gunicorn>=22.0") is old


def test_a_package_without_a_hash_from_an_index_that_an_export_loses(tmp_path: Path) -> None:
    package = '[[package]]\nname = "core"\nsource = {{ registry = "https://u:p@index.example.com/simple/" }}\n{}\n'
    lock = tmp_path / "uv.lock"
    lock.write_text(package.format('wheels = [{ url = "x" }]'))
    assert unverified_package(str(lock), []) == ("core", "https://index.example.com/simple")
    assert unverified_package(str(lock), ["https://other:login@index.example.com/simple"]) == ("", "")
    lock.write_text(package.format('wheels = [{ url = "x", hash = "sha256:0" }]'))
    assert unverified_package(str(lock), []) == ("", "")


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("https://user:word@index.example.com/simple/", "https://index.example.com/simple"),
        ("https://token@index.example.com/simple?key=word#x", "https://index.example.com/simple"),
        ("https://index.example.com/@scope/simple", "https://index.example.com/@scope/simple"),
        ("", ""),
    ],
)
def test_an_address_is_recorded_without_credentials(address: str, wanted: str) -> None:
    assert without_login(address) == wanted
