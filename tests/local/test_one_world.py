# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Variables and files of a release: the same in all programs of a build, and never in the way of the environment."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release import programs
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import fingerprint
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import build_account
from ansible_collections.pyweb.stack.plugins.module_utils.release.secret_files import private_values
from hostile_account import needs_root

from local import test_building as builds
from local.test_building import APP, ID, NAME, Bench, wheel

pytestmark = needs_root

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv

SECOND = "20261121T020304Z-ab12cd34"
WRITER = Path(__file__).resolve().parents[1] / "apps/writer"
# A library whose build backend records its surroundings, and the program that does it.
LIBRARY = {name: (WRITER / name).read_text(encoding="utf-8") for name in ("lib/backend.py", "lib/pyproject.toml")}
LIBRARY |= {name: (WRITER / "probe.py").read_text(encoding="utf-8") for name in ("probe.py", "lib/probe.py")}
LIBRARY["requirements.txt"] = "./lib\n"
# Variables in which the programs of a build differ; docs/decisions/build-and-run.md lists them.
OWN = {"PWD", "OLDPWD", "SHLVL", "_"}
FINISHED = {"VIRTUAL_ENV", "PYTHONPATH", "PATH"}


def of_uv(name: str) -> bool:
    return name in ("UV", "PYTHONIOENCODING", "XDG_CONFIG_HOME") or name.startswith("UV_")


def test_a_build_backend_and_a_build_command_have_one_world(bench: Bench) -> None:
    env = {"TOKEN": "hunter2", "SETUPTOOLS_SCM_PRETEND_VERSION": "4.5", "QUOTED": "a 'b' \"c\" $d %i\nsecond line"}
    command = 'python -c \'import json, probe; json.dump(probe.surroundings(), open("by-command", "w"))\''
    release = bench.build({"app.py": APP, **LIBRARY}, env=env, build_commands=[command])
    backend = json.loads(bench.run("python", "-c", "import probing; print(probing.FOUND)"))
    other = json.loads((release / "src/by-command").read_text())
    for one in (backend, other):
        one["cwd"], one["unit"], one["writable"] = "", "", ""  # uv builds in a folder of its own
        one["env"] = {key: value for key, value in one["env"].items() if key not in OWN | FINISHED and not of_uv(key)}
    assert {*backend["env"].items()} ^ {*other["env"].items()} == set()
    assert backend == other
    assert {key: backend["env"][key] for key in env} == env
    assert backend["home"] == bench.layout.build
    assert backend["ids"][0] == pwd.getpwnam(build_account(NAME)).pw_uid
    assert bench.run("python", "-c", "from importlib.metadata import version; print(version('probing'))") == "4.5\n"


def test_a_variable_of_a_library_makes_a_new_environment(bench: Bench) -> None:
    first = bench.build({"app.py": APP, **LIBRARY}, env={"SETUPTOOLS_SCM_PRETEND_VERSION": "1.1"})
    second = bench.build({"app.py": APP, **LIBRARY}, SECOND, env={"SETUPTOOLS_SCM_PRETEND_VERSION": "1.2"})
    assert first != second
    program = ("python", "-c", "from importlib.metadata import version; print(version('probing'))")
    assert [bench.run(*program, identity=one) for one in (ID, SECOND)] == ["1.1\n", "1.2\n"]


def test_requirements_may_name_variables(bench: Bench) -> None:
    for number in (1, 2):
        wheel(bench.folder / f"wheels{number}", "companylib", "1.4.0", f"ANSWER = {number}\n")
        bench.folder.chmod(0o755)
    files = {"app.py": APP, "requirements.txt": "--no-index\n--find-links ${WHEELHOUSE}\ncompanylib==1.4.0\n"}
    answers = []
    for number, identity in ((1, ID), (2, SECOND)):
        bench.build(files, identity, env={"WHEELHOUSE": str(bench.folder / f"wheels{number}")})
        answers.append(bench.run("python", "-c", "import companylib; print(companylib.ANSWER)", identity=identity))
    assert answers == ["1\n", "2\n"]


