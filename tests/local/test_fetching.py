# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Real git repositories and archives as sources: fetching, refused sources, and messages without secrets."""

from __future__ import annotations

import concurrent.futures
import getpass
import http.server
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import downloads
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.archives import archive_file, unpack
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import cache_folder
from nginx_instance import free_port
from repositories import git
from source_archives import checksum_of, good

SECRET = "hunter2-correct-horse"
pytestmark = pytest.mark.usefixtures("home")
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Upstream:
    """A repository that receives new commits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        git(folder, "init", "-q")
        self.commit("app.py", "one")

    def commit(self, name: str, text: str) -> str:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)
        return self.record()

    def record(self) -> str:
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "-m", "change")
        return git(self.folder, "rev-parse", "HEAD")

    @property
    def head(self) -> str:
        return git(self.folder, "rev-parse", "HEAD")


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path / "upstream")


@pytest.fixture
def taken(tmp_path: Path) -> Callable[..., tuple[str, Path]]:
    """Resolve a version and check it out, as one run does: the commit and the folder."""
    numbers = iter(range(100))

    def run(url: Any, version: str = "HEAD", key: str | None = None) -> tuple[str, Path]:
        repository = Repository(str(url), key)
        commit = repository.commit_of(version)
        target = tmp_path / f"taken{next(numbers)}"
        repository.checkout(commit, version, target)
        return commit, target

    return run


def message(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(SourceError) as caught:
        call(*arguments)
    return str(caught.value)


# Git: versions


@pytest.mark.parametrize("scheme", ["file://", ""])
@pytest.mark.parametrize("version", ["HEAD", "main", "refs/heads/main", "light", "annotated", "refs/tags/annotated"])
def test_branches_tags_and_the_default_branch_are_found(upstream, taken, scheme, version):
    git(upstream.folder, "tag", "light")
    git(upstream.folder, "tag", "-a", "-m", "release", "annotated")
    commit, folder = taken(f"{scheme}{upstream.folder}", version)
    assert commit == upstream.head
    assert (folder / "app.py").read_text() == "one"


def test_the_default_branch_is_the_servers(upstream, taken):
    git(upstream.folder, "checkout", "-q", "-b", "trunk")
    upstream.commit("app.py", "trunk")
    assert (taken(upstream.folder)[1] / "app.py").read_text() == "trunk"


def test_an_older_commit_is_fetched_by_its_number_whatever_its_case(upstream, taken):
    first = upstream.head
    upstream.commit("app.py", "two")
    commit, folder = taken(f"file://{upstream.folder}", first.upper())
    assert commit == first
    assert (folder / "app.py").read_text() == "one"


def test_a_commit_that_no_branch_names_any_more_is_fetched_where_the_server_gives_it_out(upstream, taken):
    first = upstream.head
    lost = upstream.commit("app.py", "lost")
    git(upstream.folder, "reset", "-q", "--hard", first)
    assert (taken(f"file://{upstream.folder}", lost)[1] / "app.py").read_text() == "lost"


def test_a_server_that_gives_out_only_what_it_names_is_asked_for_everything(upstream, taken, home):
    with open(home / ".gitconfig", "a") as stream:
        stream.write("[protocol]\n\tversion = 0\n")
    first = upstream.head
    upstream.commit("app.py", "two")
    # The mirror has the newest commit without its history when the older one is requested.
    taken(f"file://{upstream.folder}", "main")
    assert (taken(f"file://{upstream.folder}", first)[1] / "app.py").read_text() == "one"


def test_a_commit_that_does_not_exist_is_told(upstream, taken):
    told = message(taken, f"file://{upstream.folder}", "0123456789" * 4)
    assert "is no commit of" in told
    assert str(upstream.folder) in told


def test_a_version_that_does_not_exist_is_told(upstream, taken):
    told = message(taken, upstream.folder, "v9")
    assert "'v9' is no branch or tag" in told
    assert "40 digits" in told


def test_a_part_of_a_branch_name_is_not_the_branch(upstream, taken):
    git(upstream.folder, "branch", "feature/pay")
    assert "'pay' is no branch or tag" in message(taken, upstream.folder, "pay")


def test_an_empty_repository_is_told(tmp_path, taken):
    git(tmp_path, "init", "-q", "--bare", "empty.git")
    assert "has no default branch" in message(taken, tmp_path / "empty.git")


@pytest.mark.parametrize("scheme", ["file://", ""])
def test_a_repository_that_does_not_exist_is_told(tmp_path, taken, scheme):
    assert "check source.git" in message(taken, f"{scheme}{tmp_path}/nowhere.git", "main")


def test_a_missing_git_is_told(upstream, taken, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Install it" in message(taken, upstream.folder)


def test_a_branch_that_moves_on_is_followed_and_the_mirror_used_again(upstream, taken, monkeypatch):
    url = f"file://{upstream.folder}"
    first, _ = taken(url, "main")
    second = upstream.commit("app.py", "two")
    commit, folder = taken(url, "main")
    assert (commit, (folder / "app.py").read_text()) == (second, "two")
    assert len([path for path in (cache_folder() / "git").iterdir() if path.is_dir()]) == 1
    # Commits in the mirror are not fetched again, so the repository is not needed.
    shutil.move(upstream.folder, upstream.folder.with_name("away"))
    assert (taken(url, first)[1] / "app.py").read_text() == "one"


def test_a_new_commit_costs_only_what_is_new(upstream, taken):
    (upstream.folder / "large").write_bytes(os.urandom(300_000))
    upstream.record()
    taken(f"file://{upstream.folder}", "main")
    upstream.commit("app.py", "two")
    before = size(cache_folder())
    taken(f"file://{upstream.folder}", "main")
    assert size(cache_folder()) - before < 100_000


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_branch_that_is_rewritten_is_followed(upstream, taken):
    taken(f"file://{upstream.folder}", "main")
    (upstream.folder / "app.py").write_text("amended")
    git(upstream.folder, "commit", "-q", "-a", "--amend", "-m", "amended")
    assert (taken(f"file://{upstream.folder}", "main")[1] / "app.py").read_text() == "amended"


def test_the_files_are_all_there_is(upstream, taken):
    (upstream.folder / "run.sh").write_text("#!/bin/sh\n")
    (upstream.folder / "run.sh").chmod(0o755)
    (upstream.folder / "link").symlink_to("app.py")
    upstream.record()
    _, folder = taken(upstream.folder)
    assert sorted(path.name for path in folder.iterdir()) == ["app.py", "link", "run.sh"]
    assert os.access(folder / "run.sh", os.X_OK)
    assert not os.access(folder / "app.py", os.X_OK)
    assert os.readlink(folder / "link") == "app.py"


def test_files_have_the_time_of_the_commit_so_that_all_hosts_send_the_same_etag(upstream, taken, monkeypatch):
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2020-02-02T02:02:02Z")
    upstream.commit("app.py", "two")
    _, folder = taken(upstream.folder)
    assert (folder / "app.py").stat().st_mtime == 1580608922


# Git: submodules


@pytest.fixture
def nested(tmp_path: Path, home: Path) -> Upstream:
    """A repository with a submodule, named relatively, that has one itself."""
    # Needed for the folders that replace servers here; the collection does not change git's rule.
    with open(home / ".gitconfig", "a") as stream:
        stream.write('[protocol "file"]\n\tallow = always\n')
    inner, middle, outer = (Upstream(tmp_path / "forge" / name) for name in ("inner", "middle", "outer"))
    git(middle.folder, "submodule", "--quiet", "add", "../inner", "inner")
    middle.record()
    git(outer.folder, "submodule", "--quiet", "add", "../middle", "lib/middle")
    outer.record()
    # The requested commit is not the newest of the submodule.
    inner.commit("app.py", "newer")
    return outer


@pytest.mark.parametrize("scheme", ["file://", ""])
def test_submodules_come_along_nested_and_named_relatively(nested, taken, scheme):
    _, folder = taken(f"{scheme}{nested.folder}", "main")
    assert (folder / "lib/middle/app.py").read_text() == "one"
    assert (folder / "lib/middle/inner/app.py").read_text() == "one"
    assert not list(folder.rglob(".git"))


def test_a_submodule_that_git_does_not_allow_is_told(nested, taken, home):
    settings = home / ".gitconfig"
    settings.write_text(settings.read_text().replace("always", "user"))
    assert "Git takes no submodules from folders" in message(taken, nested.folder)


# Git: the mirror


def test_the_cache_is_where_xdg_says(upstream, taken, tmp_path, home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    taken(upstream.folder)
    assert list((tmp_path / "xdg/pyweb.stack/git").iterdir())
    assert stat.S_IMODE((tmp_path / "xdg/pyweb.stack").stat().st_mode) == 0o700
    assert not (home / ".cache").exists()


def test_runs_at_the_same_time_share_one_mirror(upstream, tmp_path):
    commits = [upstream.commit("app.py", str(number)) for number in range(6)]
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository\n"
        "Repository(sys.argv[2]).checkout(sys.argv[3], sys.argv[3], Path(sys.argv[4]))\n"
    )
    collections = Path(__file__).resolve().parents[2] / ".collections"

    def one(number: int) -> subprocess.CompletedProcess[str]:
        arguments = [f"file://{upstream.folder}", commits[number % 6], str(tmp_path / f"same{number}")]
        return subprocess.run(
            [sys.executable, "-B", "-c", code, str(collections), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(one, range(12)))
    assert [answer.stderr for answer in answers if answer.returncode] == []
    assert [(tmp_path / f"same{number}/app.py").read_text() for number in range(12)] == [*"012345"] * 2


def test_locks_that_a_killed_git_has_left_stop_nothing(upstream, taken):
    url = f"file://{upstream.folder}"
    taken(url, "main")
    mirror = Repository(url).mirror
    for name in ("shallow.lock", "config.lock", "refs/pyweb/fetched.lock"):
        (mirror / name).write_text("")
    upstream.commit("app.py", "two")
    assert (taken(url, "main")[1] / "app.py").read_text() == "two"


@pytest.mark.parametrize("damage", ["HEAD", "config", "^{tree}", ":app.py"])
def test_a_damaged_mirror_is_made_anew(upstream, taken, damage):
    url = f"file://{upstream.folder}"
    commit, _ = taken(url, "main")
    mirror = Repository(url).mirror
    if damage in ("^{tree}", ":app.py"):
        lost = git(mirror, "rev-parse", f"{commit}{damage}")
        (mirror / "objects" / lost[:2] / lost[2:]).unlink()
    else:
        (mirror / damage).unlink()
    assert (taken(url, "main")[1] / "app.py").read_text() == "one"


def test_no_message_of_git_shows_credentials(taken):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        told = message(taken, f"http://me:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/shop.git", "main")
    assert SECRET not in told
    assert "can't be reached" in told


class Locked(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="forge"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("account", ["", f"me:{SECRET}@"])
def test_a_private_repository_asks_nobody_and_names_the_remedy(taken, account, tmp_path, monkeypatch):
    monkeypatch.setenv("SSH_ASKPASS", str(tmp_path / "window"))
    with Serving(Locked) as port:
        told = message(taken, f"http://{account}127.0.0.1:{port}/shop.git", "main")
    assert "wants credentials" in told
    assert "source.key" in told
    assert SECRET not in told
    assert "window" not in told


class Serving:
    def __init__(self, handler: Any) -> None:
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self) -> int:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self.server.server_address[1]

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


# Git: deploy keys


class Forge:
    """An SSH server on loopback that accepts one deploy key."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("host", "other", "deploy", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        shutil.copy(folder / "deploy.pub", folder / "authorized")
        # OpenSSH takes the home from the account, not from HOME: a wrapper keeps the tester's own files out of it.
        wrapper = folder / "bin" / "ssh"
        wrapper.parent.mkdir()
        wrapper.write_text(
            f'#!/bin/sh\nexec {shutil.which("ssh")} -F /dev/null -o UserKnownHostsFile={self.known} "$@"\n'
        )
        wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        self.port = free_port()
        self.server: subprocess.Popen[bytes] | None = None

    @property
    def known(self) -> Path:
        return self.folder / "known_hosts"

    def start(self, key: str = "host") -> None:
        settings = self.folder / "sshd_config"
        settings.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder / key}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder / 'authorized'}\nStrictModes no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        self.server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(settings)], stderr=subprocess.DEVNULL)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        pytest.fail("sshd did not start")

    def stop(self) -> None:
        if self.server:
            self.server.terminate()
            self.server.wait(10)
            self.server = None

    def url(self, folder: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{folder}"


def account_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    if not SSHD or (os.getuid() == 0 and not account_exists("sshd")):
        pytest.skip("needs OpenSSH's server (the Debian package openssh-server)")  # see the scenario releases
    forge = Forge(tmp_path / "forge-ssh", monkeypatch)
    forge.start()
    yield forge
    forge.stop()


def test_a_deploy_key_opens_a_private_repository_and_the_host_key_is_recorded(forge, upstream, taken):
    commit, folder = taken(forge.url(upstream.folder), "main", str(forge.folder / "deploy"))
    assert commit == upstream.head
    assert (folder / "app.py").read_text() == "one"
    assert f"[127.0.0.1]:{forge.port} ssh-ed25519" in forge.known.read_text()


@pytest.mark.parametrize(
    ("key", "remedy"), [("stranger", "check that the deploy key belongs to it"), (None, "as source.key")]
)
def test_a_key_that_does_not_fit_is_told_with_the_remedy(forge, upstream, taken, key, remedy):
    told = message(taken, forge.url(upstream.folder), "main", str(forge.folder / key) if key else None)
    assert remedy in told


@pytest.mark.attack("low", "A deploy key is readable for others")
def test_a_key_that_others_may_read_is_told(forge, upstream, taken):
    (forge.folder / "deploy").chmod(0o644)
    assert "chmod 600" in message(taken, forge.url(upstream.folder), "main", str(forge.folder / "deploy"))


@pytest.mark.attack("low", "A server takes the place of the known git server")
def test_a_server_with_another_host_key_than_before_is_refused(forge, upstream, taken):
    key = str(forge.folder / "deploy")
    taken(forge.url(upstream.folder), "main", key)
    forge.stop()
    forge.start("other")
    assert "ssh-keygen -R" in message(taken, forge.url(upstream.folder), "main", key)


@pytest.mark.attack("low", "A server with another key answers for a git server whose key is pinned")
def test_a_pinned_host_key_is_the_only_one_that_is_accepted(forge, upstream, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "pinned"))
    right, other = ((forge.folder / f"{name}.pub").read_text() for name in ("host", "other"))
    url, key = forge.url(upstream.folder), str(forge.folder / "deploy")
    assert Repository(url, key, [right]).commit_of("main") == upstream.head
    with pytest.raises(SourceError, match=r"source\.host_key does not list"):
        Repository(url, key, [other]).commit_of("main")
    assert not forge.known.exists()


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs OpenSSH's client")
def test_ssh_reads_the_pinned_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / 'a "b" %h'))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "host")], check=True)
    repository = Repository("ssh://git@forge.invalid:2222/x.git", None, [(tmp_path / "host.pub").read_text()])
    command = repository.ssh_command()
    told = subprocess.run(
        [*command, "-F", "/dev/null", "-G", "forge.invalid"], capture_output=True, text=True, check=True
    )
    settings = dict(line.partition(" ")[::2] for line in told.stdout.splitlines())
    (path,) = tmp_path.rglob("*.known_hosts")
    assert settings["stricthostkeychecking"] == "true"
    assert settings["userknownhostsfile"] == str(path)
    assert settings["globalknownhostsfile"] == "/dev/null"
    assert settings["hostkeyalias"] == "forge.invalid"
    for name in ("forge.invalid", "[forge.invalid]:2222"):
        assert subprocess.run(["ssh-keygen", "-F", name, "-f", str(path)], capture_output=True).returncode == 0


