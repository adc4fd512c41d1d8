# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Builds of a hostile application: its commands, its running service, its packages and its indexes."""

from __future__ import annotations

import http.server
import json
import os
import pwd
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import requirements
from ansible_collections.pyweb.stack.plugins.module_utils.building.import_probe import MARKER
from ansible_collections.pyweb.stack.plugins.module_utils.host.interpreters import version_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import ReleaseError, record
from hostile_account import needs_root
from watching_server import WatchingServer

from local import test_building as builds
from local.test_building import APP, ID, NAME, Bench, wheel

pytestmark = needs_root

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv

TOKEN = "hunter2-correct-horse"


def wrong(release: Path) -> list[str]:
    """The files of a release and of its environment that others than root can change.

    Links do not count: an account can replace a link only if it can write its folder.
    """
    found = []
    for top in (release, release / "venv/"):
        for base, folders, files in os.walk(top):
            for path in (Path(base), *(Path(base, name) for name in folders + files)):
                status = path.lstat()
                if not path.is_symlink() and (status.st_uid or status.st_mode & 0o6022):
                    found.append(f"{path} {stat.filemode(status.st_mode)}")
    return found


# Build commands

COMMANDS = {
    "modes": "chmod -R a+rwX,u+s . && touch made && chmod 6777 made && mkdir open && chmod 3777 open",
    "umask": "umask 0; mkdir -p a/b; echo x >a/b/c",
    "hard link": "echo x >$HOME/outside; chmod 666 $HOME/outside; ln $HOME/outside inside",
    "pipe and socket": "mkfifo pipe; python -c \"import socket; socket.socket(socket.AF_UNIX).bind('socket')\"",
    "link out": "ln -s /etc/passwd passwd; ln -s / root",
}


@pytest.mark.attack("10", "A build command makes files of the release writable for all accounts")
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_leaves_a_file_that_others_can_change(bench: Bench, command: str) -> None:
    release = bench.build({"app.py": APP}, build_commands=[COMMANDS[command]])
    assert wrong(release) == []
    assert (release / "src/app.py").stat().st_nlink == 1
    if command == "hard link":
        assert Path(bench.layout.build, "outside").stat().st_uid != 0
    assert Path("/etc/passwd").stat().st_uid == 0


@pytest.mark.attack("7", "The running service opens a file of the next release while build commands run")
def test_the_running_service_opens_no_file_of_a_release_that_is_being_built(bench: Bench) -> None:
    owner = pwd.getpwnam(NAME)
    program = (
        "import os, sys, time\n"
        "path = sys.argv[1]\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    try:\n"
        "        stream = open(path, 'a'); break\n"
        "    except OSError:\n"
        "        time.sleep(0.001)\n"
        "stream.write('raise SystemExit'); stream.flush(); print('open', flush=True)\n"
    )
    with subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", program, f"{bench.layout.release(ID)}/src/app.py"],
        user=owner.pw_uid,
        group=owner.pw_gid,
        extra_groups=[],
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "ready\n"
        # The command opens its files for everyone.
        release = bench.build({"app.py": APP}, build_commands=["chmod 666 app.py; sleep 0.5"])
        service.kill()
        assert service.stdout.read() == ""
    assert (release / "src/app.py").read_text() == APP


@pytest.mark.attack("16", "A build command leaves thousands of nested folders")
def test_a_command_that_leaves_a_tree_without_a_bottom_is_refused(bench: Bench) -> None:
    code = "import os; [(os.mkdir('d'), os.chdir('d')) for _ in range(1500)]"
    with pytest.raises((ReleaseError, OSError), match="128 folders deep"):
        bench.build({"app.py": APP}, build_commands=[f'python -c "{code}"'])
    assert not os.path.exists(bench.layout.release(ID)), "nothing of it is left on the disk"


@pytest.mark.attack("11", "The code of an application forges the answer of the import check")
def test_an_import_that_forges_the_answer_of_the_check_is_told(bench: Bench) -> None:
    for answer in ("[" * 3000, '{"problem": "x"}', "[]", '{"problem": "no_module"}'):
        line = f"\n{MARKER}{answer}\n"
        marked = f"import os\nos.write(1, {line.encode()!r})\nos._exit(0)\n"
        assert "which is for the check alone" in bench.refuse({"app.py": marked})


def interpreter(bench: Bench) -> Path:
    """An interpreter in a folder of the application; it notes the account that runs it."""
    folder = Path(bench.layout.shared)
    folder.chmod(0o777)
    (folder / "python").write_text(f'#!/bin/sh\nid -u >{folder}/ran\nexec /usr/bin/python3 "$@"\n')
    (folder / "python").chmod(0o755)
    return folder / "python"


@pytest.mark.attack("12", "An application replaces the interpreter in its own folder")
def test_an_interpreter_of_the_application_does_not_run_as_root(bench: Bench) -> None:
    program = interpreter(bench)
    assert version_of(str(program), bench.layout.root).startswith("cpython-3.")
    assert (program.parent / "ran").read_text() != "0\n"


@pytest.mark.attack("7", "The application offers its own builds an interpreter in a folder that it can write")
def test_builds_trust_no_interpreter_that_the_application_can_write(bench: Bench) -> None:
    program = interpreter(bench)
    message = bench.refuse({"app.py": APP}, python={"interpreter": str(program), "packages": []})
    assert "can be changed by the application: its account can write" in message
    assert not (program.parent / "ran").exists()