def test_versions_of_the_tools_of_builds_are_inputs_of_an_environment(bench: Bench) -> None:
    files = {"app.py": APP, "tools.txt": "setuptools<81\n"}
    names = [
        os.readlink(bench.build(given, identity, env={"UV_BUILD_CONSTRAINT": "tools.txt"}) / "venv")
        for given, identity in ((files, ID), ({**files, "tools.txt": "setuptools<82\n"}, SECOND))
    ]
    assert names[0] != names[1]


def test_versions_of_the_tools_of_builds_are_in_the_source(bench: Bench) -> None:
    assert "outside of the source" in bench.refuse({"app.py": APP}, env={"UV_BUILD_CONSTRAINT": "/etc/passwd"})


def test_a_variable_that_no_requirement_names_needs_no_new_environment(bench: Bench) -> None:
    environments = [
        os.readlink(bench.build({"app.py": APP}, identity, env={"A": value}) / "venv")
        for identity, value in ((ID, "1"), (SECOND, "2"))
    ]
    assert environments[0] == environments[1]


def test_time_limits_of_the_inventory_reach_uv_and_git(bench: Bench) -> None:
    env = {"UV_HTTP_TIMEOUT": "7", "GIT_HTTP_LOW_SPEED_TIME": "9"}
    command = "echo $UV_HTTP_TIMEOUT $GIT_HTTP_LOW_SPEED_TIME >limits"
    release = bench.build({"app.py": APP, **LIBRARY}, env=env, build_commands=[command])
    backend = json.loads(bench.run("python", "-c", "import probing; print(probing.FOUND)"))["env"]
    assert {key: backend[key] for key in env} == env
    assert (release / "src/limits").read_text() == "7 9\n"


def test_no_message_shows_a_variable_of_a_requirement(bench: Bench) -> None:
    requirement = "core @ http://user:${TOKEN}@127.0.0.1:9/core-1.0-py3-none-any.whl\n"
    message = bench.refuse({"app.py": APP, "requirements.txt": requirement}, env={"TOKEN": "hunter2-correct-horse"})
    assert "could not resolve" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("name", ["UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_FIND_LINKS", "UV_CACHE_DIR", "UV_PYTHON"])
def test_a_variable_does_not_redirect_uv(bench: Bench, name: str) -> None:
    wheel(bench.folder / "wheels", "core", "1.0")
    lines = f"--no-index\n--find-links {bench.folder / 'wheels'}\ncore\n"
    bench.build({"app.py": APP, "requirements.txt": lines}, env={name: "/nowhere"})
    assert bench.run("sh", "-c", f"echo ${name}") == "/nowhere\n"
    assert not Path("/nowhere").exists()


def test_the_certificates_of_the_inventory_are_for_uv_and_those_of_a_variable_for_the_rest(bench: Bench) -> None:
    bundle = bench.folder / "ca.pem"
    bundle.write_text("")
    python = {"interpreter": "python3", "packages": [], "ca_bundle": str(bundle)}
    bench.build(
        {"app.py": APP, **LIBRARY}, python=python, env={"SSL_CERT_FILE": "/nowhere", "http_proxy": "http://p:1"}
    )
    found = json.loads(bench.run("python", "-c", "import probing; print(probing.FOUND)"))["env"]
    assert (found["SSL_CERT_FILE"], found["http_proxy"]) == (str(bundle), "http://p:1")
    assert bench.run("sh", "-c", "echo $SSL_CERT_FILE") == "/nowhere\n"


@pytest.mark.attack(
    "15.5", "A variable such as LD_PRELOAD names a file of the application, and a program of root loads it"
)
def test_no_program_of_root_has_a_variable_of_the_inventory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    captured = programs.captured

    def watch(argv: list[str], environment: dict[str, str], *more: Any) -> subprocess.CompletedProcess[str]:
        seen.append(environment)
        assert not [word for word in argv if "hunter2" in str(word)]
        return captured(argv, environment, *more)

    monkeypatch.setattr(programs, "captured", watch)
    env = {"LD_LIBRARY_PATH": f"{bench.layout.shared}/lib", "TOKEN": "hunter2"}
    bench.build({"app.py": APP}, env=env, build_commands=["true"])
    assert seen
    assert not [one for one in seen if env.keys() & one.keys()]
    assert not list(Path(bench.layout.release(ID)).glob("env.*"))


