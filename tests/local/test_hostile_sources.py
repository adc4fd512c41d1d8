# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Repositories that would run programs on the controller."""

from __future__ import annotations

import base64
import bz2
import gzip
import http.server
import io
import os
import resource
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    RequirementsError,
    lines_of,
    table,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.source_folders import folder_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import bounds
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.archives import unpack
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import archive, fingerprint, source_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository
from watching_server import WatchingServer

# Settings in a repository's own configuration that would run a command; {run} creates the marker.
TRICKS: dict[str, list[tuple[str, str]]] = {
    "lazy fetch by ext": [
        ("remote.origin.url", "ext::{run}"),
        ("protocol.ext.allow", "always"),
    ],
    "lazy fetch by upload-pack": [("remote.origin.url", "file://{folder}"), ("remote.origin.uploadpack", "{run}")],
    "lazy fetch by ssh": [("remote.origin.url", "ssh://localhost/x"), ("core.sshCommand", "{run}")],
    "lazy fetch by a git proxy": [("remote.origin.url", "git://localhost/x"), ("core.gitProxy", "{run}")],
    "fsmonitor": [("core.fsmonitor", "{run}")],
    "hooks": [("core.hooksPath", "{hooks}")],
    "pack objects hook": [("uploadpack.packObjectsHook", "{run}")],
    "alternate refs": [("core.alternateRefsCommand", "{run}")],
    "filter": [("filter.evil.clean", "{run}"), ("filter.evil.smudge", "{run}"), ("filter.evil.required", "true")],
    "pager and editor": [("core.pager", "{run}"), ("core.editor", "{run}"), ("diff.external", "{run}")],
    "credentials": [("credential.helper", "!{run}"), ("core.askPass", "{run}")],
}


