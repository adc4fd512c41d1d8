# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The two worlds of a deployment: builds trust nothing that the application writes, and commands leave no process."""

from __future__ import annotations

import errno
import http.server
import os
import pwd
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import builder as builder_module
from ansible_collections.pyweb.stack.plugins.module_utils.building import environment, folders
from ansible_collections.pyweb.stack.plugins.module_utils.building.installed import installed_packages
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import HARDLINK
from ansible_collections.pyweb.stack.plugins.module_utils.host.account_processes import processes_of
from ansible_collections.pyweb.stack.plugins.module_utils.release import capture
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import StillOpen, take_for_root
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import (
    Program,
    run_as_account,
    run_as_builder,
    run_by_hand,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import ReleaseError, build_account
from hostile_account import Attacker, needs_root
from watching_server import WatchingServer

from local import test_building as builds
from local.test_building import APP, ID, NAME, Bench, wheel

pytestmark = needs_root

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv

TOKEN = "hunter2-correct-horse"
SECOND = "20261121T020304Z-ab12cd34"


def builder() -> pwd.struct_passwd:
    return pwd.getpwnam(build_account(NAME))


def as_service(program: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a Python program as the running service of the application does."""
    owner = pwd.getpwnam(NAME)
    return subprocess.run(
        ["/usr/bin/python3", "-I", "-c", f"import os, sys\n{program}", *arguments],
        user=owner.pw_uid,
        group=owner.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


@contextmanager
def service(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program of the running service. It prints one line when it is ready."""
    owner = pwd.getpwnam(NAME)
    with subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", f"import os, socket, sys, time\n{program}", *arguments],
        user=owner.pw_uid,
        group=owner.pw_gid,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
        process.kill()


# The files that builds trust

PLACES = (
    "uv/archive-v0/x",
    ".config/pip/pip.conf",
    ".config/uv/uv.toml",
    ".netrc",
    ".pydistutils.cfg",
    ".local/lib/python3/site-packages/usercustomize.py",
)


@pytest.mark.attack("7", "The service writes into the cache, or into the settings, that its next build reads")
@pytest.mark.parametrize("place", PLACES)
def test_the_service_reaches_nothing_that_a_build_trusts(bench: Bench, place: str) -> None:
    wheel(bench.folder / "wheels", "core", "1.0")
    python = {
        "interpreter": "python3",
        "packages": [f"core @ {(bench.folder / 'wheels').as_uri()}/core-1.0-py3-none-any.whl"],
    }
    bench.build({"app.py": APP}, python=python)
    program = "os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True); open(sys.argv[1], 'w').write('evil')"
    answer = as_service(program, f"{bench.layout.build}/{place}")
    assert "PermissionError" in answer.stderr
    assert "PermissionError" in as_service("os.listdir(sys.argv[1])", bench.layout.build).stderr
    # Neither through a file that it knows by name
    for found in (path for path in Path(bench.layout.build).rglob("*") if path.is_file()):
        assert "PermissionError" in as_service("open(sys.argv[1])", str(found)).stderr


USER_SITE = "import os; open({mark!r} + str(os.getuid()), 'w')\n"


@pytest.mark.attack("7", "The service puts code and settings into its own HOME, where a build would find them")
def test_a_build_takes_nothing_from_the_home_of_the_service(bench: Bench) -> None:
    mark = str(bench.folder / "ran-by-")
    bench.folder.chmod(0o777)
    program = (
        "import site\n"
        "home, code = sys.argv[1:]\n"
        "lib = f'{home}/.local/lib/python3.{sys.version_info[1]}/site-packages'\n"
        "for path in (lib, f'{home}/.config/pip', f'{home}/.config/uv', f'{home}/uv'): os.makedirs(path)\n"
        "open(f'{lib}/usercustomize.py', 'w').write(code)\n"
        "for name in ('.netrc', '.pydistutils.cfg', '.config/pip/pip.conf', '.config/uv/uv.toml'):\n"
        "    open(f'{home}/{name}', 'w').write('evil, so that its reader fails')\n"
    )
    answer = as_service(program, bench.layout.cache, USER_SITE.format(mark=mark))
    assert answer.returncode == 0, answer.stderr
    wheel(bench.folder / "wheels", "core", "1.0")
    python = {
        "interpreter": "python3",
        "packages": [f"core @ {(bench.folder / 'wheels').as_uri()}/core-1.0-py3-none-any.whl"],
    }
    bench.build({"app.py": APP}, python=python, build_commands=["/usr/bin/python3 -c pass", "cat $HOME/.netrc || true"])
    assert list(bench.folder.glob("ran-by-*")) == []
    assert not Path(bench.layout.cache, "uv").exists(), "the cache of version 0.1.0 is no longer trusted"


@pytest.mark.attack("7", "The service replaces the old cache of uv by a link, which root then removes")
def test_the_removal_of_the_old_cache_follows_no_link(bench: Bench) -> None:
    victim = bench.folder / "victim"
    victim.mkdir()
    (victim / "data").write_text("root's")
    assert as_service("os.symlink(*sys.argv[1:])", str(victim), f"{bench.layout.cache}/uv").returncode == 0
    bench.build({"app.py": APP})
    assert (victim / "data").read_text() == "root's"


# The secrets of builds

WATCH = """
import re
builder = int(sys.argv[1])
print("ready", flush=True)
token = sys.stdin.readline().strip().encode()
seen = False
until = time.monotonic() + 60
while time.monotonic() < until:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline", "maps", "fd/0", "root", "cwd"):
            try:
                if name == "cmdline" and os.stat(f"/proc/{pid}").st_uid == builder and not seen:
                    seen = True
                    print("seen", flush=True)
                if token in open(f"/proc/{pid}/{name}", "rb").read():
                    print("token", name, flush=True)
            except OSError:
                pass
"""


class Slow(WatchingServer):
    """An index that answers late, so that its visitor stays for a while."""

    def do_GET(self) -> None:
        time.sleep(0.5)
        super().do_GET()


@pytest.mark.attack("8", "The service reads the password of the index from a process of the build")
def test_the_service_reads_no_password_of_an_index(bench: Bench) -> None:
    wheel(bench.folder / "wheels", "core", "1.0")
    Slow.root = str(bench.folder / "wheels")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://me:{TOKEN}@127.0.0.1:{server.server_port}"
        python = {
            "interpreter": "python3",
            "packages": [f"core @ {address}/core-1.0-py3-none-any.whl"],
            "index_url": f"{address}/simple",
        }
        with service(WATCH, str(builder().pw_uid)) as watcher:
            assert watcher.stdin is not None
            watcher.stdin.write(f"{TOKEN}\n")
            watcher.stdin.flush()
            bench.build({"app.py": APP}, python=python)
            watcher.kill()
            assert watcher.stdout is not None
            assert watcher.stdout.read() == "seen\n"
        server.shutdown()


# Processes and descriptors that builds leave

LATER = "sleep 1; echo evil >>{path}; chmod 666 {path}"
LEAVING = {
    "setsid": "setsid sh -c '{later}' >/dev/null 2>&1 &",
    "double fork": "(setsid sh -c '{later}' >/dev/null 2>&1 &) & wait",
    "chain": 'python -c "{chain}" >/dev/null 2>&1',
}
# Each process ends at once, and its child continues, in a session of its own.
CHAIN = (
    "import os, time\n"
    "for _ in range(3000):\n"
    "    if os.fork(): os._exit(0)\n"
    "    os.setsid(); time.sleep(0.001)\n"
    "open(os.environ['TARGET'], 'a').write('evil')"
).replace("\n", "\\n")


@pytest.mark.attack(
    "13.9", "A process of a build command leaves its session, waits, and writes into the finished release"
)
@pytest.mark.parametrize("way", LEAVING)
def test_what_a_build_command_leaves_is_ended_before_root_takes_the_files(bench: Bench, way: str) -> None:
    path = f"{bench.layout.release(ID)}/src/app.py"
    chain = f"exec(compile('''{CHAIN}''', 'c', 'exec'))".replace("$", r"\$")
    command = LEAVING[way].format(later=LATER.format(path=path), chain=chain)
    release = bench.build({"app.py": APP}, env={"TARGET": path}, build_commands=[command])
    assert processes_of([builder().pw_uid]) == []
    time.sleep(1.2)
    assert (release / "src/app.py").read_text() == APP
    assert (release / "src/app.py").stat().st_mode & 0o777 == 0o644


SEND = """
import array, os, socket
file = os.open('{path}', os.O_RDWR)
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect('{address}')
    peer.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [file]))])
"""
RECEIVE = """
import array
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777); server.listen()
print("ready", flush=True)
sys.stdin.readline()
peer, _ = server.accept()
_data, ancillary, *_ = peer.recvmsg(10, 100)
os.lseek(ancillary[0][2][0], 0, 0)
os.write(int.from_bytes(ancillary[0][2][:4], "little"), b"evil")
print("written", flush=True)
""".replace("os.lseek(ancillary[0][2][0], 0, 0)\n", "")


@pytest.mark.attack("10", "A build command hands an open file of the release to the service, through a socket")
def test_a_descriptor_that_was_handed_to_the_service_writes_into_no_release(bench: Bench) -> None:
    address = f"{bench.layout.shared}/s"
    code = SEND.format(path=f"{bench.layout.release(ID)}/src/app.py", address=address)
    with service(RECEIVE, address) as receiver:
        release = bench.build({"app.py": APP, "send.py": code}, build_commands=["python send.py"])
        assert receiver.stdin is not None
        receiver.stdin.write("now\n")
        receiver.stdin.flush()
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "written\n"
    assert (release / "src/app.py").read_text() == APP


@pytest.mark.attack("10", "A package keeps a file of the environment open, or sends it through a socket")
@pytest.mark.parametrize("way", ["open", "in flight", "mapped"])
def test_an_environment_with_a_file_that_is_open_for_writing_is_refused(attacker: Attacker, way: str) -> None:
    keep = {
        "open": "",
        "in flight": (
            "import array\na, b = socket.socketpair()\n"
            "b.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [file]))])\nos.close(file)\n"
        ),
        "mapped": "import mmap\nmapped = mmap.mmap(file, 4)\nos.closerange(3, 50)\n",
    }
    process = attacker.start(
        "os.mkdir('cache'); os.mkdir('venv'); open('cache/a.py', 'w').write('good')\n"
        "os.link('cache/a.py', 'venv/a.py')\n"
        "file = os.open('cache/a.py', os.O_RDWR)\n" + keep[way] + "print('ready', flush=True); sys.stdin.readline()\n"
    )
    with pytest.raises(StillOpen, match=f"the process {process.pid}" if way == "open" else "a process has it open"):
        take_for_root(str(attacker.folder / "venv"), linked_by=attacker.uid)
    process.communicate("now\n", timeout=10)


@pytest.mark.attack("10", "A package keeps another name of a file of the environment, by a hard link")
def test_another_name_of_a_file_of_an_environment_is_taken_too(attacker: Attacker) -> None:
    attacker.run(
        "os.mkdir('venv'); open('kept.py', 'w').write('good'); os.chmod('kept.py', 0o666)\n"
        "os.link('kept.py', 'venv/a.py')"
    )
    take_for_root(str(attacker.folder / "venv"), linked_by=attacker.uid)
    kept = attacker.folder / "kept.py"
    assert kept.stat().st_ino == (attacker.folder / "venv/a.py").stat().st_ino, "there is no second copy on the disk"
    attacker.run(
        "for change in (lambda: open('kept.py', 'w'), lambda: os.chmod('kept.py', 0o666)):\n"
        "    try:\n        change()\n    except PermissionError:\n        continue\n"
        "    raise SystemExit('it was changed')\n"
    )


@pytest.mark.attack(
    "13.10", "A package links a file of root or of the service into its environment, so that root changes it"
)
def test_the_file_of_another_account_keeps_owner_and_mode(attacker: Attacker) -> None:
    base = attacker.folder.parent
    attacker.run("os.mkdir('venv')")
    for name, owner, mode in (("tool", 0, 0o4755), ("data", 12345, 0o660)):
        (base / name).write_text(name)
        os.chown(base / name, owner, owner)
        os.chmod(base / name, mode)
        # As root, because the kernel may forbid it to the attacker (fs.protected_hardlinks).
        os.link(base / name, attacker.folder / "venv" / name)
    take_for_root(str(attacker.folder / "venv"), linked_by=attacker.uid)
    assert [(base / name).stat().st_mode & 0o7777 for name in ("tool", "data")] == [0o4755, 0o660]
    assert (base / "data").stat().st_uid == 12345
    assert {path.stat().st_uid for path in (attacker.folder / "venv").iterdir()} == {0}


@pytest.mark.attack("7", "The service, or a later build, writes bytecode into an environment")
def test_bytecode_of_an_environment_is_roots(bench: Bench) -> None:
    wheel(bench.folder / "wheels", "core", "1.0")
    python = {
        "interpreter": "python3",
        "packages": [f"core @ {(bench.folder / 'wheels').as_uri()}/core-1.0-py3-none-any.whl"],
    }
    release = bench.build({"app.py": APP}, python=python)
    (bytecode,) = (release / "venv/").resolve().rglob("core*.pyc")
    assert (bytecode.stat().st_uid, bytecode.stat().st_mode & 0o022) == (0, 0)
    for program in ("open(sys.argv[1], 'r+')", "open(sys.argv[1] + 'x', 'w')", "os.unlink(sys.argv[1])"):
        assert "PermissionError" in as_service(program, str(bytecode)).stderr
        command = ["/usr/bin/python3", "-I", "-c", f"import os, sys\n{program}", str(bytecode)]
        answer = run_as_builder(bench.layout, Program(command, "/", {}, 20))
        assert "PermissionError" in answer.stderr


# Processes that commands of the run world leave

STAY = {
    "setsid": "setsid sleep 333 >/dev/null 2>&1 &",
    "double fork": "(setsid sh -c '(setsid sleep 333 &) & sleep 334' >/dev/null 2>&1 &) & sleep 0.2",
    "open pipe": "setsid sleep 333 &",
}


@pytest.mark.attack("9", "A release command, or a command of run.yml, leaves a process that has left its session")
@pytest.mark.parametrize("by_hand", [False, True], ids=["release command", "run.yml"])
@pytest.mark.parametrize("way", STAY)
def test_what_a_command_leaves_ends_with_it(bench: Bench, way: str, by_hand: bool) -> None:
    before, began = builds.running(), time.monotonic()
    command = ["/bin/sh", "-c", STAY[way]]
    if by_hand:
        answer = run_by_hand(bench.layout, command, "pyweb-run.test.service", 1000)
    else:
        answer = run_as_account(bench.layout, command, "/", {}, None)
    assert answer.returncode == 0
    assert time.monotonic() - began < 30
    assert builds.running() == before == []


@pytest.mark.attack("9", "The import check starts a daemon by a double fork")
def test_what_an_import_leaves_ends_with_it(bench: Bench) -> None:
    code = f"import subprocess\nsubprocess.run([{'/bin/sh'!r}, '-c', {STAY['double fork']!r}])\n{APP}"
    bench.build({"app.py": code})
    assert builds.running() == []


@pytest.mark.attack("9", "A command forks all the time, and each parent ends")
def test_a_command_that_always_forks_is_ended(bench: Bench) -> None:
    code = CHAIN.replace("\\n", "\n").replace("3000", "100000")
    answer = run_as_account(bench.layout, ["/usr/bin/python3", "-c", code], "/", {"TARGET": "/dev/null"}, 20)
    assert answer.returncode == 0
    assert processes_of([pwd.getpwnam(NAME).pw_uid]) == []


@pytest.mark.attack("9", "A command becomes the parent of its orphans itself, so that its keeper does not get them")
def test_a_reaper_of_the_command_hides_nothing(bench: Bench) -> None:
    code = (
        "import ctypes, subprocess, os\nctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
        "subprocess.Popen(['sh', '-c', '(setsid sleep 333 &)'], stdout=-3, stderr=-3).wait()\n"
        "os._exit(7)"
    )
    answer = run_as_account(bench.layout, ["/usr/bin/python3", "-c", code], "/", {}, 30)
    assert answer.returncode == 7
    assert builds.running() == []


@pytest.mark.attack("9", "A command gains the rights of root by a setuid program")
@pytest.mark.parametrize("world", ["run", "build"])
def test_a_setuid_program_gives_no_rights(bench: Bench, public: Path, world: str) -> None:
    tool = public / "tool"
    tool.write_bytes(Path("/usr/bin/id").read_bytes())
    tool.chmod(0o4755)
    command = ["/bin/sh", "-c", f"{tool} -u; grep -E 'NoNewPrivs|CapBnd|CapInh|CapPrm' /proc/self/status"]
    if world == "run":
        answer = run_as_account(bench.layout, command, "/", {}, 20)
        own = pwd.getpwnam(NAME).pw_uid
    else:
        answer = run_as_builder(bench.layout, Program(command, "/", {}, 20))
        own = builder().pw_uid
    words = answer.stdout.split()
    assert words[0] == str(own)
    assert dict(zip(words[1::2], words[2::2], strict=True)) == {
        "CapInh:": "0" * 16,
        "CapPrm:": "0" * 16,
        "CapBnd:": "0" * 16,
        "NoNewPrivs:": "1",
    }


@pytest.mark.attack(
    "13.16", "A command prints without end, to fill the memory, or the disk with root's temporary files"
)
def test_output_without_end_is_kept_on_no_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MOST_PRINTED", 50 * 1024**2)
    files = run_as_account(bench.layout, ["/bin/sh", "-c", "ls -l /proc/$$/fd"], "/", {}, 60).stdout
    assert "pipe:" in files
    assert "/tmp" not in files  # no such file is used
    answer = run_as_account(bench.layout, ["/bin/sh", "-c", "yes evil; echo never"], "/", {}, 60)
    assert len(answer.stdout) <= capture.MOST_OUTPUT
    assert "evil\n" in answer.stdout
    assert "ended, because it has printed more than" in answer.stderr
    assert answer.returncode != 0
    assert processes_of([pwd.getpwnam(NAME).pw_uid]) == []


@pytest.mark.attack("9", "The service kills or traces a process of the build")
def test_the_service_can_not_touch_a_process_of_the_build(bench: Bench) -> None:
    program = (
        "import ctypes, subprocess\n"
        "pid = b''\n"
        "while not pid:\n"
        "    pid = subprocess.run(['pgrep', '-u', sys.argv[1], '-x', 'sleep'], capture_output=True).stdout\n"
        "pid = int(pid)\n"
        "assert ctypes.CDLL(None).ptrace(16, pid, 0, 0) == -1\n"
        "os.kill(pid, 9)\n"
    )
    answers = []

    def attack() -> None:
        answers.append(as_service(program, builder().pw_name).stderr)

    thread = threading.Thread(target=attack)
    thread.start()
    bench.build({"app.py": APP}, build_commands=["sleep 3"])
    thread.join()
    assert "PermissionError" in answers[0]


@pytest.mark.attack("9", "A killed deployment leaves a build that has left its session and cleared its environment")
def test_the_next_holder_of_the_lock_ends_what_a_killed_build_has_left(bench: Bench) -> None:
    owner = builder()
    left = subprocess.Popen(
        ["/usr/bin/env", "-i", "/usr/bin/setsid", "-w", "/usr/bin/sleep", "333"],
        user=owner.pw_uid,
        group=owner.pw_gid,
        extra_groups=[],
    )
    Path(bench.layout.path(".lock")).write_text("alice, since then, process 1\n")
    with lock(bench.layout, "bob"):
        assert left.wait(5) == -9
    assert processes_of([owner.pw_uid]) == []


# The reach of builds


@pytest.mark.parametrize("place", ["shared", "cache"])
def test_the_message_for_a_build_command_that_writes_elsewhere_names_release_commands(bench: Bench, place: str) -> None:
    message = bench.refuse({"app.py": APP}, build_commands=[f"echo x >{bench.layout.path(place)}/x"])
    assert "Move a command that writes other files to commands.release." in message
    assert os.listdir(bench.layout.path(place)) == []


def test_builds_read_what_is_shared_and_the_environment_of_the_release(bench: Bench) -> None:
    release = bench.build(
        {"app.py": APP, "data/a": "read\n"}, shared=["data"], env={"A": "b"}, build_commands=["cat data/a ../env >seen"]
    )
    assert "read\n" in (release / "src/seen").read_text()
    assert "A=b\n" in (release / "src/seen").read_text()


@pytest.mark.attack("7", "Another account of the host already has the name of the build account")
def test_a_foreign_account_does_not_become_the_build_account(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    own, foreign = pwd.getpwnam(NAME), pwd.getpwnam("nobody")
    known = {NAME: pwd.struct_passwd([*own[:5], bench.layout.home, own[6]]), build_account(NAME): foreign}
    monkeypatch.setattr(folders, "account", known.get)
    with pytest.raises(ReleaseError, match="but the builds of this application need the name"):
        folders.check_account(bench.layout)


# One copy on the disk


def test_an_environment_shares_its_files_with_the_cache(bench: Bench) -> None:
    wheel(bench.folder / "wheels", "core", "1.0")
    wheel(bench.folder / "wheels", "tool", "1.0")
    address = (bench.folder / "wheels").as_uri()
    wanted = [f"{name} @ {address}/{name}-1.0-py3-none-any.whl" for name in ("core", "tool")]
    first = bench.build({"app.py": APP}, python={"interpreter": "python3", "packages": wanted[:1]})
    (module,) = (first / "venv/").resolve().rglob("core.py")
    assert module.stat().st_nlink >= 2
    # uv can't link what is root's now, so it copies it.
    second = bench.build({"app.py": APP}, SECOND, python={"interpreter": "python3", "packages": wanted})
    assert installed_packages(str(second / "venv")).keys() >= {"core", "tool"}
    (again,) = (second / "venv/").resolve().rglob("core.py")
    (other,) = (second / "venv/").resolve().rglob("tool.py")
    assert again.read_text() == module.read_text()
    assert {path.stat().st_uid for path in (module, again, other)} == {0}


SCRIPT = "#!python\nprint('hello')\n"


def programs(bench: Bench, count: int) -> list[str]:
    """Requirements for this many wheels with one script each. uv rewrites a script, and links other files.

    So the archive of such a wheel has files of two owners afterwards. uv reads folders in the order of the file system,
    which hashes their names: among a dozen wheels, some begin with a file of the build account.
    """
    names = [f"tool{number}" for number in range(count)]
    for name in names:
        wheel(bench.folder / "wheels", name, "1.0", f"NAME = {name!r}\n", script=SCRIPT)
    address = (bench.folder / "wheels").as_uri()
    return [f"{name} @ {address}/{name}-1.0-py3-none-any.whl" for name in names]


def test_a_second_environment_has_packages_whose_cache_has_two_owners(bench: Bench) -> None:
    wanted = programs(bench, 13)
    bench.build({"app.py": APP}, python={"interpreter": "python3", "packages": wanted[:12]})
    second = bench.build({"app.py": APP}, SECOND, python={"interpreter": "python3", "packages": wanted})
    assert len(installed_packages(str(second / "venv"))) == 13
    assert bench.run("tool12", identity=SECOND) == bench.run("tool3", identity=SECOND) == "hello\n"


@pytest.mark.parametrize("taken", ["*.py", "METADATA", "WHEEL", "RECORD"])
def test_a_cache_that_a_killed_run_has_partly_taken_prevents_no_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    """Whichever file uv reads first. The second attempt is by itself enough too."""
    wanted = programs(bench, 3)
    bench.build({"app.py": APP}, python={"interpreter": "python3", "packages": wanted[:2]})
    for path in (path for path in Path(bench.layout.build, "uv").rglob("*") if path.is_file()):
        os.chown(path, 0 if path.match(taken) else builder().pw_uid, -1)
    monkeypatch.setattr(environment, "link_mode", lambda _build: HARDLINK)
    second = bench.build({"app.py": APP}, SECOND, python={"interpreter": "python3", "packages": wanted})
    assert len(installed_packages(str(second / "venv"))) == 3


@pytest.mark.attack("7", "The application fills the old cache of uv, which no build reads, so that no release is built")
def test_an_old_cache_that_can_not_be_removed_prevents_no_build(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    old = f"{bench.layout.cache}/uv"
    assert as_service("os.mkdir(sys.argv[1]); os.mkdir(f'{sys.argv[1]}/x')", old).returncode == 0
    monkeypatch.setattr(builder_module, "remove_tree", failing_for(old, builder_module.remove_tree))
    bench.build({"app.py": APP})


def failing_for(refused: str, remove: Any) -> Any:
    """A removal that fails as it does if others fill the folder meanwhile."""

    def removal(path: str) -> None:
        if path == refused:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        remove(path)

    return removal