# Archives: what they hold


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "scratch"
    folder.mkdir(parents=True)
    return folder


# Archives: checksums and downloads


class Shelf(http.server.BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []
    cut = False

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        content = self.files.get(self.path.partition("?")[0])
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write((content or b"")[: 50 if self.cut else None])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Shelf], str, str]]:
    """A web server with one archive: its handler, the archive's address and checksum."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    path = good(tmp_path, "tar.gz")
    handler = type("OneShelf", (Shelf,), {"files": {"/shop.tar.gz": path.read_bytes()}, "asked": [], "cut": False})
    with Serving(handler) as port:
        yield handler, f"http://127.0.0.1:{port}/shop.tar.gz", checksum_of(path)


def kept() -> list[str]:
    folder = cache_folder() / "archives"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_download_is_made_once_and_then_needs_no_network(shelf, scratch):
    handler, url, checksum = shelf
    source = {"archive": url, "checksum": checksum}
    assert (unpack(archive_file(source, []), scratch) / "app.py").read_text() == "code"
    handler.files.clear()
    archive_file(source, [])
    assert handler.asked == ["/shop.tar.gz"]
    assert kept() == [checksum.replace(":", "-")]


def test_a_kept_download_that_was_damaged_is_made_again(shelf):
    handler, url, checksum = shelf
    path = archive_file({"archive": url, "checksum": checksum}, [])
    path.write_bytes(b"damaged")
    assert checksum_of(archive_file({"archive": url, "checksum": checksum}, [])) == checksum
    assert len(handler.asked) == 2


def test_an_address_without_a_checksum_is_refused_before_anything_is_fetched(shelf):
    handler, url, _ = shelf
    assert "source.checksum must say" in message(archive_file, {"archive": url}, [])
    assert handler.asked == []


def test_what_is_not_found_is_told_without_credentials(shelf):
    _, url, checksum = shelf
    address = url.replace("://", f"://me:{SECRET}@").replace("shop", "none") + f"?token={SECRET}"
    told = message(archive_file, {"archive": address, "checksum": checksum}, [])
    assert "404" in told
    assert SECRET not in told
    assert kept() == []


def test_a_download_with_the_wrong_checksum_is_not_kept(shelf):
    _, url, _ = shelf
    assert "not the expected file" in message(archive_file, {"archive": url, "checksum": "sha256:" + "0" * 64}, [])
    assert kept() == []


def test_a_download_that_breaks_off_leaves_nothing(shelf):
    handler, url, checksum = shelf
    handler.cut = True
    message(archive_file, {"archive": url, "checksum": checksum}, [])
    assert kept() == []


def test_an_interrupted_download_leaves_nothing(shelf, monkeypatch):
    _, url, checksum = shelf

    def interrupt(_: Any, stream: Any, _name: str) -> None:
        stream.write(b"part")
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "copy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        archive_file({"archive": url, "checksum": checksum}, [])
    assert kept() == []


def test_what_a_killed_download_left_is_removed_by_the_next(shelf):
    _, url, checksum = shelf
    gone = subprocess.Popen(["true"])
    gone.wait()
    folder = cache_folder() / "archives"
    folder.mkdir()
    (folder / f"{checksum.replace(':', '-')}.{gone.pid}").write_bytes(b"part")
    archive_file({"archive": url, "checksum": checksum}, [])
    assert kept() == [checksum.replace(":", "-")]