# Lists of folders


def test_the_environment_comes_first_in_path_and_pythonpath(bench: Bench) -> None:
    release = bench.build(
        {"app.py": APP, "src/lib.py": "NAME = 'release'\n"},
        env={"PATH": "/opt/tools/bin:/usr/bin::/bin", "PYTHONPATH": "/opt/lib:/usr/lib"},
    )
    found = dict(line.split("=", 1) for line in bench.run("env").splitlines() if "=" in line)
    assert found["PATH"].split(":") == [
        f"{release}/venv/bin",
        "/opt/tools/bin",
        "/usr/bin",
        "/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/sbin",
    ]
    folders = [f"{release}/entry", f"{release}/src", f"{release}/src/src", "/opt/lib", "/usr/lib"]
    assert found["PYTHONPATH"].split(":") == folders
    assert bench.run("which", "python") == f"{release}/venv/bin/python\n"
    assert found["WEBAPP_ROOT"] == f"{release}/src"


def test_a_variable_names_a_path_of_its_release(bench: Bench) -> None:
    env = {
        "SETTINGS": {"release": "config/prod.toml"},
        "ROOT": {"release": "."},
        "ADDRESS": {"before": "file://", "release": "config", "after": "?x={release}"},
        "TEXT": "{release}/x",
    }
    for identity in (ID, SECOND):
        release = bench.build({"app.py": APP, "config/prod.toml": "x"}, identity, env=env)
        program = 'printf "%s\\n" "$SETTINGS" "$ROOT" "$ADDRESS" "$TEXT"'
        lines = bench.run("sh", "-c", program, identity=identity)
        root = f"{release}/src"
        assert lines.splitlines() == [
            f"{root}/config/prod.toml",
            root,
            f"file://{root}/config?x={{release}}",
            "{release}/x",
        ]


def test_a_path_that_the_release_does_not_have_is_refused(bench: Bench) -> None:
    message = bench.refuse({"app.py": APP}, env={"SETTINGS": {"release": "config/prod.toml"}})
    assert "env.SETTINGS names 'config/prod.toml', which the application root of the release does not have" in message
    bench.build({"app.py": APP}, env={"SETTINGS": {"release": "made"}}, build_commands=["touch made"])


# Files of the inventory

SECRETS = {"path": "config/secrets.json", "content": '{"token": "hunter2-correct", "port": 1}\n'}


def mode(path: Path) -> tuple[int, int, str]:
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_uid, path.group()


@pytest.mark.parametrize("commands", [[], ["cp config/secrets.json copied; echo changed >config/secrets.json"]])
def test_a_file_of_the_inventory_is_in_the_release(bench: Bench, commands: list[str]) -> None:
    release = bench.build({"app.py": APP}, files=[SECRETS], build_commands=commands)
    path = release / "src/config/secrets.json"
    assert (path.read_text(), mode(path)) == (SECRETS["content"], (0o640, 0, NAME))
    assert bench.run("cat", "config/secrets.json") == SECRETS["content"]
    if commands:
        assert (release / "src/copied").read_text() == SECRETS["content"]
    denied = subprocess.run(["cat", path], user=65534, group=65534, extra_groups=[], capture_output=True, check=False)
    assert denied.returncode != 0
    assert private_values(bench.layout, ID)["file 0 0 token"] == "hunter2-correct"
    assert mode(release / "files.json")[0] == 0o600


def test_the_import_reads_a_file_of_the_inventory(bench: Bench) -> None:
    code = f"import json\nassert json.load(open('config/secrets.json'))['port'] == 1\n{APP}"
    bench.build({"app.py": code}, files=[SECRETS])


def test_a_file_of_the_source_is_replaced_only_on_purpose(bench: Bench) -> None:
    source = {"app.py": APP, "config/secrets.json": "{}"}
    message = bench.refuse(source, files=[SECRETS])
    assert "files names 'config/secrets.json', which is a file of the source. Set replace: true" in message
    release = bench.build(source, files=[{**SECRETS, "replace": True}])
    assert (release / "src/config/secrets.json").read_text() == SECRETS["content"]
    shutil.rmtree(release)
    message = bench.refuse({"app.py": APP, "config/secrets.json/x": ""}, files=[SECRETS])
    assert "which is a folder in the release" in message


