# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The end of a hostile application: its removal leaves no process, file, schedule or user ID that is used again."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import accounts
from ansible_collections.pyweb.stack.plugins.module_utils.host import account_processes, belongings, trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.account_processes import end_processes, processes_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.belongings import remove_files
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.release import retired_ids
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError, build_account
from ansible_collections.pyweb.stack.plugins.module_utils.switching import leftovers
from ansible_collections.pyweb.stack.plugins.module_utils.switching.removal import remove
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.operations import removal_report
from hostile_account import DEEP, Attacker, needs_root
from hostile_application import Application

pytestmark = needs_root

NAME = f"pywebgone{os.getpid()}"
WAIT = "print('ready', flush=True); time.sleep(1000)"


@pytest.fixture
def application(short_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    """Its folder is removed at once. pytest keeps the others, in a public folder."""
    # With several processes of pytest, their folders are one level deeper.
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path(tempfile.gettempdir()) and folder.is_relative_to(tempfile.gettempdir()):
            os.chmod(folder, 0o755)
    monkeypatch.setattr(leftovers, "PATH", str(tmp_path / "retired-ids.json"))
    monkeypatch.setattr(account_processes, "TERM_PATIENCE", 0.5)
    with Application(short_path, NAME) as found:
        yield found


def removed(application: Application, purge: bool = True) -> dict[str, Any]:
    spec = {"name": NAME, "process_managers": [], "stop_timeout": 1.0, "purge": purge}
    return remove(spec, application.layout, run_command, "alice@desk")


def processes(application: Application) -> list[Any]:
    return processes_of([application.account.pw_uid])


# Processes

SURVIVORS = {
    "leaves its session": f"os.setsid() if os.fork() == 0 else None\n{WAIT}",
    "ignores SIGTERM and SIGHUP": f"import signal\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n{WAIT}",
    "is stopped": "import signal\nprint('ready', flush=True); os.kill(os.getpid(), signal.SIGSTOP); time.sleep(1000)",
    "is another process all the time": (
        "print('ready', flush=True); until = time.monotonic() + 60\n"
        "while time.monotonic() < until:\n    if os.fork(): os._exit(0)\n"
    ),
    "starts a new process for each that ends": (
        "import signal, threading\nprint('ready', flush=True); until = time.monotonic() + 60\n"
        "for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n"
        "def keep():\n"
        "    while time.monotonic() < until:\n"
        "        child = os.fork()\n"
        "        if child == 0 and len([p for p in os.listdir('/proc') if p.isdigit() and\n"
        "                               os.stat(f'/proc/{p}').st_uid == os.getuid()]) > 30: os._exit(0)\n"
        "        if child: os.waitpid(child, 0)\n"
        "        else: keep()\n"
        "keep()"
    ),
}


@pytest.mark.attack("9", "A process of a removed application leaves its session, ignores signals or multiplies")
@pytest.mark.parametrize("kind", SURVIVORS)
def test_no_process_survives(application: Application, kind: str) -> None:
    process = application.attacker.start(SURVIVORS[kind])
    told = removed(application)
    process.wait(10)
    assert processes(application) == []
    # One that changes all the time is killed, even if it was never seen. Of many, the ten lowest IDs are named.
    if "another process" not in kind:
        assert f"{process.pid} (python3" in told["found"][0] or told["found"][0].endswith(" more")


@pytest.mark.attack("9", "A process of a removed application continues after its folder is gone")
def test_a_process_ends_even_if_the_folder_was_removed_by_hand(application: Application) -> None:
    application.attacker.folder = Path("/")
    process = application.attacker.start(WAIT)
    subprocess.run(["rm", "-rf", application.layout.home], check=True)
    assert removed(application, purge=False)["removed"] is False
    assert removed(application)["account"] == "removed"
    process.wait(10)
    assert not os.path.exists(application.layout.home)


def test_a_process_that_cannot_be_ended_keeps_the_account(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = application.attacker.start(WAIT)
    monkeypatch.setattr(account_processes, "send", lambda *_arguments: None)
    monkeypatch.setattr(account_processes, "kill_at_once", lambda _uid: b"")
    monkeypatch.setattr(account_processes, "KILL_PATIENCE", 0.5)
    with pytest.raises(ReleaseError, match=rf"webapps '{NAME}': 1 processes of its .* {process.pid} \(python3"):
        removed(application)
    assert pwd.getpwnam(NAME)
    monkeypatch.undo()
    process.kill()
    process.wait()


def test_processes_of_other_accounts_and_of_containers_stay(application: Application, attacker: Attacker) -> None:
    """A container may use the same number for an account of its own."""
    uid = application.account.pw_uid
    other = attacker.start(WAIT)
    inside = ["setpriv", "--reuid", str(uid), "--clear-groups", "sh", "-c", "echo ready; exec sleep 1000"]
    container = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *inside], stdout=subprocess.PIPE, text=True
    )
    try:
        assert container.stdout is not None
        if not container.stdout.readline():
            pytest.skip("this machine has no namespaces for processes")  # a container of its own needs one
        assert account_processes.kill_at_once(uid) == account_processes.NOT_POSSIBLE
        ignoring = application.attacker.start(SURVIVORS["ignores SIGTERM and SIGHUP"])
        removed(application)
        assert ignoring.wait(10) == -9
        assert (other.poll(), container.poll()) == (None, None)
        assert len(account_processes.numbers_of(uid)) == 1, "that of the container"
    finally:
        for one in (other, container):
            one.kill()
            one.wait()