@pytest.mark.attack("11", "An application replaces a file of its cache by a link, a pipe or endless data")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "endless"])
def test_what_uv_has_written_is_read_as_what_an_application_writes(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of an earlier build exchanges the file, which is in the folder of the build account."""
    bench.folder.joinpath("secret").write_text("secret-of-root==1\n")

    def exchanged(_build: Any, arguments: list[str], _doing: str, in_source: bool) -> None:
        path = arguments[-1]
        assert in_source
        {
            "link": lambda: os.symlink(bench.folder / "secret", path),
            "pipe": lambda: os.mkfifo(path),
            "folder": lambda: os.makedirs(f"{path}/full"),
            "endless": lambda: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**42),
        }[kind]()

    monkeypatch.setattr(requirements, "run_uv", exchanged)
    lock = 'version = 1\n[[package]]\nname = "shop"\nsource = { virtual = "." }\n'
    message = bench.refuse({"app.py": APP, "uv.lock": lock, "pyproject.toml": '[project]\nname = "shop"\n'})
    assert "which uv has made of uv.lock, can't be read" in message
    assert "secret-of-root" not in message
    assert os.listdir(bench.layout.build) == []


# Indexes


def index(bench: Bench, name: str, packages: dict[str, str]) -> str:
    """A package index in a folder, as its address."""
    folder = bench.folder / name
    for package, version in packages.items():
        wheel(folder / package, package, version, f"FROM = {name!r}\n")
        files = "".join(f'<a href="{file.name}">{file.name}</a>' for file in (folder / package).glob("*.whl"))
        (folder / package / "index.html").write_text(f"<html><body>{files}</body></html>")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    return folder.as_uri()


@pytest.mark.attack("15", "An extra index offers a higher version of an internal package")
def test_an_extra_index_replaces_no_package_of_the_named_one(bench: Bench) -> None:
    named = index(bench, "named", {"core": "1.0"})
    extra = index(bench, "extra", {"core": "9.0", "tool": "1.0"})
    last = index(bench, "last", {"core": "99.0", "tool": "9.0"})
    python = {"interpreter": "python3", "packages": ["core", "tool"], "index_url": named}
    bench.build({"app.py": APP}, python={**python, "extra_index_urls": [extra, last]})
    code = "import core, tool; print(core.FROM, tool.FROM)"
    assert bench.run("python", "-c", code) == "named extra\n"


@pytest.mark.attack("15", "An index of a requirements file offers a higher version of an internal package")
def test_an_index_of_a_requirements_file_replaces_no_package_of_the_named_one(bench: Bench) -> None:
    named = index(bench, "named", {"core": "1.0"})
    other = index(bench, "other", {"core": "9.0", "tool": "1.0"})
    files = {"app.py": APP, "requirements.txt": f"--extra-index-url {other}\ncore\ntool\n"}
    bench.build(files, python={"interpreter": "python3", "packages": [], "index_url": named})
    assert bench.run("python", "-c", "import core, tool; print(core.FROM, tool.FROM)") == "named other\n"


def test_without_a_named_index_the_extra_ones_are_asked_first(bench: Bench) -> None:
    extra = index(bench, "extra", {"core": "1.0"})
    other = index(bench, "other", {"core": "2.0"})
    python = {"interpreter": "python3", "packages": ["core"], "extra_index_urls": [extra, other]}
    bench.build({"app.py": APP}, python=python)
    assert bench.run("python", "-c", "import core; print(core.FROM)") == "extra\n"


# Credentials


class Shop(WatchingServer):
    """A server of wheels, which notes the command lines of this machine meanwhile."""

    commands: ClassVar[set[str]] = set()
    logins: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        self.logins.add(self.headers.get("Authorization", ""))
        super().do_GET()


@pytest.fixture
def shop(bench: Bench) -> Iterator[str]:
    wheel(bench.folder / "wheels", "core", "1.0")
    wheel(bench.folder / "wheels", "gunicorn", "23.0.0")
    Shop.root, Shop.commands, Shop.logins = str(bench.folder / "wheels"), set(), set()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:{TOKEN}@127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.attack("17", "Another account reads the command lines of the build, to find a token")
@pytest.mark.parametrize("place", ["python.packages", "source.package", "server"])
def test_a_token_of_a_requirement_is_in_no_command_line_and_in_no_record(bench: Bench, shop: str, place: str) -> None:
    requirement = f"core @ {shop}/core-1.0-py3-none-any.whl"
    spec = bench.spec({"app.py": APP})
    if place == "server":
        spec["server_packages"] = [f"gunicorn @ {shop}/gunicorn-23.0.0-py3-none-any.whl"]
    elif place == "python.packages":
        spec["python"]["packages"] = [requirement]
    else:
        spec["source"] |= {"kind": "package", "package": requirement}
    manifest = bench.build_spec(spec)
    record(bench.layout, action="build", revision=requirement, release=manifest.id)
    assert any(login.startswith("Basic ") for login in Shop.logins), "the server got the credentials"
    assert any(f"{bench.uv} pip " in command for command in Shop.commands), "the proof looks at the right moment"
    assert not [command for command in Shop.commands if TOKEN in command]
    home = Path(bench.layout.home)
    for path in (home / "deployments.log", home / "releases" / ID / "release.json"):
        assert TOKEN not in path.read_text()
    assert json.loads((home / "deployments.log").read_text())["release"] == ID


@pytest.mark.attack("17", "A failing installation prints its address with a token")
@pytest.mark.parametrize("place", ["python.packages", "index"])
def test_a_token_is_in_no_message(bench: Bench, shop: str, place: str) -> None:
    python: dict[str, Any] = {"interpreter": "python3", "packages": [f"other @ {shop}/other-1.0-py3-none-any.whl"]}
    if place == "index":
        python = {"interpreter": "python3", "packages": ["other"], "index_url": f"{shop}/simple?key={TOKEN}"}
    assert TOKEN not in bench.refuse({"app.py": APP}, python=python)
