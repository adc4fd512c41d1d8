# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Files that an application puts in the way of root: root follows no link, waits for nothing, and reads no end."""

from __future__ import annotations

import json
import os
import resource
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.exposure import readable_below
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.files import first_file, look_at_modes
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.job_runs import last_run
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.processes import look_at_deaths
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl, trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.interpreters import version_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import Untrusted, read_untrusted, tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import give_to, has_writers, take_for_root
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, remove_tree
from ansible_collections.pyweb.stack.plugins.module_utils.switching.links import remove_link
from ansible_collections.pyweb.stack.plugins.module_utils.switching.retirement import remove_other_sockets
from ansible_collections.pyweb.stack.plugins.module_utils.switching.workers import read_notes
from hostile_account import DEEP, Attacker, needs_root

pytestmark = needs_root

ID = "20261121T010203Z-ab12cd34"
SECRET = "the-secret-of-root"


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """A test that reads without end fails, rather than taking all memory."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (4 * 1024**3, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def soon(function: Callable[[], Any]) -> Any:
    """The result of a function, which must not wait for anything."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()), daemon=True)
    thread.start()
    thread.join(10)
    assert found, "it waits, or it has failed"
    return found[0]


def secret_of_root(attacker: Attacker) -> Path:
    path = attacker.folder.parent / "secret"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


# Programs by which an account replaces a file that root reads.
TRAPS = {
    "link": "os.symlink(sys.argv[2], sys.argv[1])",
    "link in a link": "os.symlink(sys.argv[2], 'other'); os.symlink('other', sys.argv[1])",
    "link to a device": "os.symlink('/dev/zero', sys.argv[1])",
    "pipe": "os.mkfifo(sys.argv[1])",
    "folder": "os.mkdir(sys.argv[1])",
    "socket": "socket.socket(socket.AF_UNIX).bind(sys.argv[1])",
    "endless file": "open(sys.argv[1], 'w').truncate(2**42)",
}


def trap(attacker: Attacker, kind: str, name: str) -> Path:
    attacker.run(TRAPS[kind], name, str(secret_of_root(attacker)))
    return attacker.folder / name


# Reading


@pytest.mark.attack("11", "An application replaces a file that root reads by a link, a pipe, a device or endless data")
@pytest.mark.parametrize("kind", TRAPS)
def test_root_reads_regular_files_alone(attacker: Attacker, kind: str) -> None:
    path = trap(attacker, kind, "file")
    with pytest.raises(OSError, match=r"file") as caught:
        read_untrusted(str(path), 1000)
    assert SECRET not in str(caught.value)


@pytest.mark.attack("11", "An application replaces the notes of its workers by a link, a pipe or endless data")
@pytest.mark.parametrize("kind", TRAPS)
def test_the_notes_of_workers_are_no_trap(attacker: Attacker, kind: str) -> None:
    layout = Layout(attacker.folder.name, runtime_root=str(attacker.folder.parent))
    trap(attacker, kind, f"{ID}.sock.ready")
    assert soon(lambda: read_notes(layout, ID)) == ""
    assert soon(lambda: look_at_deaths(layout, ID, "", 0)) is None


@pytest.mark.attack("11", "An application replaces its log by a link, a pipe or endless data")
@pytest.mark.parametrize("kind", TRAPS)
def test_a_log_is_no_trap(attacker: Attacker, kind: str) -> None:
    path = trap(attacker, kind, "log")
    text = soon(lambda: tail(str(path), 1000))
    assert SECRET not in text
    assert len(text) <= 1000


@pytest.mark.attack("11", "An application replaces a folder in the middle of a path by a link")
def test_a_link_in_the_middle_of_a_path_is_not_followed(attacker: Attacker) -> None:
    secret_of_root(attacker)
    attacker.run("os.symlink(sys.argv[1], 'middle')", str(attacker.folder.parent))
    with pytest.raises(Untrusted, match="'middle' is a link in a folder that others than root can write"):
        read_untrusted(str(attacker.folder / "middle/secret"), 1000)


