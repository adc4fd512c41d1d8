# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Things that an account leaves or keeps so that root trusts them, removes without end, or never removes."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import environment
from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.builder import build_release
from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.plan import deploy
from ansible_collections.pyweb.stack.plugins.module_utils.release.completeness import (
    changeable_files,
    is_complete,
    remove_mark,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import take_for_root
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import kept_by_locks, prune
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    GOOD,
    Layout,
    Manifest,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching import activation
from hostile_account import Attacker, needs_root

from local import test_building as builds
from local.test_building import APP, ID, Bench

pytestmark = needs_root

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv

SECOND, THIRD = "20261121T020304Z-ab12cd34", "20261121T030405Z-ab12cd34"


def killed(function: Callable[[], object]) -> None:
    """Run a function in a child process, which is killed in it."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(0)
    _pid, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


# Environments


@pytest.mark.attack("23", "A package that is being installed marks its environment as complete, then the run is killed")
@pytest.mark.parametrize("step", ["run_uv", "remove_mark", "give_outward_links"])
def test_no_environment_of_a_killed_run_is_trusted(bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    spec = bench.spec({"app.py": APP})

    def build() -> None:
        install = environment.install

        def hostile(build: Build, path: str, *more: object) -> None:
            install(build, path, *more)  # type: ignore[arg-type]
            # The account that installs packages owns the folder.
            status = os.stat(path)
            os.setegid(status.st_gid)
            os.seteuid(status.st_uid)
            Path(path, ".complete").write_text("x")
            os.seteuid(0)
            if step == "run_uv":
                os.kill(os.getpid(), signal.SIGKILL)

        environment.install = hostile
        if step != "run_uv":
            setattr(environment, step, lambda *_arguments: os.kill(os.getpid(), signal.SIGKILL))
        build_release(Build(spec, bench.layout, bench.uv, "code", ID), Manifest(ID))

    killed(build)
    (left,) = Path(bench.layout.venvs).iterdir()
    assert not is_complete(str(left))
    (left / "planted").touch()
    release = bench.build({"app.py": APP}, SECOND)
    assert not (release / "venv/planted").exists(), "it was installed again"
    assert list(changeable_files(os.path.realpath(release / "venv"))) == []


@pytest.mark.attack("23", "A package creates a link, a folder or a pipe with the name of the mark of its environment")
@pytest.mark.parametrize(
    "program",
    [
        "open('.complete', 'w')",
        "os.symlink('/etc/passwd', '.complete')",
        "os.mkfifo('.complete')",
        "os.makedirs('.complete/a/b')",
        "os.link('file', '.complete')",
    ],
)
def test_the_mark_of_an_environment_is_roots(attacker: Attacker, program: str) -> None:
    venv = attacker.folder / "venv"
    attacker.run(f"os.mkdir('venv'); os.chdir('venv'); open('file', 'w'); os.chmod('.', 0o777); {program}")
    assert not is_complete(str(venv))
    remove_mark(str(venv))
    assert sorted(os.listdir(venv)) == ["file"]
    take_for_root(str(venv))
    assert not is_complete(str(venv))
    (venv / ".complete").write_text("x")
    assert is_complete(str(venv))


@pytest.mark.attack("23", "A file deep in an environment still belongs to the account")
@pytest.mark.parametrize("change", ["owner", "mode", "folder"])
def test_an_environment_is_roots_as_a_whole(bench: Bench, change: str) -> None:
    """It is not removed while a release has it. The next release gets another one."""
    first = bench.build({"app.py": APP})
    place = os.path.realpath(first / "venv")
    deep = next(Path(place, "lib").glob("python*/site-packages"))
    if change == "folder":
        os.chown(deep, pwd.getpwnam(bench.layout.name).pw_uid, 0)
    else:
        (deep / "x.py").touch()
        os.chmod(deep / "x.py", 0o666 if change == "mode" else 0o644)
        os.chown(deep / "x.py", pwd.getpwnam(bench.layout.name).pw_uid * (change == "owner"), 0)
    names = {os.readlink(bench.build({"app.py": APP}, identity) / "venv") for identity in (SECOND, THIRD)}
    assert len(names) == 1, "the new environment is used again"
    assert names != {os.readlink(first / "venv")}
    assert os.path.exists(os.path.join(place, ".complete"))


def test_a_good_environment_stays_valid(bench: Bench) -> None:
    """An environment of an earlier version has the same mark, and links that belong to the account."""
    first = bench.build({"app.py": APP})
    place = os.path.realpath(first / "venv")
    assert is_complete(place)
    before = os.stat(place).st_ino
    assert os.path.realpath(bench.build({"app.py": APP}, SECOND) / "venv") == place
    assert os.stat(place).st_ino == before


# Removals


@pytest.mark.attack("21", "An account creates folders in the folder that root removes, by descriptors, without end")
def test_a_removal_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is always one step ahead: it has created another folder in each folder that root reaches."""
    taken = []
    real = trees.own

    def own(folder: int) -> None:
        taken.append(folder)
        assert len(taken) < 10_000, "the removal has no end"
        os.mkdir("another", dir_fd=folder)
        real(folder)

    monkeypatch.setattr(trees, "own", own)
    monkeypatch.setattr(trees, "MOST_CHANGED", 300, raising=False)
    (tmp_path / "trap").mkdir()
    with pytest.raises(OSError, match=r"creates folders in it all the time\. End the processes of its owner") as caught:
        trees.remove(str(tmp_path / "trap"))
    assert caught.value.filename == str(tmp_path / "trap")
    monkeypatch.setattr(trees, "own", real)
    trees.remove(str(tmp_path / "trap"))
    assert os.listdir(tmp_path) == []


def test_a_large_tree_that_rests_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MOST_CHANGED", 0)
    for number in range(50):
        (tmp_path / f"top/{number}/a/b/c").mkdir(parents=True)
        (tmp_path / f"top/{number}/a/file").touch()
    (tmp_path / "other").symlink_to("top")
    trees.remove(str(tmp_path / "other"))
    trees.remove(str(tmp_path / "top"))
    assert os.listdir(tmp_path) == []


# Locks

LOCK = """
import fcntl
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_SH)
print('ready', flush=True)
sys.stdin.readline()
"""


@pytest.mark.attack("21", "An application locks the env files of its old releases, so that they fill the disk silently")
def test_a_release_that_a_lock_keeps_is_told(attacker: Attacker) -> None:
    layout = Layout("shop", str(attacker.folder.parent / "apps"))
    identities = [f"202611210{number}0203Z-ab12cd34" for number in range(5)]
    for identity in identities:
        os.makedirs(layout.release(identity))
        write_manifest(layout, Manifest(identity, GOOD))
        env = Path(layout.release(identity), "env")
        env.touch()
        os.chown(env, 0, attacker.gid)
        env.chmod(0o640)
    os.symlink(f"releases/{identities[-1]}", layout.current)
    held = identities[1]
    process = attacker.start(LOCK, f"{layout.release(held)}/env")
    assert held not in prune(layout, 2)
    (warning,) = kept_by_locks(layout, 2)
    assert (
        f"the old release {held} is not removed, because the process {process.pid} holds a lock on its env" in warning
    )
    process.communicate("now\n", timeout=10)
    assert kept_by_locks(layout, 2) == []
    assert prune(layout, 2) == [held]


def test_warnings_of_a_switch_reach_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [{"name": "shop", "warnings": ["one"]}, {"name": "blog"}]
    monkeypatch.setattr(activation, "activate", lambda *_arguments: (results, []))
    deployment = SimpleNamespace(root="/srv/webapps", run=None, owner="me", run_id="")
    due = [{"name": "shop", "activate": True, "candidate": ID, "current": ""}]
    added, problems = deploy.activate_at_once(deployment, [{"name": "shop"}], due)  # type: ignore[arg-type]
    assert (added["warnings"], problems) == (["one"], [])
    assert added["activated"] == [{"name": "shop"}, {"name": "blog"}]
