# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An application tries to take another's socket, or to replace its own: nginx would ask a wrong application."""

from __future__ import annotations

import grp
import os
import shlex
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.processes import with_sockets
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.switching.links import switch_links
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import supervisor
from hostile_account import Attacker, needs_root

pytestmark = needs_root

LAUNCHER = ["/usr/bin/python3", "-I", "-S", with_sockets.__file__]
ID = "20261129T000000Z-00000000"

# Serves its name on the first inherited socket, and says the inherited variables.
SERVER = """
import os, socket, sys
server = socket.socket(fileno=3)
print(os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] == str(os.getpid()), flush=True)
while True:
    visitor, _address = server.accept()
    visitor.sendall(sys.argv[1].encode())
    visitor.close()
"""


@pytest.fixture
def run_folder() -> Iterator[Path]:
    """A folder of root that every account may pass, as /run/webapps."""
    with tempfile.TemporaryDirectory(prefix="pyweb-") as base:
        os.chmod(base, 0o755)
        yield Path(base)


@contextmanager
def served(layout: Layout, account: Attacker, *before: str) -> Iterator[subprocess.Popen[str]]:
    """An application with sockets of root, started as supervisor starts it."""
    options = ["--group", "www-data", "--mode", "0660"]
    for path in layout.inherited_sockets(ID):
        options += ["--socket", path]
    drop = supervisor.as_account(str(account.uid), str(account.gid), [])
    drop[drop.index("--init-groups")] = "--clear-groups"
    command = ["/usr/bin/python3", "-I", "-c", SERVER, layout.name]
    process = subprocess.Popen([*before, *LAUNCHER, *options, "--", *drop, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "2 True\n"
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def visitor(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        yield client


def answer(path: str) -> str:
    with visitor(path) as client:
        return client.recv(100).decode()


def listing(folder: str) -> dict[str, tuple[int, int, int, int]]:
    """The entries of a folder, and the folder itself: inode, owner, group, mode."""
    paths = {name: os.lstat(os.path.join(folder, name)) for name in os.listdir(folder)} | {".": os.lstat(folder)}
    return {name: (one.st_ino, one.st_uid, one.st_gid, one.st_mode) for name, one in paths.items()}


# Statements that an application runs as its own account: its socket, another application's socket, its own folder.
ATTEMPTS = {
    "replace by a link": "os.unlink(mine); os.symlink(other, mine)",
    "rename over it": "os.symlink(other, own + '/link'); os.rename(own + '/link', mine)",
    "move it away": "os.rename(mine, own + '/away')",
    "remove it": "os.unlink(mine)",
    "put a folder there": "os.unlink(mine); os.mkdir(mine)",
    "replace the folder": "os.rename(os.path.dirname(mine), own + '/away'); os.mkdir(os.path.dirname(mine))",
    "bind another one beside it": "socket.socket(socket.AF_UNIX).bind(os.path.dirname(mine) + '/mine.sock')",
    "bind in place of a missing one": "socket.socket(socket.AF_UNIX).bind(mine + '.next')",
    "hard link into the folder": "os.link(own + '/own.sock', os.path.dirname(mine) + '/linked.sock')",
    "hard link out of the folder": "os.link(other, own + '/stolen.sock')",
    "chmod the socket": "os.chmod(mine, 0o777)",
    "chmod the other's": "os.chmod(other, 0o777)",
    "chmod the folder": "os.chmod(os.path.dirname(mine), 0o777)",
    "chown the folder": "os.chown(os.path.dirname(mine), os.getuid(), -1)",
    "connect to the other's": "socket.socket(socket.AF_UNIX).connect(other)",
    "connect through a link of its own": "os.symlink(other, 'l'); socket.socket(socket.AF_UNIX).connect('l')",
    "list the other's folder": "os.listdir(os.path.dirname(other))",
}
TRY = """
mine, other, own = sys.argv[2:]
socket.socket(socket.AF_UNIX).bind(own + "/own.sock")
try:
    exec(sys.argv[1])
except OSError as error:
    print(type(error).__name__)
else:
    print("it worked")
"""


@pytest.mark.attack("6", "An application replaces its socket, or reaches another's, as its own account")
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_application_can_change_no_socket(run_folder: Path, attacker: Attacker, attempt: str) -> None:
    shop, blog = (Layout(name, str(run_folder / "srv"), str(run_folder)) for name in ("shop", "blog"))
    with served(shop, attacker), served(blog, attacker):
        mine, other = shop.inherited_sockets(ID)[0], blog.inherited_sockets(ID)[0]
        before = [listing(layout.sockets) for layout in (shop, blog)]
        said = attacker.run(TRY, ATTEMPTS[attempt], mine, other, str(attacker.folder)).strip()
        assert said in ("PermissionError", "FileExistsError", "OSError")
        assert [listing(layout.sockets) for layout in (shop, blog)] == before
        assert (answer(mine), answer(other)) == ("shop", "blog")


def test_sockets_belong_to_root_and_only_the_group_may_connect(run_folder: Path, attacker: Attacker) -> None:
    shop = Layout("shop", str(run_folder / "srv"), str(run_folder))
    with served(shop, attacker):
        for path in shop.inherited_sockets(ID):
            found = os.lstat(path)
            assert stat.S_ISSOCK(found.st_mode)
            assert (found.st_uid, found.st_gid) == (0, grp.getgrnam("www-data").gr_gid)
            assert stat.S_IMODE(found.st_mode) == 0o660
        folder = os.lstat(shop.sockets)
        assert (folder.st_uid, stat.S_IMODE(folder.st_mode)) == (0, 0o711)


@pytest.mark.attack("6", "An application fills the place of its next socket with a link, a file or a folder")
@pytest.mark.parametrize("kind", ["socket", "link", "file"])
def test_what_is_in_the_place_of_a_socket_is_replaced(run_folder: Path, attacker: Attacker, kind: str) -> None:
    shop, victim = Layout("shop", str(run_folder / "srv"), str(run_folder)), run_folder / "victim"
    os.mkdir(shop.sockets, 0o711)
    path = shop.inherited_sockets(ID)[0]
    victim.write_text("kept")
    if kind == "socket":
        socket.socket(socket.AF_UNIX).bind(path)
    elif kind == "link":
        os.symlink(victim, path)
    else:
        shutil.copy(victim, path)
    with served(shop, attacker):
        assert answer(path) == "shop"
    assert victim.read_text() == "kept"


@pytest.mark.attack("6", "An application owns the folder in which root makes its sockets, or puts a link there")
@pytest.mark.parametrize("kind", ["owner", "mode", "link", "file"])
def test_no_socket_is_made_in_a_folder_that_another_can_change(run_folder: Path, attacker: Attacker, kind: str) -> None:
    shop = Layout("shop", str(run_folder / "srv"), str(run_folder))
    if kind == "link":
        os.symlink(attacker.folder, shop.sockets)
    elif kind == "file":
        Path(shop.sockets).write_text("")
    else:
        os.mkdir(shop.sockets)
        os.chmod(shop.sockets, 0o777 if kind == "mode" else 0o711)
        os.chown(shop.sockets, attacker.uid if kind == "owner" else 0, 0)
    options = ["--group", "www-data", "--mode", "0660", "--socket", shop.inherited_sockets(ID)[0]]
    done = subprocess.run([*LAUNCHER, *options, "--", "/bin/echo", "ran"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "must be a folder that only root can change" in done.stderr
    assert shop.sockets in done.stderr


def test_a_release_of_an_earlier_version_gets_no_sockets(run_folder: Path) -> None:
    options = [
        "--group",
        "0",
        "--mode",
        "0660",
        "--if-exists",
        f"{run_folder}/no",
        "--socket",
        f"{run_folder}/s/a.sock",
    ]
    done = subprocess.run([*LAUNCHER, *options, "--", "/usr/bin/env"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "LISTEN_" not in done.stdout
    assert os.listdir(run_folder) == []


@pytest.mark.attack("6", "An application makes a socket for uwsgi in its folder, so that nginx follows a link to it")
def test_files_of_an_application_do_not_choose_the_links_of_nginx(run_folder: Path, attacker: Attacker) -> None:
    layout = Layout(attacker.folder.name, str(run_folder), str(attacker.folder.parent))
    os.makedirs(layout.release(ID))
    attacker.run("socket.socket(socket.AF_UNIX).bind(sys.argv[1])", f"{ID}.uwsgi.sock")
    switch_links(layout, ID)
    assert not os.path.lexists(layout.current_uwsgi)
    assert not os.path.lexists(layout.current_uwsgi_socket)
    Path(layout.release(ID), "inherits_sockets").touch()
    switch_links(layout, ID)
    assert os.readlink(layout.current_socket) == f"{layout.sockets}/{ID}.sock"


# Privileges of programs and jobs of supervisor

STATUS = "grep -E '^(NoNewPrivs|CapBnd|CapInh|CapAmb|CapEff)' /proc/self/status"


def command_of(program: dict[str, Any]) -> list[str]:
    """The command of a program, as supervisor runs it."""
    checked, _groups, problems = supervisor.checked([program], [])
    assert problems == []
    if checked[0]["schedule"]:
        return ["/bin/sh", "-c", supervisor.script_variables(checked[0])["command"]]
    return shlex.split(supervisor.command_line(checked[0]).replace("%%", "%"))


@pytest.fixture(params=["program", "program with a folder", "program of another group", "job"])
def start(request: pytest.FixtureRequest, run_folder: Path) -> Callable[[str], dict[str, Any]]:
    """The definition of a program that runs a command with an account."""
    more = {
        "program": {},
        "program with a folder": {"runtime_directory": {"path": str(run_folder / "own")}},
        "program of another group": {"group": "www-data"},
        "job": {"schedule": "1 2 * * *"},
    }[request.param]
    return lambda user, script: {"name": "w", "command": ["/bin/sh", "-c", script], "user": user, **more}


def output(program: dict[str, Any]) -> str:
    done = subprocess.run(command_of(program), capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.attack("13.low", "A program or job of supervisor gains root by a setuid program")
def test_no_program_of_an_account_can_gain_privileges(start: Callable[..., dict[str, Any]], run_folder: Path) -> None:
    status = dict(line.split(":\t") for line in output(start("daemon", STATUS)).splitlines())
    assert status.pop("NoNewPrivs") == "1"
    assert set(status.values()) == {"0" * 16}
    setuid = run_folder / "id"
    shutil.copy("/usr/bin/id", setuid)
    os.chmod(setuid, 0o4755)
    assert output(start("daemon", f"{setuid} -u")) == "1\n"


def test_a_program_that_runs_as_root_keeps_its_privileges() -> None:
    found = output({"name": "w", "command": ["/bin/sh", "-c", STATUS], "user": "root"})
    assert f"NoNewPrivs:\t{own_status('NoNewPrivs')}" in found
    assert f"CapBnd:\t{own_status('CapBnd')}" in found


def own_status(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split("\t")[1] for line in lines if line.startswith(f"{name}:"))