def test_links_of_root_are_followed(attacker: Attacker) -> None:
    """An operator may have moved a folder to another disk."""
    base = attacker.folder.parent
    secret_of_root(attacker)
    (base / "moved").symlink_to(base)
    assert read_untrusted(str(base / "moved/moved/secret"), 1000) == SECRET.encode()


@pytest.mark.attack("11", "An application exchanges a file for a link while root opens it")
def test_a_file_that_is_exchanged_all_the_time_is_never_followed(attacker: Attacker) -> None:
    secret = secret_of_root(attacker)
    attacker.run("open('good', 'w').write('good')")
    process = attacker.start(
        "print('ready', flush=True)\n"
        "until = time.monotonic() + 20\n"
        "while time.monotonic() < until and os.getppid() > 1:\n"
        "    os.symlink(sys.argv[1], 'a'); os.rename('a', 'file'); os.link('good', 'b'); os.rename('b', 'file')\n",
        str(secret),
    )
    try:
        seen = set()
        until = time.monotonic() + 2
        while time.monotonic() < until:
            try:
                seen.add(read_untrusted(str(attacker.folder / "file"), 1000))
            except OSError:
                seen.add(b"refused")
        assert seen <= {b"good", b"refused"}
    finally:
        process.kill()
        process.wait()


RUN = {"job": "nightly", "release": ID, "started": "2026-11-21T03:00:00Z", "state": "failed", "status": 1, "seconds": 2}
FORGERIES = {
    "another job": {"job": "weekly"},
    "escape sequences": {"state": "failed\x1b]0;x\x07"},
    "an unknown state": {"state": "fine"},
    "a list as state": {"state": []},
    "a text as status": {"status": "1\nshop: ok"},
    "a release with lines": {"release": f"{ID}\nx"},
    "a time with lines": {"started": "2026-11-21T03:00:00Z\nx"},
    "a number without end": {"seconds": 1e308},
}


@pytest.mark.attack("19", "An application writes a result of a job that has no valid form")
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_result_of_a_job_is_none(attacker: Attacker, forgery: str) -> None:
    layout = Layout(attacker.folder.name, str(attacker.folder.parent))
    attacker.run("os.mkdir('jobs'); open('jobs/nightly.json', 'w').write(sys.argv[1])", json.dumps(RUN))
    assert last_run(layout, "nightly") == RUN
    attacker.run("open('jobs/nightly.json', 'w').write(sys.argv[1])", json.dumps({**RUN, **FORGERIES[forgery]}))
    assert last_run(layout, "nightly") == {}


@pytest.mark.attack("11", "An application writes a result of a job that breaks the parser")
def test_a_result_of_nested_lists_is_none(attacker: Attacker) -> None:
    layout = Layout(attacker.folder.name, str(attacker.folder.parent))
    attacker.run("os.mkdir('jobs'); open('jobs/nightly.json', 'w').write('[' * 4000)")
    assert last_run(layout, "nightly") == {}


@pytest.mark.attack("11", "An application replaces the result of a job by a link, a pipe or endless data")
@pytest.mark.parametrize("kind", TRAPS)
def test_the_result_of_a_job_is_no_trap(attacker: Attacker, kind: str) -> None:
    layout = Layout(attacker.folder.name, str(attacker.folder.parent))
    attacker.run("os.mkdir('jobs')")
    trap(attacker, kind, "jobs/nightly.json")
    assert soon(lambda: last_run(layout, "nightly")) == {}


# Removing


@pytest.mark.attack("11", "An application puts a folder or a link where its socket was")
@pytest.mark.parametrize("kind", [*TRAPS, "full folder"])
def test_whatever_is_in_the_place_of_a_socket_is_removed(attacker: Attacker, kind: str) -> None:
    layout = Layout(attacker.folder.name, runtime_root=str(attacker.folder.parent))
    secret = secret_of_root(attacker)
    if kind == "full folder":
        attacker.run(
            "os.makedirs('old.sock/a/b'); os.symlink(sys.argv[1], 'old.sock/a/x')", str(attacker.folder.parent)
        )
    else:
        trap(attacker, kind, "old.sock")
    attacker.run("open(sys.argv[1], 'w')", f"{ID}.sock")
    remove_other_sockets(layout, ID)
    assert os.listdir(attacker.folder) in ([f"{ID}.sock"], sorted(["other", f"{ID}.sock"])) or kind == "link in a link"
    remove_link(str(attacker.folder / f"{ID}.sock"))
    assert secret.read_text() == SECRET


