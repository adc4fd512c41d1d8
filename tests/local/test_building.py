# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Building a release with real processes, a real uv and a real account, as on a host."""

from __future__ import annotations

import base64
import errno
import grp
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import builder, environment
from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.builder import build_release
from ansible_collections.pyweb.stack.plugins.module_utils.building.environment import environment_key, inputs_of
from ansible_collections.pyweb.stack.plugins.module_utils.building.requirements import (
    Requirements,
    read_requirements,
    wanted_requirements,
)
from ansible_collections.pyweb.stack.plugins.module_utils.building.resolution import Resolution, Step
from ansible_collections.pyweb.stack.plugins.module_utils.building.shared import serve_shared
from ansible_collections.pyweb.stack.plugins.module_utils.building.workspace import Workspace
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.files import look_at_static
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.host.interpreters import version_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import digest
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import run_as_account
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    BUILT,
    Layout,
    Manifest,
    ReleaseError,
    build_account,
    manifests,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.packaged import copies
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import archive, fingerprint, source_files

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an application has an account of its own")

ID = "20261121T010203Z-ab12cd34"
# Used by this run only: another run may be active, and a container may have an account with any common user ID.
NAME = f"pywebunit{os.getpid()}"


def free_number() -> int:
    """A user ID that no account and no process of this machine has, not even in a container."""
    processes = {entry.stat().st_uid for entry in Path("/proc").glob("[0-9]*") if entry.exists()}
    accounts = {entry.pw_uid for entry in pwd.getpwall()}
    return next(number for number in range(50_000 + os.getpid() % 5_000, 60_000) if number not in processes | accounts)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pwd.struct_passwd]:
    """An account like that of an application; it is removed afterwards."""
    home = str(tmp_path_factory.mktemp("home"))
    number = str(free_number())
    add = ["useradd", "--uid", number, "--user-group", "--no-create-home", "--no-log-init", "--home-dir", home, NAME]
    subprocess.run(add, check=True, capture_output=True)
    builder = build_account(NAME)
    options = ["--gid", NAME, "--no-create-home", "--no-log-init", "--home-dir", f"{home}/build"]
    subprocess.run(["useradd", "--uid", str(free_number()), *options, builder], check=True, capture_output=True)
    yield pwd.getpwnam(NAME)
    for name in (builder, NAME):
        subprocess.run(["userdel", name], check=False, capture_output=True)


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A folder that other accounts can open, like /srv. pytest's own folders are closed to other accounts."""
    with tempfile.TemporaryDirectory(prefix="pyweb-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def uv(public: Path) -> str:
    """uv in a place where the account can run it, as on a host."""
    found = Path(sys.executable).parent / "uv"
    program = str(found) if found.exists() else shutil.which("uv")
    if program is None:
        pytest.fail("uv is not in the environment of the tests: make it by scripts/environment.sh test")
    return shutil.copy(program, public / "uv")


class Bench:
    """Builds releases of one application from the files of a test."""

    def __init__(self, root: Path, owner: pwd.struct_passwd, uv: str) -> None:
        self.folder = root
        self.layout = Layout(NAME, str(root / "apps"), str(root / "run"))
        self.uv = uv
        for path in (self.layout.root, self.layout.home, self.layout.releases, self.layout.venvs):
            os.makedirs(path, mode=0o755, exist_ok=True)
        for path in (self.layout.shared, self.layout.cache):
            os.mkdir(path)
            os.chown(path, owner.pw_uid, owner.pw_gid)
        os.mkdir(self.layout.build, 0o700)
        os.chown(self.layout.build, pwd.getpwnam(build_account(NAME)).pw_uid, owner.pw_gid)

    def spec(self, files: dict[str, str], /, **changes: Any) -> dict[str, Any]:
        source = self.folder / f"source-{time.monotonic_ns()}"
        source.mkdir()
        for name, text in files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        packed = archive(source, source_files(source))
        return {
            "name": NAME,
            "source": {"kind": "path", "subdir": "", "data": base64.b64encode(packed).decode()},
            "python": {"interpreter": "python3", "packages": []},
            "server_packages": [],
            "server_files": [],
            "wsgi": "app:app",
            "protocol": "wsgi",
            "entry": None,
            "environment": {},
            "env": {},
            "shared": [],
            "build_commands": [],
            "import_timeout": 20,
            **changes,
        }

    def build(self, files: dict[str, str], /, identity: str = ID, **changes: Any) -> Path:
        manifest = self.build_spec(self.spec(files, **changes), identity)
        assert manifest.state == BUILT
        return Path(self.layout.release(identity))

    def build_spec(self, spec: dict[str, Any], identity: str = ID, code: str = "code") -> Manifest:
        manifest = Manifest(identity)
        build_release(Build(spec, self.layout, self.uv, code, identity), manifest)
        return manifest

    def refuse(self, files: dict[str, str], /, **changes: Any) -> str:
        """The message of a build that must fail, and leave one bad release for inspection."""
        with pytest.raises(ReleaseError) as caught:
            self.build(files, **changes)
        (left,) = manifests(self.layout)
        message = str(caught.value)
        assert (left.state, left.venv or "none") in ((BAD, "none"), (BAD, *os.listdir(self.layout.venvs)))
        assert left.reason in message
        assert f"is kept in {self.layout.release(left.id)} for inspection." in message
        shutil.rmtree(self.layout.release(left.id))
        assert message.startswith(f"webapps '{NAME}': ")
        return message

    def run(self, *command: str, identity: str = ID) -> str:
        launcher = os.path.join(self.layout.release(identity), "bin", "run")
        owner = pwd.getpwnam(NAME)
        answer = subprocess.run(
            [launcher, *command], env={}, user=owner.pw_uid, group=owner.pw_gid, extra_groups=[], capture_output=True
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.decode()


@pytest.fixture
def bench(public: Path, account: pwd.struct_passwd, uv: str) -> Iterator[Bench]:
    root = public / f"bench-{time.monotonic_ns()}"
    root.mkdir(mode=0o755)
    yield Bench(root, account, uv)
    shutil.rmtree(root)


def running() -> list[str]:
    """The account's processes without zombies, which remain on a machine without an init."""
    listed = subprocess.run(["ps", "-u", NAME, "-o", "stat=,args="], check=False, capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]


APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"


# Contents of a release


@needs_root
def test_a_release_has_all_that_a_process_needs(bench: Bench) -> None:
    release = bench.build({"app.py": APP, "pkg/data.txt": "x"})
    assert sorted(entry.name for entry in release.iterdir()) == [
        "bin",
        "env",
        "inherits_sockets",
        "release.json",
        "src",
        "venv",
    ]
    assert (release / "src/pkg/data.txt").read_text() == "x"
    assert (release / "venv/bin/python").exists()
    assert os.readlink(release / "venv").startswith("../../venvs/")
    assert bench.run("python", "-c", "import app, sys; print(app.__file__, sys.prefix)").split() == [
        str(release / "src/app.py"),
        str(release / "venv"),
    ]


@needs_root
def test_nothing_of_a_release_can_be_changed_by_the_application(bench: Bench, account: pwd.struct_passwd) -> None:
    release = bench.build({"app.py": APP}, build_commands=["echo made > made.txt"])
    assert (release / "src/made.txt").read_text() == "made\n"
    for base, folders, files in os.walk(release):
        for entry in [base, *(os.path.join(base, name) for name in folders + files)]:
            assert os.lstat(entry).st_uid == 0, entry
    for base, _folders, _files in os.walk(release / "venv/"):
        assert os.lstat(base).st_uid == 0, base


@pytest.mark.attack("4", "Another account reads the settings and secrets of a release")
@needs_root
def test_only_root_and_the_application_read_its_environment(bench: Bench, account: pwd.struct_passwd) -> None:
    release = bench.build({"app.py": APP}, env={"PASSWORD": "x"})
    status = (release / "env").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 0, account.pw_gid)
    assert stat.S_IMODE((release / "release.json").stat().st_mode) == 0o600


TEXTS = {
    "PLAIN": "x",
    "EMPTY": "",
    "QUOTES": """it's "quoted" `id` \\ \\n""",
    "PERCENT": "100%s %i %%",
    "DOLLAR": "$HOME ${PATH} $(id) $$",
    "LINES": "one\ntwo\n\nthree\n",
    "RETURNS": "a\r\nb\r",
    "LETTERS": "Grüße, 世界 😀",
    "SPACES": "  a  b\t",
    "GLOB": "* ? [a] ~ {a,b} ! # ; & | < >",
    "DASH": "-n",
    "EQUALS": "a=b=c",
    "IFS": "x",
    "OPTIND_": "y",
    "_LEADING": "z",
}


@needs_root
def test_every_value_arrives_exactly(bench: Bench) -> None:
    bench.build({"app.py": APP}, env=TEXTS)
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    import json

    found = json.loads(bench.run("python", "-c", code))
    assert {key: found.get(key) for key in TEXTS} == TEXTS


@needs_root
def test_the_users_variables_win(bench: Bench) -> None:
    bench.build({"app.py": APP}, environment={"SCRIPT_NAME": "/a"}, env={"SCRIPT_NAME": "/b", "LANG": "C"})
    assert bench.run("sh", "-c", "echo $SCRIPT_NAME $LANG $WEBAPP_NAME $WEBAPP_RELEASE") == f"/b C {NAME} {ID}\n"


@needs_root
@pytest.mark.parametrize(("given", "wanted"), [({}, "1"), ({"PYTHONUNBUFFERED": ""}, "")])
def test_what_is_printed_is_not_collected_unless_the_user_wants_it(
    bench: Bench, given: dict[str, str], wanted: str
) -> None:
    bench.build({"app.py": APP}, env=given)
    assert bench.run("sh", "-c", "echo $PYTHONUNBUFFERED") == f"{wanted}\n"
    process = subprocess.Popen(
        [f"{bench.layout.release(ID)}/bin/run", "python", "-c", "import time; print('here'); time.sleep(30)"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        ready = select.select([process.stdout], [], [], 5 if wanted else 1)[0]
    process.kill()
    process.wait()
    assert bool(ready) is bool(wanted)


@needs_root
def test_a_source_with_a_src_folder_is_importable(bench: Bench) -> None:
    bench.build({"src/shop/__init__.py": "", "src/shop/wsgi.py": APP}, wsgi="shop.wsgi:app")


@needs_root
def test_the_application_root_can_lie_deeper(bench: Bench) -> None:
    spec = bench.spec({"backend/app.py": APP})
    spec["source"]["subdir"] = "backend"
    bench.build_spec(spec)
    assert bench.run("pwd").strip().endswith("/src/backend")


@needs_root
def test_a_root_that_is_none(bench: Bench) -> None:
    spec = bench.spec({"backend/app.py": APP})
    spec["source"]["subdir"] = "front"
    with pytest.raises(ReleaseError, match=r"It has: backend\."):
        bench.build_spec(spec)


# The import check


@needs_root
@pytest.mark.parametrize(
    ("files", "wsgi", "words"),
    [
        ({"shop.py": APP}, "app:app", ["wsgi is 'app:app'", "no module 'app'", "has: shop."]),
        ({"data.txt": "x"}, "app:app", ["no module 'app'", "no Python module at all", "subdir"]),
        ({"shop/__init__.py": ""}, "shop.wsgi:app", ["no module 'shop.wsgi'", "has: shop."]),
        ({"app.py": "import nosuchthing"}, "app:app", ["No module named 'nosuchthing'", "nothing is installed"]),
        ({"app.py": "def app(:\n  pass"}, "app:app", ["importing 'app' failed", "SyntaxError", "def app(:"]),
        ({"app.py": "x = 1\nraise RuntimeError('no database')"}, "app:app", ["RuntimeError: no database", "line 2"]),
        ({"app.py": "import sys\nsys.exit(3)"}, "app:app", ["importing 'app' failed", "SystemExit: 3"]),
        (
            {"app.py": "import os\nprint('last words', flush=True)\nos._exit(3)"},
            "app:app",
            ["ended the interpreter with status 3", "last words"],
        ),
        (
            {"app.py": "class W:\n    wsgi_app = 1\n    def __call__(self): 1\nserver = W()"},
            "app:app",
            ["has no 'app'", "Did you mean 'app:server'?"],
        ),
        ({"app.py": "def create_app(): 1"}, "app:app", ["has no 'app'", "'app:create_app()'"]),
        ({"app.py": "x = 1"}, "app:app", ["has no 'app'", "factory call"]),
        ({"app.py": "app = 5"}, "app:app", ["that is a int", "can't call"]),
        (
            {"app.py": "def make_app(kind): return print"},
            "app:make_app",
            ["wants 'kind'", "'app:make_app(\"production\")'"],
        ),
        ({"app.py": "def create_app(): return print"}, "app:create_app", ["a factory", "'app:create_app()'"]),
        (
            {"app.py": "def create_app(kind): return print"},
            "app:create_app()",
            [
                "calling the factory",
                "It wants arguments",
                "'app:create_app(\"production\")'",
                "missing 1 required",
                "kind",
            ],
        ),
        ({"app.py": "def create_app(): return None"}, "app:create_app()", ["returns nothing"]),
        ({"app.py": "app = print"}, "app.py:app", ["names a module, not a file. Write 'app:app'"]),
        ({"app.py": "def create_app(x): 1"}, "app:create_app(open)", ["must be plain values"]),
        (
            {"app.py": "raise BlockingIOError(11, 'x')"},
            "app:app",
            ["Another process has what the application needs", "exclusive: true"],
        ),
        (
            {"app.py": "def create_app(): raise OSError('Could not set lock on file')"},
            "app:create_app()",
            ["Another process has what the application needs", "Could not set lock on file"],
        ),
        ({"app.py": "class box: inner = print"}, "app:box.iner", ["the module 'app' has no 'box.iner'"]),
        (
            {"app.py": "def make_app(): return 1"},
            "app:make_app().x",
            ["has no 'make_app().x'. Did you mean 'app:make_app"],
        ),
        ({"app.py": "def create_app(x=1): return print"}, "app:create_app()()", ["must be plain values"]),
        ({"app.py": "def create_app(x=1): return print"}, "app:create_app() or (1)", ["must be plain values"]),
        ({"app.py": "def create_app(x=1): return print"}, "app:create_app(*[1])", ["must be plain values"]),
    ],
)
def test_a_callable_that_is_none_is_told_with_its_remedy(
    bench: Bench, files: dict[str, str], wsgi: str, words: list[str]
) -> None:
    message = bench.refuse(files, wsgi=wsgi)
    for word in words:
        assert word in message, message
    assert "importlib" not in message


@needs_root
@pytest.mark.parametrize(
    "wsgi",
    [
        *("app:create_app()", "app:create_app(2)", "app:create_app(x=3)", "app:box.inner", "app:box.made()"),
        *("app:box.make('.)').inner", "app:box.make().inner.inner"),
    ],
)
def test_factories_and_dotted_names_are_fine(bench: Bench, wsgi: str) -> None:
    code = """
        class box:
            def inner(self, *words): pass
            inner.inner = inner
            made = lambda: print
            make = lambda x=1: box
        def create_app(x=1): return print
    """
    bench.build({"app.py": code}, wsgi=wsgi)


@needs_root
def test_an_application_that_cannot_run_twice_is_not_imported_while_it_runs(bench: Bench) -> None:
    code = """
        raise BlockingIOError("[Errno 11] Resource temporarily unavailable")
    """
    message = bench.refuse({"app.py": code}, stop_first=True)
    assert "No other release was running (switch: stop_first)" in message, "the first release is imported"
    os.symlink(f"releases/{ID}", bench.layout.current)
    bench.build({"app.py": code}, identity="20261121T010204Z-ab12cd34", stop_first=True)


@needs_root
@pytest.mark.parametrize("ending", ["raise BlockingIOError(11, 'busy')", "import sys; sys.exit('database is locked')"])
def test_an_import_that_a_lock_prevents_leads_to_the_switch(bench: Bench, ending: str) -> None:
    assert "switch: stop_first" in bench.refuse({"app.py": ending})


@needs_root
def test_a_module_that_serves_when_imported_is_given_up_and_ended(bench: Bench) -> None:
    code = """
        import subprocess, sys, time
        # The reloader of a development server does the same.
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(333)"])
        time.sleep(333)
    """
    began = time.monotonic()
    message = bench.refuse({"app.py": code}, import_timeout=1)
    assert "did not end within 1 seconds" in message
    assert '__name__ == "__main__"' in message
    assert "switch: stop_first" in message
    assert time.monotonic() - began < 20
    assert wait_for(lambda: running() == [], 20), running()


@needs_root
def test_an_application_that_prints_much_is_no_trouble(bench: Bench) -> None:
    bench.build({"app.py": APP + "print('x' * 5_000_000)\n"})


@pytest.mark.attack("17", "An application prints its secrets during the import check")
@needs_root
def test_secrets_that_an_application_prints_do_not_reach_the_message(bench: Bench) -> None:
    code = "import os\nraise RuntimeError('bad ' + os.environ['DATABASE_URL'] + ' ' + os.environ['API_KEY'])"
    env = {"DATABASE_URL": "postgres://shop:hunter2@db/shop", "API_KEY": "k3yk3y", "DEBUG": "1"}
    message = bench.refuse({"app.py": code}, env=env)
    assert "RuntimeError: bad ***" in message
    assert "hunter2" not in message
    assert "k3yk3y" not in message


@needs_root
def test_proxy_fix_needs_werkzeug(bench: Bench) -> None:
    message = bench.refuse({"app.py": APP}, entry={"protocol": "wsgi", "proxy_fix": True, "prefix": ""})
    assert "werkzeug is not among the dependencies" in message
    assert "python.packages" in message


# Build commands


@needs_root
def test_a_failing_build_command_shows_what_it_said(bench: Bench) -> None:
    message = bench.refuse({"app.py": APP}, build_commands=["true", "echo out; echo oops >&2; exit 7"])
    assert "build command 'echo out; echo oops >&2; exit 7' failed with status 7" in message
    assert "out" in message
    assert "oops" in message


@needs_root
def test_build_commands_run_as_the_build_account_in_the_environment_of_the_release(bench: Bench) -> None:
    release = bench.build(
        {"app.py": APP}, env={"A": "b"}, build_commands=["id -un > who", "echo $A $HOME $USER >> who; pwd >> who"]
    )
    builder = build_account(NAME)
    assert (release / "src/who").read_text().split() == [
        builder,
        "b",
        bench.layout.build,
        builder,
        str(release / "src"),
    ]


@needs_root
def test_the_files_of_the_server_are_there_before_the_release_is_finished(bench: Bench) -> None:
    web = {"path": "bin/web", "content": "#!/bin/sh\nexec echo @RELEASE@\n", "mode": "0755"}
    release = bench.build({"app.py": APP}, server_files=[web], build_commands=["../bin/web > said"])
    assert (release / "src/said").read_text().strip() == release.name
    assert (release / "bin/web").stat().st_uid == 0


@needs_root
def test_what_a_build_command_leaves_running_is_ended(bench: Bench) -> None:
    began = time.monotonic()
    bench.build({"app.py": APP}, build_commands=["sleep 333 & echo started"])
    assert time.monotonic() - began < 20
    assert wait_for(lambda: running() == [], 20), running()


DYING = """
    import sys
    sys.path.insert(0, {path!r})
    from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
    from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import run_as_account
    from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
    layout = Layout({name!r}, {root!r})
    with lock(layout, "alice@desk"):
        run_as_account(layout, ["/bin/sh", "-c", "setsid sleep 333 & sleep 334; true"], "/", {{}}, 60)
"""


@needs_root
@pytest.mark.parametrize("with_keeper", [False, True])
def test_what_a_killed_run_leaves_running_is_ended(bench: Bench, with_keeper: bool) -> None:
    """The keeper of the programs ends them. If it is killed too, the next run ends them."""
    path = next(entry for entry in sys.path if entry.endswith(".collections"))
    code = textwrap.dedent(DYING.format(path=path, name=NAME, root=bench.layout.root))
    with subprocess.Popen([sys.executable, "-B", "-c", code]) as killed:
        sleeping = wait_for(lambda: {"sleep 333", "sleep 334"} <= {line.split(maxsplit=1)[1] for line in running()}, 20)
        if with_keeper:
            keepers = subprocess.run(["pgrep", "-P", str(killed.pid)], capture_output=True, text=True, check=True)
            for pid in keepers.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
        killed.kill()
    assert (sleeping, killed.returncode) == (True, -signal.SIGKILL)
    if with_keeper:
        assert len(running()) == 3
        with lock(bench.layout, "bob@desk"):
            assert running() == []
    else:
        assert wait_for(lambda: running() == [], 10)


@needs_root
def test_a_build_command_that_never_ends_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "COMMAND_TIMEOUT", 1)
    assert "did not end within 1 seconds" in bench.refuse({"app.py": APP}, build_commands=["sleep 333"])


# Shared folders


@needs_root
def test_a_shared_folder_is_seeded_once_and_outlives_releases(bench: Bench, account: pwd.struct_passwd) -> None:
    files = {"app.py": APP, "instance/a.txt": "first", "instance/deep/b.txt": "b"}
    release = bench.build(files, shared=["instance", "var/uploads"])
    shared = Path(bench.layout.shared)
    assert os.readlink(release / "src/instance") == str(shared / "instance")
    assert (shared / "instance/deep/b.txt").read_text() == "b"
    for path in (shared / "instance", shared / "instance/deep/b.txt", shared / "var/uploads"):
        assert path.stat().st_uid == account.pw_uid
    bench.run("sh", "-c", "echo mine > instance/a.txt; touch var/uploads/new")
    second = bench.build(files, "20261121T020304Z-ab12cd34", shared=["instance", "var/uploads"])
    assert (second / "src/instance/a.txt").read_text() == "mine\n"
    assert (second / "src/var/uploads/new").exists()
    assert sorted(os.listdir(shared)) == ["instance", "var"]


@pytest.mark.attack("11", "An application replaces a shared folder by a link")
@needs_root
def test_a_shared_folder_that_is_a_link_leads_root_nowhere(bench: Bench, account: pwd.struct_passwd) -> None:
    victim = bench.folder / "victim"
    victim.mkdir(mode=0o755)
    (victim / "shadow").write_text("root's")
    (Path(bench.layout.shared) / "trap").symlink_to(victim)
    os.lchown(Path(bench.layout.shared) / "trap", account.pw_uid, account.pw_gid)
    message = bench.refuse({"app.py": APP, "trap/sub/evil": "x"}, shared=["trap/sub"])
    assert "'trap/sub' could not be created" in message
    assert (victim.stat().st_uid, (victim / "shadow").stat().st_uid) == (0, 0)
    assert os.listdir(victim) == ["shadow"]


@needs_root
def test_a_shared_folder_that_is_a_file_in_the_source(bench: Bench) -> None:
    message = bench.refuse({"app.py": APP, "db.sqlite3": "x"}, shared=["db.sqlite3"])
    assert "'db.sqlite3', which is a file in the source, but shared takes folders." in message
    assert "Move it into a folder, such as instance/db.sqlite3, and name that: shared: [instance]." in message


# Environments


@needs_root
def test_releases_with_the_same_dependencies_share_an_environment(bench: Bench) -> None:
    first = bench.build({"app.py": APP, "requirements.txt": "# none\n"})
    stamp = os.stat(first / "venv/.complete").st_mtime_ns
    second = bench.build({"app.py": APP + "# more", "requirements.txt": "# none\n"}, "20261121T020304Z-ab12cd34")
    assert os.readlink(first / "venv") == os.readlink(second / "venv")
    assert os.stat(second / "venv/.complete").st_mtime_ns == stamp


@needs_root
@pytest.mark.parametrize("changed", ["requirements.txt", "more/base.txt", "more/limits.txt"])
def test_other_dependencies_make_another_environment(bench: Bench, changed: str) -> None:
    for name in ("one", "two"):
        wheel(bench.folder / "shelf", name, "1.0")
        wheel(bench.folder / "shelf", name, "2.0")
    listed = {
        "requirements.txt": f"--no-index\n--find-links {bench.folder}/shelf\n-r more/base.txt\n",
        "more/base.txt": "-c limits.txt\none\n",
        "more/limits.txt": "one==1.0\n",
    }
    other = {"requirements.txt": "two\n", "more/base.txt": "two\n", "more/limits.txt": "# none\n"}[changed]
    wanted = {**listed, changed: other if changed == "more/limits.txt" else listed[changed] + other}
    one = bench.build({"app.py": APP, **listed})
    two = bench.build({"app.py": APP, **wanted}, "20261121T020304Z-ab12cd34", upgrade="now")
    assert os.readlink(one / "venv") != os.readlink(two / "venv")


@needs_root
def test_an_unfinished_environment_is_made_anew(bench: Bench) -> None:
    release = bench.build({"app.py": APP})
    venv = os.path.realpath(release / "venv")
    os.unlink(os.path.join(venv, ".complete"))
    Path(venv, "leftover").touch()
    bench.build({"app.py": APP}, "20261121T020304Z-ab12cd34")
    assert os.path.exists(os.path.join(venv, ".complete"))
    assert not os.path.exists(os.path.join(venv, "leftover"))


@needs_root
def test_missing_requirements_are_told_with_what_is_there(bench: Bench) -> None:
    python = {"interpreter": "python3", "requirements": ["prod.txt"]}
    message = bench.refuse({"app.py": APP, "requirements.txt": ""}, python=python)
    assert "names 'prod.txt', but the source has no such file. It has: requirements.txt." in message


@needs_root
def test_a_requirement_that_does_not_exist_is_told(bench: Bench) -> None:
    # A local, empty index, so that the test needs no network.
    index = bench.folder / "index"
    index.mkdir()
    python = {"interpreter": "python3", "packages": ["nosuchpackage"], "index_url": index.as_uri()}
    message = bench.refuse({"app.py": APP, "requirements.txt": "# mine"}, python=python)
    assert "could not resolve requirements.txt and 'nosuchpackage'" in message
    assert "uv ended with status 1. Its output:" in message
    assert os.listdir(bench.layout.venvs) == []


@needs_root
@pytest.mark.parametrize(
    ("interpreter", "words"),
    [
        ("python9.9", "not on the host. Install it"),
        ("sh", "is not a Python interpreter"),
        ("true", "not a Python interpreter"),
    ],
)
def test_an_interpreter_that_is_none(bench: Bench, interpreter: str, words: str) -> None:
    assert words in bench.refuse({"app.py": APP}, python={"interpreter": interpreter})


@needs_root
def test_a_bundle_of_authorities_that_is_missing(bench: Bench) -> None:
    python = {"interpreter": "python3", "ca_bundle": "/nowhere/ca.pem"}
    assert "python.ca_bundle '/nowhere/ca.pem' is not a file" in bench.refuse({"app.py": APP}, python=python)


@needs_root
def test_of_failed_builds_the_last_is_kept_and_finished_ones_alone(bench: Bench) -> None:
    older = bench.build({"app.py": APP})
    for second in (4, 5):
        with pytest.raises(ReleaseError):
            bench.build({"app.py": f"import nosuchthing{second}"}, f"20261121T02030{second}Z-ab12cd34")
    assert sorted(os.listdir(bench.layout.releases)) == [ID, "20261121T020305Z-ab12cd34"]
    assert (older / "src/app.py").exists()


@needs_root
def test_a_full_disk_is_not_kept_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(builder, "write_launcher", full)
    with pytest.raises(OSError, match="No space left"):
        bench.build({"app.py": APP})
    assert os.listdir(bench.layout.releases) == []


@needs_root
def test_what_can_not_be_marked_is_not_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(layout: Layout, manifest: Manifest) -> None:
        if manifest.state == BAD:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(builder, "write_manifest", full)
    with pytest.raises(ReleaseError, match="nosuchthing") as caught:
        bench.build({"app.py": "import nosuchthing"})
    assert "for inspection" not in str(caught.value)
    assert os.listdir(bench.layout.releases) == []


# Small functions


def test_an_interpreter_tells_its_version(public: Path) -> None:
    assert version_of(sys.executable) == f"cpython-{sys.version_info[0]}.{sys.version_info[1]}"
    other = public / "python"
    other.write_text('#!/bin/sh\nexec /usr/bin/python3 "$@"\n')
    other.chmod(0o755)
    assert version_of(str(other)).startswith("cpython-3."), "asked, where it is another one"
    assert version_of("/bin/false") == ""
    assert version_of("/nowhere") == ""


# Applications that can be imported but not served

# Enough of a Flask application for a check of its routes.
FRAMEWORK = """
class Rule:
    def __init__(self, endpoint):
        self.endpoint = endpoint

class App:
    def __init__(self):
        self.rules = [Rule("static")]
        self.url_map = self
    def iter_rules(self):
        return self.rules
    def route(self, path):
        return lambda function: self.rules.append(Rule(path)) or function
    def run(self, **options):
        raise SystemExit("it was started")
    def __call__(self, environ, start_response):
        return []
"""

RUN_PY = """
from framework import App

app = App()

def pages():
    @app.route("/")
    def home():
        return ""

def main():
    pages()
    app.run(debug=True)

if __name__ == "__main__":
    from framework import Rule
    @app.route("/late")
    def late():
        return ""
    main()
    app.run(port=5000)
"""


@needs_root
def test_routes_of_a_file_that_is_started_by_hand_are_recognised(bench: Bench) -> None:
    message = bench.refuse({"framework.py": FRAMEWORK, "run.py": RUN_PY}, wsgi="run:app")
    for word in ("404", "python run.py", '__name__ == "__main__"', "line 17: @app.route('/late')", "line 12: pages()"):
        assert word in message, message
    assert "app.run" not in message


@needs_root
def test_routes_may_be_registered_by_another_file_than_the_one_that_is_served(bench: Bench) -> None:
    shop = "from framework import App\napp = App()\n"
    start = "from shop import app\nif __name__ == '__main__':\n    import shop_pages\n    app.run()\n"
    message = bench.refuse({"framework.py": FRAMEWORK, "shop.py": shop, "start.py": start}, wsgi="shop:app")
    assert "python start.py" in message
    assert "line 3: import shop_pages" in message


@needs_root
@pytest.mark.parametrize(
    "code",
    [
        # The routes exist; the block for a start by hand is for development.
        "from framework import App\napp = App()\napp.route('/')(id)\n"
        "if __name__ == '__main__':\n    app.debug = 1\n    app.run()\n",
        # No routes, and no code that registers any: the health check decides.
        "from framework import App\napp = App()\nif __name__ == '__main__':\n    app.run()\n",
        "from framework import App\napp = App()\n",
    ],
)
def test_other_files_that_can_be_started_by_hand_are_fine(bench: Bench, code: str) -> None:
    bench.build({"framework.py": FRAMEWORK, "app.py": code})


@needs_root
@pytest.mark.parametrize(
    ("signature", "protocol", "remedy"),
    [
        ("async def app(scope, receive, send)", "wsgi", "worker_class: asgi"),
        ("def app(environ, start_response)", "asgi", "calls it by ASGI. Remove"),
    ],
)
def test_an_application_of_the_other_protocol_is_recognised(
    bench: Bench, signature: str, protocol: str, remedy: str
) -> None:
    code = f"{signature}:\n    pass\n"
    assert remedy in bench.refuse({"app.py": code}, protocol=protocol)
    bench.build({"app.py": code}, protocol="asgi" if protocol == "wsgi" else "wsgi")


@needs_root
def test_gunicorn_itself_checks_its_settings(bench: Bench) -> None:
    def files(text: str) -> list[dict[str, str]]:
        return [{"path": "gunicorn.conf.py", "content": f"wsgi_app = 'app:app'\n{text}"}]

    python = {"interpreter": "python3", "packages": ["gunicorn"]}
    bench.build({"app.py": APP}, python=python, server_files=files("workers = 2\n"))
    wrong = (
        ("workers = -2\n", "Value must be positive"),
        ("worker_class = 'gevent'\n", "gevent"),
        ("post_fork = 'no_such.hook'\n", "no_such"),
        ("import no_such_module\n", "no_such_module"),
    )
    for number, (text, word) in enumerate(wrong):
        with pytest.raises(ReleaseError) as caught:
            bench.build({"app.py": APP}, f"20261121T01020{number}Z-0", python=python, server_files=files(text))
        assert "gunicorn does not accept its settings" in str(caught.value)
        assert word in str(caught.value)


# Permissions of the files that a deployment writes


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=lambda umask: f"umask-{umask:03o}")
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A umask that the module may inherit from sudo, PAM or a daemon."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# The import check removes the file again.
IS_PRIVATE = """
import os
open("data/by-import", "w")
assert os.stat("data/by-import").st_mode & 0o7777 == 0o640
"""


@pytest.mark.attack("4", "Another account reads the data that a deployment writes")
@needs_root
def test_what_a_deployment_writes_is_for_its_account_whatever_umask_it_is_given(bench: Bench, umask: int) -> None:
    os.umask(0o022)  # as the modules do, for files that root creates
    release = bench.build(
        {"app.py": f"{IS_PRIVATE}{APP}", "data/seed": "s"},
        shared=["data"],
        build_commands=["echo built >by-build"],
    )
    os.umask(umask)
    written = ["sh", "-c", "touch data/by-release; mkdir data/folder"]
    run_as_account(bench.layout, [str(release / "bin/run"), *written], "/", {}, 20)
    data = Path(bench.layout.shared, "data")
    files = {path.name: mode(path) for path in (data, *data.iterdir())}
    assert files == {
        "data": 0o750,
        "folder": 0o750,
        **dict.fromkeys(("seed", "by-release"), 0o640),
    }
    # Root owns it now, and the account can still read it.
    assert (mode(release / "src/by-build"), (release / "src/by-build").stat().st_uid) == (0o644, 0)


@pytest.mark.attack("10", "A build makes its files writable for others")
@needs_root
def test_a_build_leaves_no_file_or_folder_that_others_than_root_can_write(
    bench: Bench, account: pwd.struct_passwd
) -> None:
    release = bench.build(
        {"app.py": "def app(environ, start_response): pass\n", "tool": "x"},
        build_commands=[
            "umask 0; mkdir -p open/deep; echo x >open/deep/file; chmod a+w app.py; cp /bin/true own; chmod ug+s own",
            "mkdir -m 0700 secret; echo x >secret/file; chmod 0600 secret/file; ln -s /etc/passwd link; mkfifo fifo",
            "ln -s tool inner; ln -s ../bin/run near; ln -s $(dirname $(which python)) packages; ln -s /nowhere lost",
        ],
    )
    source = release / "src"
    found = {str(path.relative_to(source)): mode(path) for path in source.rglob("*") if not path.is_symlink()}
    assert not [name for name, bits in found.items() if bits & 0o7022], found
    assert (found["open/deep/file"], found["app.py"], found["own"]) == (0o644, 0o644, 0o755)
    assert (found["secret"], found["secret/file"]) == (0o700, 0o600)
    # nginx follows a link only to files of the link's owner.
    owners = {str(path.relative_to(source)): path.lstat().st_uid for path in source.rglob("*")}
    out = {name for name, owner in owners.items() if owner == account.pw_uid}
    assert (out, set(owners.values())) == ({"link", "lost"}, {0, account.pw_uid})
    assert stat.S_IMODE(os.stat("/etc/passwd").st_mode) == 0o644


@pytest.mark.attack("4", "nginx reads a shared folder that no site serves")
@needs_root
def test_nginx_reads_the_shared_folders_that_it_serves_and_no_others(bench: Bench, account: pwd.struct_passwd) -> None:
    for path in (bench.layout.home, bench.layout.shared):
        os.chmod(path, 0o755)
    bench.build(
        {
            "app.py": "def app(environ, start_response): pass\n",
            "media/public/old/a.jpg": "old",
            "media/private/b.txt": "private",
            "media/public/own": "closed",
        },
        shared=["media", "data"],
        served=["media/public"],
    )
    shared = Path(bench.layout.shared)
    written = "chmod 0600 own; echo x >../private/c; echo new >old/new; mkdir -p deep/er && echo x >deep/er/file"
    run_as_account(bench.layout, ["/bin/sh", "-c", written], f"{shared}/media/public", {}, 9)
    nginx = grp.getgrnam("www-data").gr_gid

    def reads(path: str) -> bool:
        parts = [shared / part for part in reversed(Path(path).parents) if str(part) != "."]
        return all(acl.permits(str(part), 54321, [nginx], 1) for part in parts) and acl.permits(
            str(shared / path), 54321, [nginx], 4
        )

    served = ["media/public", "media/public/old/a.jpg", "media/public/old/new", "media/public/deep/er/file"]
    assert [path for path in served if not reads(path)] == []
    kept = ["media", "media/private", "media/private/c", "media/public/own", "data"]
    assert [path for path in kept if reads(path)] == []
    stranger = [path for path in served if acl.permits(str(shared / path), 54321, [54321], 4)]
    assert stranger == []
    assert not serve_shared(bench.layout, ["media/public"], "www-data"), "a second time nothing is left to do"
    (shared / "media/public").chmod(0o700)
    assert serve_shared(bench.layout, ["media/public"], "www-data", check_mode=True)
    assert serve_shared(bench.layout, ["media/public"], "www-data")
    assert reads("media/public/old/a.jpg")


@needs_root
@pytest.mark.parametrize(
    ("upload", "mode"),
    [
        ("import os; os.makedirs('avatars'); open('avatars/a', 'w')", ""),
        ("import os, tempfile; os.rename(tempfile.mkstemp(dir='.')[1], 'a')", "0600"),
        ("import os; open('../a', 'w'); os.chmod('../a', 0o640); os.rename('../a', 'a')", "0640"),
        ("import os, tempfile; os.rename(tempfile.mkstemp(dir='.')[1], 'a'); os.chmod('a', 0o644)", ""),
        ("import os; open('../a', 'w'); os.rename('../a', 'a'); os.chmod('a', 0o644)", ""),
    ],
    ids=["written", "temporary", "moved", "temporary-0644", "moved-0644"],
)
def test_nginx_reads_an_upload_at_once_or_the_doctor_sees_why_not(bench: Bench, upload: str, mode: str) -> None:
    for path in (bench.layout.home, bench.layout.shared):
        os.chmod(path, 0o755)
    bench.build({"app.py": APP, "media/first": "x"}, shared=["media"], served=["media"])
    folder = f"{bench.layout.shared}/media"
    answer = run_as_account(bench.layout, ["/usr/bin/python3", "-c", upload], folder, {}, 9)
    assert answer.returncode == 0, answer.stderr
    spec = {"name": NAME, "port": 1, "question": {"path": "/", "host": "x", "scheme": "http"}}
    found = look_at_static(spec, {"url": "/media/", "folder": folder}, bench.layout.root, "www-data")
    assert (bool(found["blocked"]), found.get("mode", "")) == (bool(mode), mode)
    if mode:
        assert (found["blocked"], found["shared"], found["lists"]) == (f"{folder}/a", True, True)


@needs_root
@pytest.mark.parametrize(
    ("package", "folder", "trouble"),
    [
        ("shop.web", "static", ""),
        ("shop.web", "none", "the package shop.web has no folder none in"),
        ("lost", "static", "the environment has no package lost"),
        ("app", "static", "the environment has no package app"),
    ],
)
def test_a_static_folder_of_a_package_becomes_part_of_the_release(
    bench: Bench, package: str, folder: str, trouble: str
) -> None:
    static = [{"url": "/static/", "package": package, "path": folder}]
    (planned,), problems = normalised(
        [{"name": NAME, "source": {"package": "shop"}, "wsgi": "app:app", "site": {"static": static}}]
    )
    assert problems == []
    files = {
        "app.py": APP,
        "src/shop/__init__.py": "",
        "src/shop/web/__init__.py": "",
        "src/shop/web/static/a.css": "a",
    }
    if trouble:
        with pytest.raises(ReleaseError, match=trouble):
            bench.build(files, build_commands=copies(planned))
        return
    release = bench.build(files, build_commands=copies(planned))
    copied = release / "src" / planned["site"]["static"][0]["path"] / "a.css"
    assert (copied.read_text(), copied.stat().st_uid, mode(copied)) == ("a", 0, 0o644)


@needs_root
def test_a_link_of_root_to_a_folder_of_the_account_becomes_the_account_s(
    bench: Bench, account: pwd.struct_passwd, tmp_path: Path
) -> None:
    """nginx follows a link only to files of the link's owner, and an operator may have linked another disk."""
    shared = Path(bench.layout.shared)
    bench.build({"app.py": "def app(environ, start_response): pass\n"}, shared=["media", "data"], served=["media"])
    for name, owner in (("disk", account.pw_uid), ("foreign", 0)):
        (tmp_path / name / "inner").mkdir(parents=True)
        os.chown(tmp_path / name, owner, owner)
    for folder, target in (("media", tmp_path / "disk"), ("data", tmp_path / "foreign")):
        (shared / folder).rmdir()
        (shared / folder).symlink_to(target)
    assert serve_shared(bench.layout, ["media"], "www-data", check_mode=True)
    assert (shared / "media").lstat().st_uid == 0
    assert serve_shared(bench.layout, ["media", "data"], "www-data")
    assert [(shared / name).lstat().st_uid for name in ("media", "data")] == [account.pw_uid, 0]
    assert os.readlink(shared / "media") == str(tmp_path / "disk")
    assert not serve_shared(bench.layout, ["media", "data"], "www-data")
    assert sorted(os.listdir(shared)) == ["data", "media"]


# The key of an environment


def key_of(bench: Bench, root: Path, identity: str = ID, **python: Any) -> dict[str, Any]:
    """The key of the environment for a source as it lies in a folder; the fingerprint is made of all its bytes."""
    code = digest({name: (root / name).read_text() for name in source_files(root)})
    spec = bench.spec({}, python={"interpreter": "python3", "packages": [], **python})
    build = Build(spec, bench.layout, bench.uv, code, identity)
    os.makedirs(build.release, exist_ok=True)
    Path(build.source).symlink_to(root)
    try:
        wanted = wanted_requirements(build)
        with Workspace(build) as work:
            read_requirements(build, wanted, work)
        return inputs_of(build, wanted, "cpython-3.11")
    finally:
        os.unlink(build.source)


@needs_root
def test_variables_that_decide_what_is_installed_are_part_of_the_key(bench: Bench, tmp_path: Path) -> None:
    listed = "one @ git+https://example.com/one@${ONE}"
    root = grown(tmp_path / "source", {"requirements.txt": f"{listed}\n", "limits.txt": "setuptools<81\n"})
    os.makedirs(bench.layout.release(ID))
    Path(bench.layout.release(ID), "src").symlink_to(root)
    found = Resolution([Step("install", listed, file="requirements.txt", is_pylock=False)])

    def key(**env: str) -> dict[str, Any]:
        build = Build(bench.spec({}, env=env), bench.layout, bench.uv, "code", ID)
        return environment_key(build, Requirements(["requirements.txt"], [], {"requirements.txt": []}), found, "3.11")

    assert key(ONE="1", OTHER="1") == key(ONE="1", OTHER="2") != key(ONE="2")
    limits = {"UV_BUILD_CONSTRAINT": "limits.txt"}
    before = key(**limits)
    (root / "limits.txt").write_text("setuptools<82\n")
    assert key(**limits) != before, "what is built of an unchanged list may be another package"


CORE = {
    "libs/core/pyproject.toml": "[project]\nname = 'core'\nversion = '1'\n",
    "libs/core/core.py": "NAME = 'core'\n",
}
PROJECT = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.9"\n'
MEMBER = f'{PROJECT}dependencies = ["core"]\n[tool.uv.sources]\ncore = {{ path = "libs/core" }}\n'


def grown(folder: Path, given: dict[str, str]) -> Path:
    for name, text in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@needs_root
@pytest.mark.parametrize(
    ("given", "python"),
    [
        *[
            ({}, {"packages": [package]})
            for package in (
                "./libs/core",
                "libs/core",
                ".",
                ".[extra]",
                "core @ file:libs/core",
                "file:libs/core",
                "file:///srv/webapps/a/releases/1/src/libs/core",
                "libs/core.whl",
            )
        ],
        *[
            ({"requirements.txt": f"flask\n{line}\n"}, {})
            for line in ("./libs/core", "-e libs/core", "--find-links libs", "-f libs", "core @ file:libs/core")
        ],
        ({"requirements.txt": "-r more.in", "more.in": "-c last", "last": "core @ file:libs/core"}, {}),
        ({"requirements.in": "libs/core"}, {"requirements": ["requirements.in"]}),
        ({"pyproject.toml": MEMBER}, {}),
        ({"pyproject.toml": '[project]\nname = "shop"\ndynamic = ["version", "dependencies"]\n'}, {}),
        ({"pyproject.toml": "[build-system]\nrequires = []\n"}, {}),
        ({"setup.py": ""}, {"requirements": ["setup.py"]}),
        ({"pylock.toml": 'lock-version = "1.0"\n[[packages]]\nname = "core"\ndirectory = {path = "libs/core"}\n'}, {}),
    ],
)
def test_an_environment_is_made_anew_when_a_byte_of_a_library_in_the_source_changes(
    bench: Bench, given: dict[str, str], python: dict[str, Any]
) -> None:
    root = grown(bench.folder / "tree", {**CORE, **given})
    before = key_of(bench, root, **python)
    assert before == key_of(bench, root, **python)
    (root / "libs/core/core.py").write_text("NAME = 'cord'\n")
    assert digest(before) != digest(key_of(bench, root, **python))


@needs_root
def test_packages_of_others_share_an_environment_whatever_the_code(bench: Bench) -> None:
    root = grown(bench.folder / "tree", {**CORE, "requirements.txt": "flask>=3\n"})
    before = key_of(bench, root, packages=["redis"])
    (root / "libs/core/core.py").write_text("")
    assert before == key_of(bench, root, "20261121T020304Z-ab12cd34", packages=["redis"])


@needs_root
def test_an_index_is_part_of_the_key_and_its_credentials_are_not(bench: Bench) -> None:
    root = grown(bench.folder / "tree", {"requirements.txt": "flask\n"})
    one = key_of(bench, root, index_url="https://me:first@index.example.com/simple")
    assert one == key_of(bench, root, index_url="https://me:second@index.example.com/simple")
    assert one != key_of(bench, root, index_url="https://other.example.com/simple")
    assert one != key_of(bench, root)
    assert "first" not in str(one)


def wheel(folder: Path, name: str, version: str, text: str = "", requires: str = "", script: str = "") -> None:
    """A wheel of one module and perhaps a script, for an index without network access."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archived:
        archived.writestr(f"{name}.py", text)
        if script:
            archived.writestr(f"{name}-{version}.data/scripts/{name}", script)
        archived.writestr(f"{info}/METADATA", metadata + (f"Requires-Dist: {requires}\n" if requires else ""))
        archived.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archived.writestr(f"{info}/RECORD", "")


@needs_root
def test_a_wheel_in_the_source_that_changes_under_its_version_is_installed_anew(bench: Bench) -> None:
    def build(text: str, identity: str) -> str:
        wheel(bench.folder / "wheels", "core", "1.0", text)
        spec = bench.spec({"app.py": APP})
        source = max(bench.folder.glob("source-*"))
        shutil.copytree(bench.folder / "wheels", source / "wheels")
        (source / "requirements.txt").write_text("--no-index\n--find-links wheels\ncore\n")
        names = source_files(source)
        spec["source"]["data"] = base64.b64encode(archive(source, names)).decode()
        bench.build_spec(spec, identity, fingerprint(source, names))
        return bench.run("python", "-c", "import core; print(core.NAME)", identity=identity).strip()

    assert build("NAME = 'one'", ID) == "one"
    assert build("NAME = 'two'", "20261121T020304Z-ab12cd34") == "two"


@pytest.fixture
def shelf(bench: Bench) -> str:
    """An index of servers, in a folder, as what ``packages`` of the inventory would ask."""
    folder = bench.folder / "shelf"
    for version in ("21.2.0", "23.0.0", "24.0.0"):
        wheel(folder, "gunicorn", version)
    wheel(folder, "web", "1.0", requires="gunicorn<22")
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    return f"--no-index\n--find-links {folder}\n"


def served_by(bench: Bench, given: dict[str, str]) -> str:
    code = "import importlib.metadata as m; print(m.version('gunicorn'))"
    bench.build({"app.py": APP, **given}, server_packages=["gunicorn>=22.0"])
    return bench.run("python", "-c", code).strip()


@needs_root
@pytest.mark.parametrize(
    ("lines", "wanted"),
    [("gunicorn==23.0.0", "23.0.0"), ("gunicorn<24", "23.0.0"), ("gunicorn", "24.0.0")],
)
def test_the_applications_own_server_counts(bench: Bench, shelf: str, lines: str, wanted: str) -> None:
    assert served_by(bench, {"requirements.txt": f"{shelf}{lines}\n"}) == wanted


@needs_root
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("gunicorn==21.2.0", "'requirements.txt' asks for gunicorn 21.2.0"),
        ("gunicorn<22", "a requirement asks for gunicorn 21.2.0"),
        ("web", "a requirement asks for gunicorn 21.2.0"),
    ],
)
def test_a_server_that_is_too_old_is_refused(bench: Bench, shelf: str, lines: str, words: str) -> None:
    files = {"app.py": APP, "requirements.txt": f"{shelf}{lines}\n"}
    assert words in bench.refuse(files, server_packages=["gunicorn>=22.0"])


@needs_root
def test_a_lock_that_nothing_reads_is_refused(bench: Bench) -> None:
    message = bench.refuse({"app.py": APP, "pyproject.toml": PROJECT, "poetry.lock": ""})
    assert "'poetry.lock' lists the versions to install, but uv can't read it. Run: poetry export" in message


@pytest.mark.attack("10", "A link leads into a release that is taken over")
@needs_root
def test_what_links_into_a_release_belongs_to_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    install = environment.install

    def linking(
        build: Build, path: str, interpreter: str, wanted: Requirements, found: Resolution, work: Workspace, how: str
    ) -> None:
        install(build, path, interpreter, wanted, found, work, how)
        (packages,) = Path(path).glob("lib/python*/site-packages")
        (packages / "_core.pth").write_text(f"{build.root}/libs/core\n")

    monkeypatch.setattr(environment, "install", linking)
    first = bench.build({"app.py": APP})
    second = bench.build({"app.py": APP}, "20261121T020304Z-ab12cd34")
    assert os.readlink(first / "venv") != os.readlink(second / "venv")
    assert {known.leans_on for known in manifests(bench.layout)} == {ID, "20261121T020304Z-ab12cd34"}


@pytest.mark.attack("5", "A served folder of a release is a link to a foreign one")
@needs_root
def test_a_served_folder_that_is_a_link_leads_nobody_out(bench: Bench, public: Path) -> None:
    victim = public / f"victim-{time.monotonic_ns()}"
    victim.mkdir(mode=0o700)
    owner = pwd.getpwnam(NAME)
    os.chown(victim, owner.pw_uid, owner.pw_gid)
    link = Path(bench.layout.shared, "uploads")
    link.symlink_to(victim)
    serve_shared(bench.layout, ["uploads"], "www-data")
    assert (mode(victim), link.lstat().st_uid) == (0o700, owner.pw_uid), "the link of an operator"
    assert serve_shared(bench.layout, ["uploads"], "www-data") is False, "the account's own link"
    assert mode(victim) == 0o700
