# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Git repositories as sources. They are fetched on the controller, so no key ever reaches a host."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import remove
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.bounds import Bounds, TooLarge
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.commands import LFS_SETTINGS, Silent, run_bounded
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.credentials import credentials, without_login
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import FetchError, SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.host_keys import (
    known_hosts,
    pinning_options,
    server_of,
    written,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.listing import walked
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import cache_folder, find, find_key

COMMIT = re.compile(r"[0-9a-f]{40}\Z")

# Seconds that a connection of git may stay silent, through ssh and http alike.
SILENCE = 30

# The protocols by which git may fetch a source. Others, such as ext:: and fd::, run a command.
PROTOCOLS = ("https", "http", "ssh", "git", "file")
# Other names of ssh:// that git knows.
ALIASES = ("git+ssh", "ssh+git")

# How git reads a local repository. The repository's own configuration may name commands that fetch missing objects.
# GIT_NO_LAZY_FETCH forbids such a fetch since git 2.45; older versions fail for lack of a protocol.
LOCAL_UPLOAD_PACK = "env GIT_ALLOW_PROTOCOL=none GIT_NO_LAZY_FETCH=1 git-upload-pack"

# The variables for git that are kept: certificates, and the program by which a CI system passes its token.
KEPT = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_ASKPASS")


class Repository:
    """A git repository, with a mirror on the controller."""

    def __init__(self, url: str, key: str | None = None, host_keys: Sequence[str] = ()) -> None:
        # The address is part of command lines, of the mirror's settings and of messages, so it holds no credentials.
        self.url, self.username, self.password = without_login(url)
        self.key = key
        # The public keys of ssh servers, if the user has pinned them.
        self.host_keys = list(host_keys)
        self.mirror = cache_folder() / "git" / hashlib.sha256(self.url.encode()).hexdigest()[:24]

    def environment(self, cwd: Path | None = None, *, submodules: bool = False) -> dict[str, str]:
        """The environment of git: it asks no question, runs nothing in the background, and its messages are English."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in KEPT}
        # The mirror is tidied while its lock is held, never by a process that outlives the command.
        settings = [
            *LFS_SETTINGS,
            ("gc.autoDetach", "false"),
            ("maintenance.autoDetach", "false"),
            ("core.fsmonitor", "false"),
        ]
        # These two folders are our own. Whether a repository of another account is safe, git and its user decide.
        settings += [("safe.directory", str(folder)) for folder in (self.mirror, cwd) if folder]
        if submodules:
            # An address in .gitmodules comes from the repository. A folder needs the user's own protocol.file.allow.
            settings += [("protocol.allow", "never"), ("protocol.ext.allow", "never"), ("protocol.fd.allow", "never")]
            settings += [(f"protocol.{name}.allow", "always") for name in PROTOCOLS if name != "file"]
        else:
            environment["GIT_ALLOW_PROTOCOL"] = ":".join(PROTOCOLS)
        # Git itself would give the token to every server that .gitmodules, or a filter such as git-lfs, names.
        askpass = environment.pop("GIT_ASKPASS", "")
        known, secrets = credentials(self.url, self.username, self.password, askpass)
        settings += known
        for number, (name, value) in enumerate(settings):
            environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return {
            # Empty rather than unset, or git would open the window of SSH_ASKPASS.
            "GIT_ASKPASS": "",
            **environment,
            **secrets,
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": shlex.join(self.ssh_command(submodules=submodules)),
            "GIT_HTTP_LOW_SPEED_LIMIT": "1",
            "GIT_HTTP_LOW_SPEED_TIME": str(SILENCE),
            # Messages are searched for what to try, so they must be English.
            "LC_ALL": "C.UTF-8",
            "LANGUAGE": "",
        }

    def ssh_command(self, *, submodules: bool = False) -> list[str]:
        """ssh as git runs it: with pinned host keys, or it accepts an unknown key, and refuses one that has changed."""
        options = [
            "BatchMode=yes",
            f"ConnectTimeout={SILENCE}",
            f"ServerAliveInterval={SILENCE // 2}",
            "ServerAliveCountMax=2",
        ]
        if self.host_keys:
            path = written(self.mirror.parent, known_hosts(self.url, self.host_keys))
            # Submodules can be on other servers, whose names may not become that of this one.
            options += pinning_options(path, "" if submodules else server_of(self.url)[0])
        else:
            options.append("StrictHostKeyChecking=accept-new")
        if self.key:
            # A connection that is already open was made with another key.
            options += ["IdentitiesOnly=yes", "ControlMaster=no", "ControlPath=none"]
        words = ["ssh", *(word for option in dict.fromkeys(options) for word in ("-o", option))]
        return [*words, "-i", self.key] if self.key else words

    def git(self, *arguments: str, doing: str, cwd: Path | None = None, submodules: bool = False) -> str:
        """Run git, and return its output. Raises FetchError if a server is the reason of a failure."""
        environment = self.environment(cwd, submodules=submodules)
        asks_server = arguments[0] in ("ls-remote", "fetch", "submodule")
        try:
            if asks_server:
                answer = run_bounded(["git", *arguments], cwd, environment)
            else:
                answer = subprocess.run(
                    ["git", *arguments],
                    cwd=cwd,
                    env=environment,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    stdin=subprocess.DEVNULL,
                    check=False,
                )
        except Silent as error:
            raise FetchError(f"{doing} failed: {error}. The server can't be reached from the controller.") from None
        except FileNotFoundError:
            raise SourceError("a source from git needs git on the controller. Install it.") from None
        if answer.returncode != 0:
            kind = FetchError if asks_server else SourceError
            words = [redacted(line.strip()) for line in lines_of(answer.stderr) if line.strip()]
            hint = git_hint(answer.stderr, bool(self.key), bool(self.host_keys))
            raise kind(f"{doing} failed. {hint}git says: {' '.join(words[-3:])}")
        return answer.stdout

    def upload_pack(self) -> list[str]:
        """The option by which git reads a repository on the controller without running any command of it."""
        local = self.url.startswith(("/", "file:"))
        return [f"--upload-pack={LOCAL_UPLOAD_PACK}"] if local else []

    def commit_of(self, version: str) -> str:
        """The commit that a branch, a tag or a full commit names now."""
        if COMMIT.match(version.lower()):
            return version.lower()
        listed = self.git(
            "ls-remote",
            *self.upload_pack(),
            "--",
            self.url,
            version,
            f"{version}^{{}}",
            f"refs/heads/{version}",
            f"refs/tags/{version}",
            f"refs/tags/{version}^{{}}",
            doing=f"asking {redacted(self.url)} for '{version}'",
        )
        found = {name: commit for commit, _tab, name in (line.partition("\t") for line in lines_of(listed))}
        # An annotated tag is an object of its own; the commit is the peeled one.
        for name in (
            f"refs/tags/{version}^{{}}",
            f"refs/tags/{version}",
            f"refs/heads/{version}",
            f"{version}^{{}}",
            version,
        ):
            if name in found:
                return found[name]
        if version == "HEAD":
            raise SourceError(
                f"{redacted(self.url)} has no default branch: it is empty, or its HEAD names a branch that is gone. "
                "Name a branch, a tag or a commit as source.version."
            )
        raise SourceError(
            f"source.version '{version}' is no branch or tag of {redacted(self.url)}. "
            "Name one that is, or a whole commit of 40 digits."
        )

    def checkout(self, commit: str, version: str, target: Path) -> None:
        """Write the files of a commit, submodules included, into a new folder."""
        with self.locked():
            self.prepare()
            if not self.has_commit(commit):
                self.fetch(commit, version)
            try:
                self.check_size(commit)
                time = self.copy(commit, target)
            except TooLarge:
                raise
            except SourceError:
                # A full disk or a crash has damaged the mirror. It is only a copy: create another.
                shutil.rmtree(target, ignore_errors=True)
                shutil.rmtree(self.mirror, ignore_errors=True)
                self.prepare()
                self.fetch(commit, version)
                self.check_size(commit)
                time = self.copy(commit, target)
        if (target / ".gitmodules").exists():
            self.git(
                "submodule",
                "update",
                "--progress",
                "--init",
                "--recursive",
                "--depth",
                "1",
                doing=f"fetching the submodules of {redacted(self.url)}",
                cwd=target,
                submodules=True,
            )
        try:
            for path in list(walked(target, f"{redacted(self.url)} at '{version}'", left_out=frozenset())):
                if os.path.basename(path) == ".git":
                    remove(path)
                elif os.path.lexists(path):
                    # The same commit has the same times on every host, so static files have the same ETag on all.
                    os.utime(path, (time, time), follow_symlinks=False)
        except SourceError:
            # A submodule may have folders of any depth, which Python's own removal does not survive.
            remove(str(target))
            raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the mirror. Hosts are deployed to in parallel, and git's own locks don't wait."""
        self.mirror.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.mirror.with_suffix(".lock"), "w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def prepare(self) -> None:
        """Create the mirror where there is none, and remove the locks of a killed git. It needs our own lock."""
        if not (self.mirror / "config").exists() or not (self.mirror / "HEAD").exists():
            shutil.rmtree(self.mirror, ignore_errors=True)
            self.mirror.mkdir(mode=0o700)
            self.git("init", "--quiet", "--bare", str(self.mirror), doing="preparing the cache of repositories")
        for left in (*self.mirror.glob("*.lock"), *(self.mirror / "refs").rglob("*.lock")):
            left.unlink(missing_ok=True)

    def copy(self, commit: str, target: Path) -> int:
        """Create a working copy that borrows the mirror's objects; return the time of the commit.

        Git refuses to clone the mirror, because its history is incomplete.
        """
        doing = f"checking {commit[:12]} out"
        self.git("init", "--quiet", str(target), doing=doing)
        (target / ".git/objects/info").mkdir(exist_ok=True)
        (target / ".git/objects/info/alternates").write_text(f"{self.mirror / 'objects'}\n")
        if (self.mirror / "shallow").exists():
            shutil.copy(self.mirror / "shallow", target / ".git/shallow")
        # Relative addresses of submodules are relative to the repository, not to its mirror.
        self.git("remote", "add", "--", "origin", self.url, doing=doing, cwd=target)
        self.git("checkout", "--quiet", "--detach", commit, doing=doing, cwd=target)
        # A checkout succeeds even if the mirror has lost some of the commit's files, or its list of them.
        lost = lines_of(self.git("ls-files", "--deleted", doing=doing, cwd=target))
        if lost:
            raise SourceError(f"{doing} failed: {lost[0]} can't be read. Remove {self.mirror} and try again.")
        return int(self.git("show", "-s", "--format=%ct", commit, doing=doing, cwd=target).split()[-1])

    def check_size(self, commit: str) -> None:
        """Refuse a commit that would fill the disk, before it is written: a few objects can name billions of files."""
        bounds = Bounds(f"{redacted(self.url)} at {commit[:12]}")
        with subprocess.Popen(
            ["git", "ls-tree", "-r", "-z", "--long", commit],
            cwd=self.mirror,
            env=self.environment(self.mirror),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as listing:
            try:
                for line in records(listing.stdout):
                    fields, _tab, name = line.partition(b"\t")
                    size = fields.split()[-1:]
                    bounds.add(os.fsdecode(name), int(size[0]) if size and size[0].isdigit() else 0)
            finally:
                listing.kill()

    def has_commit(self, commit: str) -> bool:
        answer = subprocess.run(
            ["git", "cat-file", "-e", f"{commit}^{{commit}}"],
            cwd=self.mirror,
            env=self.environment(),
            capture_output=True,
            check=False,
        )
        return answer.returncode == 0

    def fetch(self, commit: str, version: str) -> None:
        doing = f"fetching '{version}' from {redacted(self.url)}"
        try:
            shallow = ["--progress", "--no-tags", "--depth", "1", *self.upload_pack()]
            self.git("fetch", *shallow, "--", self.url, commit, doing=doing, cwd=self.mirror)
        except SourceError:
            # Some servers refuse a commit that no branch or tag names, and some can't limit the depth.
            whole = ["--unshallow"] if (self.mirror / "shallow").exists() else []
            self.git(
                "fetch",
                "--progress",
                *whole,
                *self.upload_pack(),
                "--",
                self.url,
                "+refs/heads/*:refs/heads/*",
                "+refs/tags/*:refs/tags/*",
                doing=doing,
                cwd=self.mirror,
            )
            if not self.has_commit(commit):
                raise SourceError(
                    f"source.version '{version}' is no commit of {redacted(self.url)}, "
                    "or none that a branch or tag leads to. Name one that is."
                ) from None
        # A reference keeps the commit, so that git need not fetch its objects again with the next one.
        self.git("update-ref", "refs/pyweb/fetched", commit, doing=doing, cwd=self.mirror)


def repository_address(address: str, bases: list[str]) -> str:
    """The address of a repository for git in any folder. A relative path is looked for below the bases."""
    scheme = re.match(r"([A-Za-z0-9+.-]+)(::|://)", address)
    if address.startswith("-") or (scheme and (scheme[2] == "::" or scheme[1].lower() not in (*PROTOCOLS, *ALIASES))):
        raise SourceError(
            f"source.git '{redacted(address)}' is an address that git may not use here: it can run a command on the "
            f"controller. Use one of {', '.join(f'{name}://' for name in PROTOCOLS)}, account@server:path, or a folder."
        )
    if "://" in address or re.match(r"[^/]+:", address):
        return address
    return str(find(address, bases, os.path.isdir, "source.git", "folder, and no address either"))


def repository_of(source: dict[str, Any], bases: list[str]) -> Repository:
    """The repository of a source. Raises SourceError."""
    key = source.get("key")
    address = repository_address(source["git"], bases)
    return Repository(address, find_key(key, bases) if key else None, source.get("host_key") or ())


def records(stream: IO[bytes] | None) -> Iterator[bytes]:
    """The records of a stream, each with a zero byte at its end; a record without end is cut off."""
    rest = b""
    while stream is not None and (chunk := stream.read(1 << 16)):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
        rest = rest[: 1 << 16]


def git_hint(text: str, has_key: bool, is_pinned: bool = False) -> str:
    """The remedy for a common failure of git; empty for any other."""
    lowered = text.lower()
    if is_pinned and "host key verification failed" in lowered:
        return (
            "The server shows a host key that source.host_key does not list. If the server has a new key, list the one "
            "that its operator publishes. A submodule on another server needs a line of its own: 'SERVER TYPE KEY'. "
        )
    if "host key verification failed" in lowered or "remote host identification has changed" in lowered:
        return (
            "The server shows another host key than before: if that is right, remove the old one with ssh-keygen -R. "
        )
    if "unprotected private key file" in lowered:
        return "ssh doesn't use a key that others may read: chmod 600 the file that source.key names. "
    if (
        "permission denied" in lowered
        or "authentication failed" in lowered
        or "could not read username" in lowered
        or "could not read password" in lowered
        or "terminal prompts disabled" in lowered
    ):
        return "The repository wants credentials: " + (
            "check that the deploy key belongs to it and has no passphrase. "
            if has_key
            else "give the controller's account access, or name a deploy key as source.key. "
        )
    if "dubious ownership" in lowered:
        return (
            "The repository's folder belongs to another account: run Ansible as that one, "
            "or allow it with git config --global safe.directory. "
        )
    if "transport 'file' not allowed" in lowered:
        return "Git takes no submodules from folders: give the submodule an address, or use source.path. "
    if re.search(
        r"could not resolve host|could not connect|failed to connect"
        r"|connection timed out|connection refused|no route to host",
        lowered,
    ):
        return "The server can't be reached from the controller. "
    if "not found" in lowered or "does not exist" in lowered or "does not appear to be a git repository" in lowered:
        return "There is no such repository, or it is private: check source.git. "
    return ""