@pytest.mark.attack("15.5", "A link of the source, or one of a build command, leads a file of the inventory elsewhere")
@pytest.mark.parametrize("by_command", [False, True])
def test_a_file_of_the_inventory_follows_no_link(bench: Bench, by_command: bool) -> None:
    outside = bench.folder / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    if by_command:
        commands = [f"rm -rf config && ln -s {outside} config"]
        message = bench.refuse({"app.py": APP}, files=[SECRETS], build_commands=commands)
    else:
        spec = bench.spec({"app.py": APP, "real/x": ""}, files=[SECRETS])
        source = max(bench.folder.glob("source-*"))
        (source / "config").symlink_to("real")
        names = builds.source_files(source)
        spec["source"]["data"] = builds.base64.b64encode(builds.archive(source, names)).decode()
        with pytest.raises(builds.ReleaseError) as caught:
            bench.build_spec(spec)
        message = str(caught.value)
    assert "files names 'config/secrets.json', but a part of this path is a link" in message
    assert list(outside.iterdir()) == []


def test_no_message_shows_what_a_file_of_the_inventory_contains(bench: Bench) -> None:
    code = "raise ValueError(open('config/secrets.json').read())\n"
    message = bench.refuse({"app.py": code}, files=[SECRETS])
    assert "ValueError" in message
    assert "hunter2" not in message


def test_a_changed_file_is_another_release(bench: Bench) -> None:
    class Versions(dict):  # type: ignore[type-arg]
        def __missing__(self, key: str) -> str:
            return "3"

    def found(**changes: Any) -> dict[str, str]:
        spec = bench.spec({"app.py": APP}, **changes) | {"processes": [], "limits": {}, "process_manager": "systemd"}
        spec["source"]["digest"] = "x"
        return fingerprint(spec, bench.layout, Versions(), False)  # type: ignore[arg-type]

    plain, first = found(), found(files=[SECRETS])
    second = found(files=[{**SECRETS, "content": SECRETS["content"].replace("1", "2")}])
    other = found(files=[{**SECRETS, "path": "other.json"}])
    assert len({one["secrets"] for one in (plain, first, second, other)}) == 4
    assert {one["settings"] for one in (plain, first, second, other)} == {plain["settings"]}
    assert found(files=[]) == plain, "releases of inventories without files stay what they are"


# Leftovers of the import check


CREATES = {
    "a database": "import sqlite3; sqlite3.connect('data/shop.db')",
    "a database by its address": (
        "import sqlite3, os; sqlite3.connect(f'file:{os.getcwd()}/data/x.db?mode=rwc', uri=True)"
    ),
    "a file": "open('data/log', 'a')",
    "a folder": "import os; os.makedirs('data/a/b'); open('data/a/b/c', 'w')",
    "a renamed file": "import os; open('data/x', 'w').close(); os.replace('data/x', 'data/y')",
}


