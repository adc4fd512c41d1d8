# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Attempts of one application to reach another: tried as its account, and found by verify where they succeed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.doctor import strangers as trying
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.processes import sees_others
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.secrets import private_files, told_by_command_lines
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.sockets import writers
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.strangers import (
    Target,
    look_at_strangers,
    strangers,
    target_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.forks import in_child
from hostile_account import needs_root
from hostile_application import Application

pytestmark = needs_root

ID = "20261121T010203Z-ab12cd34"
SECRET = "Tr0ub4dor-of-shop"
NOTHING = {"exposed": {}, "reached": {}, "unread": {}}
WAIT = "print('ready', flush=True); time.sleep(1000)"
CLASSES = ("releases", "venvs", "shared", "cache", "build", "jobs")


class Pair:
    """A shop with files, sockets and a process, and a hostile application beside it."""

    def __init__(self, base: Path, shop: Application, hostile: Application) -> None:
        self.base, self.shop, self.hostile = base, shop, hostile
        self.layout, gid = shop.layout, shop.account.pw_gid
        os.makedirs(self.layout.release(ID))
        for name in CLASSES:
            folder = Path(self.layout.path(name))
            folder.mkdir(exist_ok=True)
            (folder / "file").write_text("x")
            folder.chmod(0o750)
            os.chown(folder, 0, gid)
        for name in (f"releases/{ID}/env", "maintenance.json", "deployments.log"):
            Path(self.layout.path(name)).write_text("x")
            os.chmod(self.layout.path(name), 0o640)
        Path(self.layout.home).chmod(0o750)
        os.chown(self.layout.home, 0, gid)
        self.runtime = Path(self.layout.runtime_root, shop.name)
        self.sockets = Path(self.layout.runtime_root, f"{shop.name}.sockets")
        for folder in (self.runtime, self.sockets):
            folder.mkdir(parents=True)
            os.chown(folder, 0, gid)
            folder.chmod(0o710)
        self.listeners = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for listener, path in zip(
            self.listeners, (self.runtime / "s.stats.sock", self.sockets / "s.sock"), strict=True
        ):
            listener.bind(str(path))
            listener.listen()
            path.chmod(0o666)
        self.logs = (f"{base}/log/{{0}}[-.]*",)
        (base / "log").mkdir()
        self.log = base / "log" / f"{shop.name}-{ID}.log"
        self.log.write_text("x")
        self.log.chmod(0o640)

    def look(self, private: tuple[str, ...] = ()) -> dict[str, dict[str, str]]:
        accounts = [one for one in strangers(self.layout.root) if one.name != "nobody"]
        assert [one.name for one in accounts] == [self.shop.name, self.hostile.name]
        return look_at_strangers([target_of(self.layout, private, self.logs)], accounts)[self.shop.name]


@pytest.fixture
def pair(short_path: Path) -> Iterator[Pair]:
    names = (f"pwshop{os.getpid()}", f"pwevil{os.getpid()}")
    with Application(short_path, names[0]) as shop, Application(short_path, names[1]) as hostile:
        yield Pair(short_path, shop, hostile)


def read_by(pair: Pair, path: str) -> str:
    """The result of the hostile application for a file: its content, or the error."""
    program = "try:\n    print(open(sys.argv[1], 'rb').read(100))\nexcept OSError as error:\n    print(error.strerror)"
    pair.hostile.attacker.folder = Path("/")
    return pair.hostile.attacker.run(program, path).strip()


# As it should be: nothing is reached


FILES = [f"{name}/file" for name in CLASSES] + [f"releases/{ID}/env", "maintenance.json", "deployments.log"]


@pytest.mark.attack("4", "An application reads the releases, the data, the settings and the switches of another one")
@pytest.mark.parametrize("name", FILES)
def test_no_file_of_another_application_is_read(pair: Pair, name: str) -> None:
    path = pair.layout.path(name)
    os.chmod(path, 0o666)
    assert read_by(pair, path) == "Permission denied"


@pytest.mark.attack("6", "An application connects to the sockets of another one")
def test_no_socket_of_another_application_is_connected(pair: Pair) -> None:
    program = (
        "for path in sys.argv[1:]:\n    try:\n        socket.socket(socket.AF_UNIX).connect(path); print('ok')\n"
        "    except OSError as error:\n        print(error.strerror)"
    )
    pair.hostile.attacker.folder = Path("/")
    told = pair.hostile.attacker.run(program, str(pair.runtime / "s.stats.sock"), str(pair.sockets / "s.sock"))
    assert told.split("\n")[:2] == ["Permission denied"] * 2


@pytest.mark.attack("9", "An application reads the environment or the memory of another one's process, or kills it")
def test_no_process_of_another_application_is_reached(pair: Pair) -> None:
    process = pair.shop.attacker.start(WAIT)
    try:
        assert read_by(pair, f"/proc/{process.pid}/environ") == "Permission denied"
        assert read_by(pair, f"/proc/{process.pid}/mem") == "Permission denied"
        program = (
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
            "print(libc.kill(int(sys.argv[1]), 9), libc.ptrace(16, int(sys.argv[1]), 0, 0))"
        )
        assert pair.hostile.attacker.run(program, str(process.pid)).split() == ["-1", "-1"]
        assert process.poll() is None
        assert pair.look() == NOTHING
    finally:
        process.kill()
        process.wait()


# Each promise, broken by hand


@pytest.mark.parametrize("name", CLASSES)
def test_verify_finds_each_folder_that_is_open(pair: Pair, name: str) -> None:
    assert pair.look() == NOTHING
    os.chmod(pair.layout.home, 0o751)
    assert pair.look() == NOTHING
    os.chmod(pair.layout.path(name), 0o755)
    assert pair.look()["exposed"] == {"path": pair.layout.path(name), "account": pair.hostile.name}


@pytest.mark.parametrize("name", ["maintenance.json", "deployments.log"])
def test_verify_finds_a_file_in_a_folder_that_may_be_passed(pair: Pair, name: str) -> None:
    os.chmod(pair.layout.home, 0o751)
    assert pair.look() == NOTHING
    os.chmod(pair.layout.path(name), 0o644)
    assert pair.look()["exposed"]["path"] == pair.layout.path(name)


def test_verify_finds_a_group_that_another_account_has(pair: Pair) -> None:
    assert pair.look() == NOTHING
    subprocess.run(["usermod", "--append", "--groups", pair.shop.name, pair.hostile.name], check=True)
    assert pair.look()["exposed"] == {"path": pair.layout.home, "account": pair.hostile.name}


@pytest.mark.parametrize("folder", ["runtime", "sockets"])
def test_verify_finds_a_socket_that_another_account_can_connect_to(pair: Pair, folder: str) -> None:
    path: Path = getattr(pair, folder)
    path.chmod(0o711)
    assert pair.look()["exposed"]["path"] == str(next(path.iterdir()))


def test_verify_finds_an_open_log(pair: Pair) -> None:
    pair.log.chmod(0o644)
    assert pair.look()["exposed"]["path"] == str(pair.log)
    (pair.base / "log").chmod(0o750)
    assert pair.look() == NOTHING


def test_verify_finds_a_process_with_the_account_of_another_application(pair: Pair) -> None:
    process = pair.hostile.attacker.start(WAIT)
    try:
        accounts = [one for one in strangers(pair.layout.root) if one.name == pair.hostile.name]
        target = Target(pair.shop.name, processes=[process.pid])
        found = look_at_strangers([target], accounts)[pair.shop.name]
        assert found["reached"] == {
            "path": f"process {process.pid}: read its environment",
            "account": pair.hostile.name,
        }
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (f"[Service]\nEnvironment=KEY={SECRET}\n", "own"),
        ("-----BEGIN EC PRIVATE KEY-----\nx\n", "always"),
        ("alice:$apr1$abc$def\n", "always"),
        ("bob:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\n", "always"),
        ("server { listen 80; }\n", ""),
    ],
)
def test_verify_finds_secrets_in_public_files(pair: Pair, content: str, kind: str) -> None:
    etc = pair.base / "etc/shop@.service.d"
    etc.mkdir(parents=True)
    path = etc / "own.conf"
    path.write_text(content)
    variables = {pair.shop.name: {"API_KEY": SECRET, "AUTH": "django.contrib.auth", "PORT": "listen 80"}}
    own, always = private_files(variables, [str(pair.base / "etc")])
    assert (own[pair.shop.name], always) == (
        [str(path)] if kind == "own" else [],
        [str(path)] if kind == "always" else [],
    )
    found = (*own[pair.shop.name], *always)
    assert pair.look(found)["exposed"] == ({"path": str(path), "account": pair.hostile.name} if kind else {})
    path.chmod(0o640)
    assert pair.look(found) == NOTHING