def hostile_repository(tmp_path: Path, settings: list[tuple[str, str]]) -> tuple[Path, Path]:
    folder, marker, hooks = tmp_path / "repository", tmp_path / "marker", tmp_path / "hooks"
    run = tmp_path / "run"
    hooks.mkdir()
    run.write_text(f"#!/bin/sh\ntouch {marker}\nexit 1\n")
    run.chmod(0o755)
    for hook in ("post-checkout", "post-index-change", "pre-auto-gc", "reference-transaction"):
        (hooks / hook).symlink_to(run)
    folder.mkdir()
    (folder / "app.py").write_text("x")
    (folder / ".gitattributes").write_text("* filter=evil diff=evil\n")

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / ".gitignore").write_text("*.pyc\n")
    git("init", "--quiet")
    git("add", ".")
    git("-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "-m", "x")
    lazy = any(name == "remote.origin.url" for name, _value in settings)
    if lazy:
        settings = [
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.promisor", "true"),
            *settings,
        ]
    # Git reads such a file from the repository instead, and so tries to fetch the missing object.
    git("update-index", "--skip-worktree", ".gitignore")
    (folder / ".gitignore").unlink()
    (folder / "untracked.py").write_text("x")
    for name, value in settings:
        git("config", name, value.format(run=run, hooks=hooks, folder=folder))
    if lazy:
        # Something is missing, so that git wants to fetch it: the file's content, and an index that needs a tree.
        for path in (folder / ".git/objects").glob("??/*"):
            shown = subprocess.run(
                ["git", "cat-file", "-t", path.parent.name + path.name], cwd=folder, capture_output=True, check=False
            )
            if shown.stdout.strip() == b"blob":
                path.unlink()
        marker.unlink(missing_ok=True)
    return folder, marker


# Commands with which plain git runs the program of a trick. For the others, git needs a server or ignores the setting.
SPRINGS = {
    **{trick: ["cat-file", "-p", "HEAD:app.py"] for trick in TRICKS if trick.startswith("lazy fetch")},
    "fsmonitor": ["status"],
    "hooks": ["update-index", "--refresh"],
    "filter": ["checkout", "--force", "HEAD"],
    "pager and editor": ["diff", "HEAD"],
}


@pytest.mark.parametrize("trick", SPRINGS)
def test_the_trap_is_armed(tmp_path: Path, trick: str) -> None:
    """Otherwise the next test would pass without a reason."""
    folder, marker = hostile_repository(tmp_path, TRICKS[trick])
    if not trick.startswith("lazy fetch"):
        (folder / "app.py").write_text("changed")
        # A file of another date, so that git refreshes its index in whatever second it was written.
        os.utime(folder / ".gitattributes", (10**9, 10**9))
    subprocess.run(["git", *SPRINGS[trick]], cwd=folder, check=False, capture_output=True)
    assert marker.exists()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.attack("3", "The settings of a repository name commands that git would run")
@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("use", ["path", "git"])
def test_a_local_repository_runs_nothing(tmp_path: Path, trick: str, use: str) -> None:
    folder, marker = hostile_repository(tmp_path, TRICKS[trick])
    try:
        if use == "path":
            source_files(folder)
        else:
            repository = Repository(str(folder))
            repository.checkout(repository.commit_of("HEAD"), "HEAD", tmp_path / "taken")
    except SourceError:
        pass  # a repository that lacks objects can't be used
    assert not marker.exists()


@pytest.mark.attack("2", "A source links to a file of the operator")
def test_a_file_behind_a_link_is_not_read(tmp_path: Path) -> None:
    folder, _marker = hostile_repository(tmp_path, [])
    (folder / "a").mkdir()
    (folder / "a/key").write_text("x")
    subprocess.run(["git", "add", "a/key"], cwd=folder, check=True)
    out = tmp_path / "out"
    out.mkdir()
    (out / "key").write_text("secret")
    (folder / "a/key").unlink()
    (folder / "a").rmdir()
    (folder / "a").symlink_to(out)
    assert "a/key" not in source_files(folder)


@pytest.mark.attack("3", "A repository belongs to another account of the controller")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another account")
def test_a_repository_of_another_account_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder, _marker = hostile_repository(tmp_path, [])
    os.chown(folder, 12345, 12345)
    with pytest.raises(SourceError, match=r"belongs to another account.*safe\.directory"):
        source_files(folder)


# Sources without end


def no_memory_is_taken(most: int = 2 * 1024**3) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


@pytest.fixture
def little_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    no_memory_is_taken()
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def grown(folder: Path, git: bool) -> Path:
    folder.mkdir()
    (folder / "app.py").write_text("x")
    if git:
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


@pytest.mark.attack("16", "A folder holds a sparse file of enormous size")
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "git", [pytest.param(False, id="folder"), pytest.param(True, id="repository", marks=pytest.mark.matrix)]
)
def test_a_folder_of_endless_files_is_refused(tmp_path: Path, git: bool) -> None:
    folder = grown(tmp_path / "source", git)
    for number in range(3):
        with open(folder / f"{number}.bin", "wb") as stream:
            stream.truncate(3 * 1024**3)
    names = source_files(folder)
    with pytest.raises(SourceError, match=r"has more than 4 GiB, with '1.bin'\. Leave out"):
        fingerprint(folder, names)
    with open(folder / "huge.bin", "wb") as stream:
        stream.truncate(5 * 1024**3)
    with pytest.raises(SourceError, match=r"has more than 4 GiB, with 'huge.bin'\. Leave out"):
        archive(folder, ["app.py", "huge.bin"])


@pytest.mark.attack("16", "A folder holds too many files")
@pytest.mark.parametrize("git", [False, True], ids=["folder", "repository"])
def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, git: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_FILES", 50)
    folder = grown(tmp_path / "source", git)
    for number in range(100):
        (folder / f"{number}.py").touch()
    with pytest.raises(SourceError, match="has more than 50 files"):
        source_files(folder)


@pytest.mark.attack("16", "A folder holds thousands of nested folders")
@pytest.mark.parametrize("git", [False, True], ids=["folder", "repository"])
def test_a_folder_without_a_bottom_is_refused(tmp_path: Path, git: bool) -> None:
    folder = grown(tmp_path / "source", git)
    subprocess.run(
        ["python3", "-c", "import os\nfor n in range(1500): os.mkdir('d'); os.chdir('d')\nopen('x', 'w')"],
        cwd=folder,
        check=True,
    )
    try:
        with pytest.raises(SourceError, match=r"more than 100 deep|could not list the files"):
            source_files(folder)
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.attack("16", "A source holds a pipe, to stop the run without end")
def test_a_pipe_in_a_source_is_no_trap(tmp_path: Path) -> None:
    folder = grown(tmp_path / "source", git=False)
    os.mkfifo(folder / "pipe")
    with pytest.raises(SourceError, match="pipe is neither a file, a folder nor a link"):
        fingerprint(folder, source_files(folder))


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, input=stdin)
    return done.stdout.decode().strip()