@pytest.mark.attack("11", "An application leaves a tree so deep that its removal fails")
def test_a_tree_of_any_depth_is_removed(attacker: Attacker) -> None:
    attacker.run(DEEP, "3000")
    remove_tree(str(attacker.folder / "d"))
    assert os.listdir(attacker.folder) == []


@pytest.mark.attack("11", "An application adds files while root removes the folder")
def test_a_tree_that_grows_meanwhile_is_removed(attacker: Attacker) -> None:
    attacker.run("os.mkdir('tree')")
    program = (
        "import itertools\nos.chdir('tree'); print('ready', flush=True)\n"
        "for number in itertools.count():\n"
        "    try:\n"
        "        os.close(os.open(f'{os.getpid()}-{number}', os.O_CREAT | os.O_WRONLY))\n"
        "    except OSError:\n"
        "        break\n"
    )
    processes = [attacker.start(program) for _number in range(4)]
    try:
        soon(lambda: [remove_tree(str(attacker.folder / "tree"))])
        assert not (attacker.folder / "tree").exists()
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.attack("11", "An application leaves links to files of root in a folder that root removes")
def test_a_removal_leaves_what_links_lead_to(attacker: Attacker) -> None:
    secret = secret_of_root(attacker)
    attacker.run("os.mkdir('tree'); os.symlink(sys.argv[1], 'tree/up')", str(attacker.folder.parent))
    remove_tree(str(attacker.folder / "tree"))
    assert secret.exists()


# Walking


@pytest.mark.attack("11", "An application leaves a tree so deep that a check of it fails")
def test_a_walk_is_no_recursion(attacker: Attacker) -> None:
    attacker.run(DEEP, "1500")
    with pytest.raises(trees.TreeError, match="more than 128 folders deep"):
        list(trees.walk(str(attacker.folder)))
    with pytest.raises(trees.TreeError, match="more than 128 folders deep"):
        take_for_root(str(attacker.folder))
    with pytest.raises(trees.TreeError, match="more than 128 folders deep"):
        give_to(str(attacker.folder), 12345, 12345)
    assert first_file(str(attacker.folder)) == ""
    assert readable_below(str(attacker.folder), []) == str(attacker.folder), "root itself can read it"


@pytest.mark.attack("16", "An application leaves more files than a check may meet")
def test_a_walk_counts_what_it_meets(attacker: Attacker) -> None:
    attacker.run("for number in range(2000): open(str(number), 'w')")
    with pytest.raises(trees.TreeError, match="too many files"):
        list(trees.walk(str(attacker.folder), trees.Budget(entries=1000)))


@pytest.mark.attack("11", "An application leaves a link in a tree that root walks")
def test_a_walk_follows_no_link(attacker: Attacker) -> None:
    attacker.run("os.symlink('/', 'root'); os.symlink('/etc', 'etc')")
    (visit, _again) = trees.walk(str(attacker.folder))
    assert (sorted(visit.files), visit.folders) == (["etc", "root"], [])


# Taking files


def modes(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_uid, oct(stat.S_IMODE(path.lstat().st_mode)))
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


@pytest.mark.attack("10", "A build leaves files and folders that all accounts may write to")
def test_no_file_that_root_has_taken_can_be_written(attacker: Attacker) -> None:
    attacker.run(
        "os.mkdir('src'); os.chdir('src'); os.umask(0)\n"
        "open('a.py', 'w'); os.chmod('a.py', 0o666)\n"
        "open('run', 'w'); os.chmod('run', 0o6777)\n"
        "os.mkdir('f'); os.chmod('f', 0o7777); open('f/b', 'w'); os.chmod('f/b', 0o222)\n"
    )
    take_for_root(str(attacker.folder / "src"), fresh=True)
    assert modes(attacker.folder / "src") == {
        "a.py": (0, "0o644"),
        "run": (0, "0o755"),
        "f": (0, "0o755"),
        "f/b": (0, "0o200"),
    }