def test_processes_that_no_look_finds_are_no_success(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a container prevents that they are killed all at once."""
    monkeypatch.setattr(account_processes, "kill_at_once", lambda _uid: account_processes.NOT_POSSIBLE)
    monkeypatch.setattr(account_processes, "KILL_PATIENCE", 0.5)
    monkeypatch.setattr(account_processes, "LOOKS", 10_000)
    with pytest.raises(ReleaseError, match=r"because a container has processes with the same user ID\. Stop that"):
        removed(application)
    assert pwd.getpwnam(NAME)


def test_all_at_once_ends_what_one_by_one_does_not(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    process = application.attacker.start(SURVIVORS["ignores SIGTERM and SIGHUP"])
    monkeypatch.setattr(account_processes, "send", lambda *_arguments: None)
    (told,) = end_processes([application.account.pw_uid], "Testing")
    assert told.startswith(f"{process.pid} (python3")
    assert process.wait(10) == -9


def test_a_signal_to_all_is_never_sent_as_root() -> None:
    assert account_processes.kill_at_once(0) == account_processes.NOT_POSSIBLE


@pytest.mark.attack("19", "A process names itself so that its user ID seems to be root's, or with escape sequences")
def test_the_name_of_a_process_is_only_a_name(application: Application) -> None:
    name = "x\rUid:\t0\t0\t0\t0"
    process = application.attacker.start(f"open('/proc/self/comm', 'w').write({name!r})\n{WAIT}")
    assert account_processes.status_of(str(process.pid))["Name"] == name
    assert [found.pid for found in processes(application)] == [process.pid]
    told = removal_report([removed(application)], NAME)
    assert process.wait(10) == -15
    assert not any(set(line) & set("\r\n\t\x1b") for line in told)
    assert any(f"1 processes: {process.pid} (x" in line for line in told)


@pytest.mark.attack("9", "An application prepares everything to continue in the next one that has its name")
def test_the_next_application_of_the_same_name_inherits_nothing(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once: a process, a crontab, public files and IPC objects; then it is removed, and deployed again."""
    crontabs = tmp_path / "crontabs"
    crontabs.mkdir()
    (crontabs / NAME).write_text("* * * * * /srv/evil\n")
    monkeypatch.setattr(belongings.remove_schedules, "__defaults__", ((str(crontabs),),))
    monkeypatch.setattr(accounts, "CRONTABS", str(crontabs))
    monkeypatch.setattr(accounts.unowned_ids, "__defaults__", (accounts.IDS, leftovers.PATH))
    uid = application.account.pw_uid
    process = application.attacker.start(
        f"os.mkdir('/tmp/{NAME}'); open('/dev/shm/{NAME}', 'w')\n"
        "import ctypes; assert ctypes.CDLL(None).shmget(0, 4096, 0o1666) >= 0\n"
        + SURVIVORS["ignores SIGTERM and SIGHUP"]
    )
    told = removed(application)
    assert process.wait(10) == -9
    assert len(told["found"]) == 5
    accounts.create(NAME, application.layout, run_command, ids=[uid, uid + 11_000])
    again = pwd.getpwnam(NAME)
    assert again.pw_uid == uid + 11_000
    owned = [path for place in belongings.PLACES for path in Path(place).glob(f"*{NAME}*")]
    assert (owned, os.listdir(crontabs), belongings.ipc_objects([uid])) == ([], [], [])


# Schedules


@pytest.mark.attack("9", "A removed application comes back by its crontab or by a user manager that lingers")
def test_nothing_starts_it_again(application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = (str(tmp_path / "crontabs"), str(tmp_path / "linger"))
    for folder in folders:
        os.mkdir(folder)
        Path(folder, NAME).write_text("@reboot /srv/evil\n")
        Path(folder, "other").write_text("@daily true\n")
    monkeypatch.setattr(belongings.remove_schedules, "__defaults__", (folders,))
    told = removed(application)
    assert told["found"] == [f"{folder}/{NAME}" for folder in folders]
    assert [os.listdir(folder) for folder in folders] == [["other"], ["other"]]


# Files


@pytest.mark.attack("9", "A removed application leaves files, sockets and deep folders in public folders")
def test_its_public_files_go(application: Application, tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    os.chmod(public, 0o1777)
    (public / "of-root").mkdir()
    os.chmod(public / "of-root", 0o777)
    (public / "kept").write_text("kept")
    application.attacker.run(
        "os.chdir(sys.argv[2]); open('job', 'w'); os.mkfifo('pipe'); os.symlink('/etc', 'link')\n"
        "socket.socket(socket.AF_UNIX).bind('socket'); open('of-root/file', 'w'); os.mkdir('deep'); os.chdir('deep')\n"
        + DEEP,
        "1500",
        str(public),
    )
    removed, problems = remove_files([application.account.pw_uid], places=[str(public)])
    names = ["job", "link", "pipe", "socket", "deep", "of-root/file"]
    assert (removed, problems) == ([f"{public}/{name}" for name in names], [])
    assert sorted(os.listdir(public)) == ["kept", "of-root"]
    assert os.listdir("/etc")


@pytest.mark.attack("11", "An account exchanges its folder for a link while root removes files in it")
def test_an_exchanged_folder_leads_root_nowhere(
    application: Application, attacker: Attacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second account helps the one that is removed: its folder has a folder of the other one."""
    outside = attacker.folder.parent / "outside"
    (outside / "victim/below").mkdir(parents=True)
    victim = attacker.folder / "d/victim"
    (victim / "below").mkdir(parents=True)
    os.chown(attacker.folder / "d", attacker.uid, 0)
    os.chown(victim, application.account.pw_uid, 0)
    original = trees.remove

    def exchanged(*arguments: Any, **named: Any) -> None:
        attacker.run("os.rename('d', 'e'); os.symlink(sys.argv[1], 'd')", str(outside))
        original(*arguments, **named)

    monkeypatch.setattr(trees, "remove", exchanged)
    remove_files([application.account.pw_uid], places=[str(attacker.folder)])
    assert os.listdir(outside / "victim") == ["below"]
    assert os.listdir(attacker.folder / "e") == []


def test_a_file_system_in_a_folder_is_not_emptied(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    application.attacker.folder = tmp_path
    os.chmod(tmp_path, 0o777)
    application.attacker.run("os.mkdir('a'); os.mkdir('a/mounted'); open('a/mounted/data', 'w')")
    monkeypatch.setattr(belongings, "mount_points", lambda: {f"{tmp_path}/a/mounted"})
    removed, problems = remove_files([application.account.pw_uid], places=[str(tmp_path)])
    assert problems == [f"{tmp_path}/a: a file system is mounted in it"]
    assert f"{tmp_path}/a" not in removed
    assert (tmp_path / "a/mounted/data").exists()


@pytest.mark.attack("9", "A removed application leaves shared memory, semaphores and queues for the next account")
def test_its_ipc_objects_go(application: Application) -> None:
    uid = application.account.pw_uid
    application.attacker.run(
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "assert libc.shmget(0, 4096, 0o1666) >= 0 and libc.semget(0, 1, 0o1666) >= 0 and libc.msgget(0, 0o1666) >= 0\n"
        "open('/dev/shm/pyweb-gone-' + str(os.getpid()), 'w')\n"
    )
    assert [kind for kind, _id, _option in belongings.ipc_objects([uid])] == ["shm", "sem", "msg"]
    found = removed(application)["found"]
    kinds = [f"System V object {kind}" for kind in ("shm", "sem", "msg")]
    assert [text.rpartition(" ")[0] for text in found] == [*kinds, ""]
    assert found[3].startswith("/dev/shm/pyweb-gone-")
    assert belongings.ipc_objects([uid]) == []
    assert not os.path.exists(found[3])


def test_a_root_in_a_public_folder_keeps_its_data(application: Application) -> None:
    application.attacker.run("open('data', 'w'); open(sys.argv[1], 'w')", f"/var/tmp/{NAME}")
    assert application.layout.root.startswith("/tmp/")
    assert removed(application, purge=False)["found"] == [f"/var/tmp/{NAME}"]
    assert os.listdir(application.layout.shared) == ["data"]


# The account


def test_the_account_stays_locked_while_its_data_stay(application: Application) -> None:
    application.attacker.run("open('data', 'w')")
    subprocess.run(["usermod", "--shell", "/bin/sh", NAME], check=True)
    subprocess.run(["chpasswd"], input=f"{NAME}:secret", text=True, check=True)
    told = removed(application, purge=False)
    assert (told["account"], told["found"]) == ("kept", [f"the account '{NAME}' could log in, and is locked now"])
    assert pwd.getpwnam(NAME).pw_shell == "/usr/sbin/nologin"
    assert leftovers.has_locked_password(NAME)
    assert os.listdir(application.layout.home) == ["shared"]
    assert removed(application, purge=False)["found"] == []


@pytest.mark.attack("13.low", "A new application gets the user ID of a removed one, and so its forgotten files")
def test_a_removed_id_is_not_used_again(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = application.account.pw_uid
    # A group with another member stays after userdel.
    subprocess.run(["usermod", "--append", "--groups", NAME, "nobody"], check=True)
    assert removed(application)["account"] == "removed"
    with pytest.raises(KeyError):
        pwd.getpwnam(NAME)
    assert subprocess.run(["getent", "group", NAME], check=False, capture_output=True).returncode == 2
    record = leftovers.PATH
    assert retired_ids.retired_ids(record) == [uid]
    candidates = accounts.unowned_ids(application.layout, [uid, uid + 9000], record)
    assert next(candidates) == uid + 9000
    # Only where no other is left.
    assert next(candidates) == uid


@pytest.mark.attack("13.low", "An ID whose account was deleted by hand still owns files, and a new application gets it")
@pytest.mark.parametrize("place", ["shared", "shared/a/b", "public", "process", "group of a process"])
def test_an_id_that_owns_something_is_not_used(
    application: Application, attacker: Attacker, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Path(application.layout.root, "other")
    free = [attacker.uid + 700, attacker.uid + 800]
    (other / "shared/a").mkdir(parents=True)
    public = tmp_path / "public"
    public.mkdir()
    monkeypatch.setattr(accounts, "PLACES", (str(public),))
    path = public / "file" if place == "public" else other / place
    options: dict[str, Any] = {"group": attacker.gid}
    if "process" not in place:
        path.parent.mkdir(exist_ok=True)
        path.mkdir(exist_ok=True)
        os.chown(path, free[0], 0)
    elif place == "process":
        options["user"] = free[0]
    else:
        options["extra_groups"] = [free[0]]
    process = subprocess.Popen(["sleep", "1000"], **options)
    try:
        assert next(accounts.unowned_ids(application.layout, free, "/nowhere")) == free[1]
    finally:
        process.kill()
        process.wait()


@pytest.mark.attack("13.low", "A crontab outlives its account, and a new account of the same name runs it")
def test_an_account_does_not_inherit_a_crontab(
    application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "CRONTABS", str(tmp_path))
    (tmp_path / "again").write_text("* * * * * /srv/evil\n")
    layout = Layout("again", application.layout.root)
    with pytest.raises(ReleaseError, match=rf"'again' has left {tmp_path}/again, .* Read and remove"):
        accounts.create("again", layout, lambda argv: pytest.fail(str(argv)))


def test_an_account_gets_the_first_free_id() -> None:
    asked: list[list[str]] = []

    def run(argv: list[str]) -> tuple[int, str, str]:
        asked.append(argv)
        return (0, "", "")

    layout = Layout(f"{NAME}x", "/nowhere")
    accounts.create(layout.name, layout, run, ids=[1, 58_999])
    (argv,) = asked
    assert argv[argv.index("--uid") + 1] == "58999"
    with pytest.raises(ReleaseError, match="each user ID from 1 to 2 is in use, or owns files"):
        accounts.create(layout.name, layout, run, ids=[1, 2])


def test_an_account_for_builds_goes_while_the_data_stay(application: Application) -> None:
    name, home = build_account(NAME), application.layout.build
    accounts.create(
        name, application.layout, run_command, home=home, group=NAME, ids=[application.account.pw_uid + 10_000]
    )
    builder = pwd.getpwnam(name)
    assert (builder.pw_gid, builder.pw_dir) == (application.account.pw_gid, home)
    application.attacker.run("open('data', 'w')")
    process = subprocess.Popen(["sleep", "1000"], user=builder.pw_uid)
    told = removed(application, purge=False)
    assert process.wait(10) == -15
    assert (told["account"], pwd.getpwnam(NAME).pw_uid) == ("kept", application.account.pw_uid)
    with pytest.raises(KeyError):
        pwd.getpwnam(name)
    assert retired_ids.retired_ids(leftovers.PATH) == [builder.pw_uid]


def test_all_folders_below_run_go(application: Application) -> None:
    root = application.layout.runtime_root
    for name in (NAME, f"{NAME}.sockets", f"{NAME}x"):
        os.makedirs(f"{root}/{name}")
    os.chown(f"{root}/{NAME}", application.account.pw_uid, 0)
    assert removed(application)["found"] == [], "they are no leftovers"
    assert os.listdir(root) == [f"{NAME}x"]


def test_a_failure_of_userdel_is_told(application: Application) -> None:
    def run(argv: list[str]) -> tuple[int, str, str]:
        return (8, "", f"userdel: user {NAME} is currently used by process 4") if argv[0] == "userdel" else (0, "", "")

    spec = {"name": NAME, "process_managers": [], "stop_timeout": 1.0, "purge": True}
    with pytest.raises(ReleaseError, match=r"Removing the account .* used by process 4\. Correct the cause"):
        remove(spec, application.layout, run, "alice@desk")
    # The next run finds the folder, and tries again.
    assert os.path.isdir(application.layout.home)
    assert removed(application)["account"] == "removed"


def test_the_record_of_ids_survives_damage(tmp_path: Path) -> None:
    path = str(tmp_path / "state/ids.json")
    retired_ids.retire([900, 900, 901], path)
    retired_ids.retire([900], path)
    assert json.loads(Path(path).read_text()) == [901, 900]
    Path(path).write_text("{")
    assert retired_ids.retired_ids(path) == []