@pytest.mark.attack("16", "Ten git objects describe a billion files")
def test_a_commit_of_a_billion_files_is_refused(tmp_path: Path) -> None:
    """Ten folders in each of ten folders, nine levels deep: ten objects."""
    folder = tmp_path / "bomb"
    folder.mkdir()
    git(folder, "init", "--quiet")
    kind, child = "100644 blob", git(folder, "hash-object", "-w", "--stdin", stdin=b"x")
    for _level in range(9):
        tree = "".join(f"{kind} {child}\t{number}\n" for number in range(10))
        kind, child = "040000 tree", git(folder, "mktree", stdin=tree.encode())
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    commit = git(folder, *identity, "commit-tree", "-m", "x", child)
    git(folder, "update-ref", "HEAD", commit)
    repository = Repository(str(folder))
    with pytest.raises(SourceError, match="has more than 200000 files"):
        repository.checkout(commit, "HEAD", tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


@pytest.mark.attack("16", "A small archive unpacks to gigabytes")
def test_an_archive_of_a_high_ratio_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bomb.tar.xz", "w:xz") as tar:
        member = tarfile.TarInfo("x")
        member.size = 300 * 1024**2
        with open("/dev/zero", "rb") as zeros:
            tar.addfile(member, zeros)
    (tmp_path / "taken").mkdir()
    with pytest.raises(SourceError, match="more than 200 times its own size"):
        unpack(tmp_path / "bomb.tar.xz", tmp_path / "taken")


def limited(program: str, *arguments: str, gib: int = 1) -> str:
    """The output of a Python program that may take so much memory. It stops itself after 60 seconds."""
    limit = f"import resource, sys; resource.setrlimit(resource.RLIMIT_AS, ({gib} << 30, {gib} << 30))\n"
    path = os.environ["ANSIBLE_COLLECTIONS_PATH"]
    done = subprocess.run(
        [sys.executable, "-c", f"{limit}sys.path.insert(0, {path!r})\n{program}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr[-500:]


UNPACK = """
from pathlib import Path
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.archives import unpack
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
try:
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
except SourceError as error:
    print(error)
"""


@pytest.mark.attack("16", "An archive of a megabyte has one header of a gigabyte, which tar reads into memory")
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME], ids=["pax", "long name"])
def test_a_header_of_a_gigabyte_is_not_read(tmp_path: Path, kind: bytes) -> None:
    head = tarfile.TarInfo("x")
    head.type, head.size = kind, 1 << 30
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as stream:
        stream.write(head.tobuf(tarfile.GNU_FORMAT))
        for _ in range(1 << 10):
            stream.write(bytes(1 << 20))
    (tmp_path / "taken").mkdir()
    found = limited(UNPACK, str(tmp_path / "bomb.tar.gz"), str(tmp_path / "taken"))
    assert f"bomb.tar.gz can't be unpacked: it has a header of {1 << 30} bytes" in found


@pytest.mark.attack("16", "An archive of two kilobytes has gigabytes behind its end, or in a member that is skipped")
def test_what_lies_behind_the_end_of_an_archive_is_bounded(tmp_path: Path) -> None:
    with bz2.open(tmp_path / "bomb.tar.bz2", "wb") as stream:
        stream.write(tarfile.TarInfo("app.py").tobuf())
        stream.write(bytes(10240))
        for _ in range(500):
            stream.write(bytes(1 << 20))
    (tmp_path / "taken").mkdir()
    with pytest.raises(SourceError, match="more than 200 times its own size"):
        unpack(tmp_path / "bomb.tar.bz2", tmp_path / "taken")


@pytest.mark.attack("16", "Members of an archive name each other in an order that decompresses all of it for each one")
def test_members_that_jump_back_are_bounded(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bomb.tar.xz", "w:xz") as tar:
        for number in range(30):
            member = tarfile.TarInfo(f"large-{number}")
            member.size = 2 * 1024**2
            tar.addfile(member, io.BytesIO(bytes(member.size)))
            link = tarfile.TarInfo(f"link-{number}")
            link.type, link.linkname = tarfile.LNKTYPE, "large-0"
            tar.addfile(link)
    (tmp_path / "taken").mkdir()
    with pytest.raises(SourceError, match="an order that takes very long"):
        unpack(tmp_path / "bomb.tar.xz", tmp_path / "taken")


TOML = """
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import table
print(table(open(sys.argv[1]).read()))
"""


@pytest.mark.attack("16", "A name of 100,000 parts in pyproject.toml takes 22 GB of memory")
@pytest.mark.parametrize("text", ["{} = 1", "[{}]", "x = {{ {} = 1 }}", "a={}"])
def test_a_dotted_name_does_not_take_all_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text.format(".".join(["a"] * 100_000)) + "\n")
    assert limited(TOML, str(tmp_path / "pyproject.toml")).strip() == "None"


def test_names_and_values_with_many_dots_are_read() -> None:
    text = "a.b.c = 1\nfiles = [" + ", ".join(f"'package-{n}.2.3.whl'" for n in range(500)) + "]\n"
    text += "numbers = [" + ", ".join(f"{n}.5" for n in range(500)) + "]\n"
    found = table(text)
    assert found is None or (found["a"], len(found["files"]), found["numbers"][3]) == ({"b": {"c": 1}}, 500, 3.5)


LFS = """#!/bin/sh
printf 'url=%s\\n\\n' "$(git config -f .lfsconfig lfs.url)" | git credential fill > OUT 2>&1
cat
"""


@pytest.mark.attack("17", "A repository names its own git-lfs server, which would get the token of the CI system")
def test_a_filter_gets_no_token_for_a_server_of_the_repository(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "asked"
    for name, text in (("lfs", LFS.replace("OUT", str(out))), ("askpass", "#!/bin/sh\necho the-token\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    git(tmp_path, "config", "--global", "filter.lfs.smudge", str(tmp_path / "lfs"))
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / ".gitattributes").write_text("*.bin filter=lfs\n")
    (folder / ".lfsconfig").write_text("[lfs]\n\turl = https://other.example/lfs\n")
    (folder / "data.bin").write_text("x\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        git(folder, "-c", "filter.lfs.smudge=cat", "-c", "user.name=x", "-c", "user.email=x@example.com", *command)
    monkeypatch.setenv("GIT_ASKPASS", str(tmp_path / "askpass"))
    repository = Repository(str(folder))
    repository.checkout(repository.commit_of("HEAD"), "HEAD", tmp_path / "taken")
    assert out.exists(), "the filter did not run"
    assert "the-token" not in out.read_text()


@pytest.mark.attack("16", "An archive holds thousands of nested folders")
def test_an_archive_without_a_bottom_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "deep.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("d/" * 1500 + "x"))
    (tmp_path / "taken").mkdir()
    with pytest.raises(SourceError, match="more than 100 folders deep"):
        unpack(tmp_path / "deep.tar", tmp_path / "taken")
    assert os.listdir(tmp_path / "taken") == []


@pytest.mark.attack("16", "A list of dependencies is a link out of the source, or endless data")
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", ["requirements.txt", "uv.lock", "pyproject.toml", "-r in requirements.txt"])
@pytest.mark.parametrize("target", ["/dev/zero", "outside", "endless"])
def test_a_list_of_dependencies_is_a_file_of_the_source(tmp_path: Path, name: str, target: str) -> None:
    folder = grown(tmp_path / "source", git=False)
    (tmp_path / "outside").write_text("secret-of-the-operator==1\n")
    with open(folder / "endless", "wb") as stream:
        stream.truncate(2**40)
    place = {"/dev/zero": "/dev/zero", "outside": str(tmp_path / "outside"), "endless": "endless"}[target]
    if name.startswith("-r"):
        (folder / "requirements.txt").write_text(f"-r {place}\n")
    else:
        (folder / name).symlink_to(place)
    app: dict[str, Any] = {
        "name": "shop",
        "source": {"subdir": ""},
        "python": {"requirements": None, "packages": []},
        "site": {"static": [], "websocket": False},
        "server": "gunicorn",
        "gunicorn": {},
        "shared": [],
        "commands": {"build": []},
        "files": [],
        "env": {},
    }
    problems = folder_problems(app, folder, {"gunicorn": "gunicorn>=22"})
    assert len(problems) == 1
    words = ("outside of the source", "is no list of dependencies", "which is not a file")
    assert any(word in problems[0] for word in words)
    assert "secret" not in str(problems)


@pytest.mark.attack("16", "Requirements files include each other, to double the work with each level")
def test_lists_that_include_each_other_are_read_once(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"-r {number + 1}.txt\n-r {number + 1}.txt\nx{number}\n")
    lines = lines_of(str(tmp_path), "0.txt", str(tmp_path))
    assert len([line for line in lines if line.text.startswith("x")]) == 40


@pytest.mark.attack("16", "Requirements files include further files without end")
def test_lists_without_end_are_refused(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}.txt").write_text(f"-r {number + 1}.txt\n")
    with pytest.raises(RequirementsError, match="more than 100 files of requirements"):
        lines_of(str(tmp_path), "0.txt", str(tmp_path))


@pytest.mark.attack("16", "A table of a source breaks its parser")
@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, "x = " + "9" * 10_000, "x = {" * 5000])
def test_a_table_that_breaks_its_parser_is_none(text: str) -> None:
    assert table(text) is None


# Credentials of git


class Forge(WatchingServer):
    """A server of one repository that wants a login, and notes the command lines of this machine meanwhile."""

    commands: ClassVar[set[str]] = set()
    seen: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        login = self.headers.get("Authorization", "")
        self.seen.append((self.path, login))
        if login != f"Basic {base64.b64encode(b'me:hunter2@/correct').decode()}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="forge"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[int]:
    folder, _marker = hostile_repository(tmp_path, [])
    git(folder, "update-index", "--no-skip-worktree", ".gitignore")
    subprocess.run(["git", "clone", "--quiet", "--bare", str(folder), str(tmp_path / "served/shop.git")], check=True)
    git(tmp_path / "served/shop.git", "update-server-info")
    Forge.root, Forge.commands, Forge.seen = str(tmp_path / "served"), set(), []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forge) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.attack("17", "Another account reads the command lines of git, to find a password")
def test_a_password_of_git_is_in_no_command_line_and_in_no_file(tmp_path: Path, forge: int) -> None:
    repository = Repository(f"http://me:hunter2%40%2Fcorrect@127.0.0.1:{forge}/shop.git")
    repository.checkout(repository.commit_of("HEAD"), "HEAD", tmp_path / "taken")
    assert (tmp_path / "taken/app.py").read_text() == "x"
    assert any("git-remote-http" in command for command in Forge.commands), "the proof looks at the right moment"
    assert not [command for command in Forge.commands if "hunter2" in command]
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert kept == []


@pytest.mark.attack("17", "A submodule on a foreign server asks for the password of the repository")
def test_a_password_of_git_goes_to_its_own_server_alone(tmp_path: Path, forge: int) -> None:
    """The same server by another name stands for a foreign one, as a submodule may name it."""
    repository = Repository(f"http://me:hunter2%40%2Fcorrect@localhost:{forge}/shop.git")
    done = subprocess.run(
        ["git", "ls-remote", f"http://127.0.0.1:{forge}/shop.git"],
        env=repository.environment(submodules=True),
        check=False,
        capture_output=True,
    )
    assert done.returncode != 0
    assert Forge.seen
    assert {login for _path, login in Forge.seen} == {""}


@pytest.mark.attack("low", "A submodule on a foreign server asks for the token of the CI system")
def test_a_token_of_a_ci_system_goes_to_its_own_server_alone(
    tmp_path: Path, forge: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = tmp_path / "askpass"
    ask.write_text("#!/bin/sh\ncase $1 in Username*) echo me ;; *) echo hunter2@/correct ;; esac\n")
    ask.chmod(0o755)
    monkeypatch.setenv("GIT_ASKPASS", str(ask))
    repository = Repository(f"http://127.0.0.1:{forge}/shop.git")
    assert len(repository.commit_of("HEAD")) == 40
    environment = repository.environment(submodules=True)
    for name, works in (("127.0.0.1", True), ("localhost", False)):
        Forge.seen = []
        command = ["git", "ls-remote", f"http://{name}:{forge}/shop.git"]
        done = subprocess.run(command, env=environment, check=False, capture_output=True)
        assert (done.returncode == 0) == works
        assert any(login for _path, login in Forge.seen) == works