def is_written(path: Path) -> bool:
    with path.open("rb") as stream:
        return has_writers(stream.fileno())


@pytest.mark.attack("10", "A process of the build keeps a descriptor of a file in the release")
def test_an_open_descriptor_does_not_write_into_a_release(attacker: Attacker) -> None:
    process = attacker.start(
        "os.mkdir('src'); stream = open('src/app.py', 'w'); stream.write('good'); stream.flush()\n"
        "folder = os.open('src', os.O_RDONLY)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "stream.write(' evil'); stream.flush()\n"
        "try:\n    os.open('evil.py', os.O_CREAT | os.O_WRONLY, dir_fd=folder)\nexcept OSError:\n    pass\n"
    )
    assert is_written(attacker.folder / "src/app.py")
    take_for_root(str(attacker.folder / "src"), fresh=True)
    assert not is_written(attacker.folder / "src/app.py")
    process.communicate("now\n", timeout=10)
    assert (attacker.folder / "src/app.py").read_text() == "good"
    assert os.listdir(attacker.folder / "src") == ["app.py"]


@pytest.mark.attack("10", "A process of the build keeps a file of the release mapped into its memory")
def test_a_shared_mapping_is_found(attacker: Attacker) -> None:
    process = attacker.start(
        "import mmap\nos.mkdir('venv'); stream = open('venv/a', 'w+b'); stream.write(b'x' * 5000); stream.flush()\n"
        "mapped = mmap.mmap(stream.fileno(), 4096); stream.close()\n"
        "for number in range(3, 50):\n"
        "    try:\n        os.close(number)\n    except OSError:\n        pass\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
    )
    assert is_written(attacker.folder / "venv/a")
    process.communicate("now\n", timeout=10)
    assert not is_written(attacker.folder / "venv/a")


@pytest.mark.attack("10", "A build keeps a second name of a file in the release")
def test_another_name_of_a_file_is_cut_off(attacker: Attacker) -> None:
    attacker.run(
        "os.mkdir('src'); open('data', 'w').write('good'); os.chmod('data', 0o666); os.link('data', 'src/app.py')"
    )
    take_for_root(str(attacker.folder / "src"))
    attacker.run("open('data', 'w').write('evil')")
    assert (attacker.folder / "src/app.py").read_text() == "good"
    assert (attacker.folder / "data").stat().st_uid == attacker.uid, "its own file stays its own"


@pytest.mark.attack("10", "A second name of a file of root is put where root changes owners")
def test_a_file_with_another_name_is_not_given_away(attacker: Attacker) -> None:
    base = attacker.folder.parent
    (base / "tree").mkdir()
    os.link(secret_of_root(attacker), base / "tree/x")
    with pytest.raises(trees.TreeError, match="another name by a hard link"):
        give_to(str(base / "tree"), attacker.uid, attacker.gid)
    assert (base / "secret").stat().st_uid == 0


@pytest.mark.attack("10", "A build leaves pipes and sockets in the release")
def test_pipes_and_sockets_do_not_stay_in_a_release(attacker: Attacker) -> None:
    attacker.run("os.mkdir('src'); os.mkfifo('src/pipe'); socket.socket(socket.AF_UNIX).bind('src/socket')")
    soon(lambda: [take_for_root(str(attacker.folder / "src"))])
    assert os.listdir(attacker.folder / "src") == []


@pytest.mark.attack("10", "A build leaves access lists that let an account write")
def test_access_lists_do_not_stay_in_a_release(attacker: Attacker) -> None:
    attacker.run("os.mkdir('src'); open('src/a', 'w')")
    source = attacker.folder / "src"
    if not acl.is_supported(str(source)):
        pytest.skip("the file system has no access control lists")  # then a release cannot have any
    entries = [(acl.OWNER, 7, acl.NOBODY), (acl.OWNING_GROUP, 7, acl.NOBODY), (acl.OTHER, 7, acl.NOBODY)]
    entries += [(acl.USER, 7, 65534), (acl.MASK, 7, acl.NOBODY)]
    for kind in (acl.ACCESS, acl.DEFAULT):
        os.setxattr(source, kind, acl.encode(entries))
    take_for_root(str(source), fresh=True)
    for path in (source, source / "a"):
        assert acl.entries_of(str(path)) + acl.entries_of(str(path), acl.DEFAULT) == []