@pytest.mark.parametrize("is_live", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("what", CREATES)
def test_the_import_check_leaves_nothing(bench: Bench, what: str, is_live: bool) -> None:
    bench.build({"app.py": APP, "data/seed": "s"}, shared=["data"])
    if is_live:
        os.symlink(bench.layout.release(ID), bench.layout.current)
    bench.build({"app.py": f"{CREATES[what]}\n{APP}"}, SECOND, shared=["data"])
    assert sorted(os.listdir(f"{bench.layout.shared}/data")) == ["seed"]
    assert Path(bench.layout.shared, "data/seed").read_text() == "s"


TABLES = (
    "import sqlite3; db = sqlite3.connect('data/shop.db'); db.execute('pragma journal_mode=wal'); "
    "db.execute('create table a (b)'); db.commit()"
)


@pytest.mark.parametrize("code", [CREATES["a database"], TABLES], ids=["empty", "tables"])
def test_an_import_that_fails_leaves_nothing_either(bench: Bench, code: str) -> None:
    bench.refuse({"app.py": f"{code}\n1 / 0\n", "data/seed": "s"}, shared=["data"])
    assert os.listdir(f"{bench.layout.shared}/data") == ["seed"]


@pytest.mark.parametrize("is_live", [False, True], ids=["first", "later"])
def test_tables_that_an_import_creates_stay_for_the_workers(bench: Bench, is_live: bool) -> None:
    """Several workers that create them at the same time would fail: table a already exists."""
    bench.build({"app.py": APP, "data/seed": "s"}, shared=["data"])
    if is_live:
        os.symlink(bench.layout.release(ID), bench.layout.current)
    bench.build({"app.py": f"{TABLES}\n{APP}"}, SECOND, shared=["data"])
    with contextlib.closing(sqlite3.connect(f"{bench.layout.shared}/data/shop.db")) as database:
        assert database.execute("select name from sqlite_master").fetchall() == [("a",)]


def test_what_another_program_creates_for_the_first_import_goes(bench: Bench) -> None:
    code = "import subprocess; subprocess.run(['sh', '-c', 'mkdir data/store; touch data/store/x'], check=True)"
    bench.build({"app.py": f"{code}\n{APP}", "data/seed": "s"}, shared=["data"])
    assert os.listdir(f"{bench.layout.shared}/data") == ["seed"]


def test_files_of_the_live_release_and_caches_stay(bench: Bench) -> None:
    """The live release writes while the import check runs."""
    bench.build({"app.py": APP, "data/seed": "s"}, shared=["data"])
    os.symlink(bench.layout.release(ID), bench.layout.current)
    code = (
        "import os, pathlib, subprocess\n"
        "pathlib.Path.home().joinpath('fonts').write_text('x')\n"
        "subprocess.run(['sh', '-c', 'echo x >data/upload'], check=True)\n"  # stands for the live release
        "open('data/seed', 'a').write('t')\n"
        "open('data/upload', 'a').write('y')\n"
    )
    bench.build({"app.py": code + APP}, SECOND, shared=["data"])
    data = Path(bench.layout.shared, "data")
    assert sorted(os.listdir(data)) == ["seed", "upload"]
    assert (data / "seed").read_text() == "st"
    assert Path(bench.layout.cache, "fonts").exists()


def test_a_file_that_another_process_has_open_stays(bench: Bench) -> None:
    code = (
        "import subprocess\n"
        "log = open('data/log', 'a')\n"
        "subprocess.Popen(['sleep', '5'], stdout=log)\n"  # stands for a process that appends to the same log
    )
    bench.build({"app.py": APP, "data/seed": "s"}, shared=["data"])
    os.symlink(bench.layout.release(ID), bench.layout.current)
    bench.build({"app.py": code + APP}, SECOND, shared=["data"])
    assert sorted(os.listdir(f"{bench.layout.shared}/data")) == ["log", "seed"]


# Files and tables that release commands create

NEEDS = {
    "a file": "open('data/settings.json')",
    "a table": "import sqlite3; sqlite3.connect(':memory:').execute('select 1 from users')",
    "a database": "import sqlite3; sqlite3.connect('nowhere/shop.db').execute('select 1')",
}


@pytest.mark.parametrize("in_factory", [False, True], ids=["module", "factory"])
@pytest.mark.parametrize("what", NEEDS)
def test_the_message_for_what_does_not_exist_yet_names_the_order(bench: Bench, what: str, in_factory: bool) -> None:
    lines = [*NEEDS[what].split("; "), *APP.splitlines()]
    code = "\n".join(lines)
    if in_factory:
        body = "\n".join(f"    {line}" for line in lines)
        code = f"def create_app():\n{body}\n    return app\n"
    given = {"wsgi": "app:create_app()"} if in_factory else {}
    message = bench.refuse({"app.py": code}, **given)
    assert "imports the application before it runs the commands of commands.release" in message
    assert "import_check: false" in message


def test_the_import_check_can_be_left_out(bench: Bench) -> None:
    bench.build({"app.py": NEEDS["a file"]}, import_check=False)


def test_other_errors_of_an_import_name_no_command(bench: Bench) -> None:
    assert "commands.release" not in bench.refuse({"app.py": "1 / 0\n"})