def test_verify_finds_secrets_in_command_lines(pair: Pair) -> None:
    process = pair.shop.attacker.start(WAIT, f"--key={SECRET}", "postgres://shop:hunter2hunter@db/shop")
    variables = {"API_KEY": SECRET, "DATABASE": "postgres://shop:hunter2hunter@db/shop", "TOKEN": "another-t0ken"}
    try:
        assert target_of(pair.layout).processes == [process.pid]
        assert told_by_command_lines([process.pid], variables) == [f"process {process.pid} has API_KEY, DATABASE"]
        assert told_by_command_lines([process.pid], {"TOKEN": "another-t0ken", "X": "30"}) == []
    finally:
        process.kill()
        process.wait()


def test_verify_says_whether_a_process_sees_others() -> None:
    assert sees_others(os.getpid())
    command = "mount -t proc -o hidepid=invisible proc /proc && echo ready && exec sleep 1000"
    process = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("this machine can't mount a /proc")  # a container can't be imitated without one
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert not sees_others(int(child))
    finally:
        process.kill()
        process.wait()


# An account that fights back


@pytest.mark.attack("11", "An account stops the process of verify that tries things as this account")
def test_an_account_that_stops_the_tries_does_not_stop_verify(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "PATIENCE", 1.0)

    def stopped(*_arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    monkeypatch.setattr(trying, "reached_by", stopped)
    began = time.monotonic()
    found = pair.look()
    assert time.monotonic() - began < 5
    assert found["exposed"]["path"].startswith("not tried: ")


def test_a_result_of_a_child_may_be_long() -> None:
    assert in_child(lambda: b"x" * 300_000) == b"x" * 300_000
    assert in_child(lambda: b"x" * (1 // 0)) == b""


def test_thirty_applications_are_tried_in_seconds(pair: Pair) -> None:
    accounts = [one for one in strangers(pair.layout.root) if one.name == pair.hostile.name] * 31
    targets = [
        Target(f"app{number}", target_of(pair.layout).folders, [str(pair.log)], [os.getpid()]) for number in range(30)
    ]
    began = time.monotonic()
    look_at_strangers(targets, accounts)
    assert time.monotonic() - began < 10


@pytest.mark.attack("13", "The build of another application can write to the folder of an application's sockets")
def test_a_build_account_that_can_write_to_the_sockets_is_found(pair: Pair) -> None:
    assert writers([pair.layout]) == {}
    home = f"{pair.hostile.layout.home}/build"
    subprocess.run(["usermod", "--home", home, pair.hostile.name], check=True, capture_output=True)
    os.chown(pair.sockets, pair.hostile.account.pw_uid, 0)
    pair.sockets.chmod(0o700)
    assert writers([pair.layout]) == {pair.layout.name: pair.hostile.name}
    assert pair.hostile.name in [one.name for one in strangers(pair.layout.root)]
    os.chown(pair.sockets, pair.shop.account.pw_uid, 0)
    assert writers([pair.layout]) == {pair.layout.name: pair.shop.name}