@pytest.mark.attack("11", "An application exchanges folders for links while root changes owners")
def test_a_folder_that_is_exchanged_meanwhile_leads_root_nowhere(attacker: Attacker) -> None:
    """The account exchanges folders for links to a folder of root, all the time."""
    outside = attacker.folder.parent / "outside"
    outside.mkdir()
    (outside / "x").write_text("x")
    os.chmod(outside, 0o777)  # so that a change would show
    process = attacker.start(
        "os.makedirs('src'); [os.makedirs(f'src/{n}/d') for n in range(200)]; print('ready', flush=True)\n"
        "while os.getppid() > 1:\n"
        "    for n in range(200):\n"
        "        try:\n"
        "            os.rename(f'src/{n}/d', f'src/{n}/e'); os.symlink(sys.argv[1], f'src/{n}/d')\n"
        "            os.unlink(f'src/{n}/d'); os.rename(f'src/{n}/e', f'src/{n}/d')\n"
        "        except OSError:\n"
        "            pass\n",
        str(outside),
    )
    try:
        take_for_root(str(attacker.folder / "src"), fresh=True)
    finally:
        process.kill()
        process.wait()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o777
    assert {path.lstat().st_uid for path in (attacker.folder / "src").rglob("*")} == {0}


@pytest.mark.attack("10", "A file of a release is writable after the deployment")
def test_verify_says_what_of_a_release_can_be_changed(attacker: Attacker) -> None:
    layout = Layout("shop", str(attacker.folder.parent))
    source = Path(layout.release(ID)) / "src"
    source.mkdir(parents=True)
    for name in ("good.py", "open.py", "theirs.py", "setuid"):
        (source / name).touch()
    environment = Path(layout.venvs) / "v/bin"
    environment.mkdir(parents=True)
    (source.parent / "venv").symlink_to("../../venvs/v")
    # As outward_links leaves it: only root can replace it.
    (source / "out").symlink_to("/etc/passwd")
    os.chown(source / "out", attacker.uid, 0, follow_symlinks=False)
    assert look_at_modes(layout, ID) == []
    (source / "open.py").chmod(0o666)
    (source / "setuid").chmod(0o4755)
    os.chown(source / "theirs.py", attacker.uid, 0)
    environment.chmod(0o775)
    assert look_at_modes(layout, ID) == [
        f"{source}/open.py has mode 0666, so others than root can write it",
        f"{source}/setuid has mode 4755, so it runs as its owner or group",
        f"{source}/theirs.py belongs to {attacker.uid}",
        f"{environment} has mode 0775, so others than root can write it",
    ]


# Running


@pytest.mark.attack("12", "An interpreter records the account that runs it")
def test_an_interpreter_never_runs_as_root(attacker: Attacker) -> None:
    attacker.run("open('python', 'w').write('#!/bin/sh\\nid -u >' + os.getcwd() + '/ran; echo cpython-3.11\\n')")
    attacker.run("os.chmod('python', 0o755); os.chmod('.', 0o777); open('ran', 'w'); os.chmod('ran', 0o666)")
    assert version_of(str(attacker.folder / "python")) == "cpython-3.11"
    assert (attacker.folder / "ran").read_text() == "65534\n"


@pytest.mark.attack("12", "An interpreter answers with endless data, or never")
@pytest.mark.parametrize(
    "program",
    ["sleep 1000", "yes cpython-3.11", "echo 'cpython-3.11; evil'", "printf '\\033[2J'", "exec 1>&-; sleep 1000"],
)
def test_a_hostile_interpreter_is_none(attacker: Attacker, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.pyweb.stack.plugins.module_utils.host import interpreters

    monkeypatch.setattr(interpreters, "PATIENCE", 1.0)
    (attacker.folder / "python").write_text(f"#!/bin/sh\n{program}\n")
    (attacker.folder / "python").chmod(0o755)
    assert soon(lambda: version_of(str(attacker.folder / "python"))) == ""
