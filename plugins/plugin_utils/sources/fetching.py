# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Git repositories and archives as sources. Both are fetched on the controller, so no key ever reaches a host."""

from __future__ import annotations

import calendar
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from ansible.module_utils.urls import open_url
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import SourceError

COMMIT = re.compile(r"[0-9a-f]{40}\Z")
# How many hexadecimal digits each kind of checksum has.
DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
CHECKSUM = re.compile(r"(sha256|sha384|sha512):([0-9a-fA-F]+)\Z")

# Seconds a connection may stay silent, for git (through ssh and http alike) and for downloads.
SILENCE = 30

# What git may speak to fetch a source. Others, such as ext:: and fd::, run a command.
PROTOCOLS = ("https", "http", "ssh", "git", "file")
# Other names of ssh:// that git knows.
ALIASES = ("git+ssh", "ssh+git")

# How git reads a local repository. Its configuration belongs to whoever made it, and may name commands for a fetch of
# objects that it lacks. GIT_NO_LAZY_FETCH forbids such a fetch since git 2.45; without a protocol, older ones fail.
LOCAL_UPLOAD_PACK = "env GIT_ALLOW_PROTOCOL=none GIT_NO_LAZY_FETCH=1 git-upload-pack"

# What an archive may hold: far more than any application has, and less than a disk.
MOST_MEMBERS = 200_000
MOST_BYTES = 4 * 1024**3
# Bytes; the kernel takes no longer target.
LONGEST_LINK = 4096

# What is kept of git's own environment: certificates, and the helper by which a CI system hands its token over.
KEPT = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_ASKPASS")


def cache_folder() -> Path:
    """Where repositories and downloads are kept between runs, for the account that runs Ansible alone."""
    chosen = os.environ.get("XDG_CACHE_HOME") or ""
    # The XDG specification has relative paths ignored.
    base = (Path(chosen) if os.path.isabs(chosen) else Path.home() / ".cache") / "pyweb.stack"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"the controller's folder for fetched sources, {base}, can't be made: {error.strerror}. "
            "Name another in XDG_CACHE_HOME."
        ) from error
    return base


class Repository:
    """A git repository, mirrored on the controller."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url
        self.key = key
        self.mirror = cache_folder() / "git" / hashlib.sha256(url.encode()).hexdigest()[:24]

    def environment(self, cwd: Path | None = None, *, submodules: bool = False) -> dict[str, str]:
        # No question is ever asked: a host key that is not known yet is accepted and kept, one that changed is refused.
        ssh = ["ssh"]
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=accept-new",
            f"ConnectTimeout={SILENCE}",
            f"ServerAliveInterval={SILENCE // 2}",
            "ServerAliveCountMax=2",
        ]
        if self.key:
            # A connection that is open already was made with another key.
            options += ["IdentitiesOnly=yes", "ControlMaster=no", "ControlPath=none"]
        for option in options:
            ssh += ["-o", option]
        if self.key:
            ssh += ["-i", self.key]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in KEPT}
        # The mirror is tidied while its lock is held, never by a process that outlives the command.
        settings = [("gc.autoDetach", "false"), ("maintenance.autoDetach", "false"), ("core.fsmonitor", "false")]
        # These two folders are our own; whether a repository of another account is safe, git and its user decide.
        settings += [("safe.directory", str(folder)) for folder in (self.mirror, cwd) if folder]
        if submodules:
            # An address in .gitmodules comes from the repository. A folder needs the user's own protocol.file.allow.
            settings += [("protocol.allow", "never"), ("protocol.ext.allow", "never"), ("protocol.fd.allow", "never")]
            settings += [(f"protocol.{name}.allow", "always") for name in PROTOCOLS if name != "file"]
        else:
            environment["GIT_ALLOW_PROTOCOL"] = ":".join(PROTOCOLS)
        for number, (name, value) in enumerate(settings):
            environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return {
            # Empty rather than unset, or git would open the window of SSH_ASKPASS.
            "GIT_ASKPASS": "",
            **environment,
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": shlex.join(ssh),
            "GIT_HTTP_LOW_SPEED_LIMIT": "1",
            "GIT_HTTP_LOW_SPEED_TIME": str(SILENCE),
            # Messages are looked through for what to try, so they must be English.
            "LC_ALL": "C.UTF-8",
            "LANGUAGE": "",
        }

    def git(self, *arguments: str, doing: str, cwd: Path | None = None, submodules: bool = False) -> str:
        try:
            answer = subprocess.run(
                ["git", *arguments],
                cwd=cwd,
                env=self.environment(cwd, submodules=submodules),
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except FileNotFoundError:
            raise SourceError("a source from git needs git on the controller. Install it.") from None
        if answer.returncode != 0:
            words = [shown(line.strip()) for line in answer.stderr.splitlines() if line.strip()]
            hint = git_hint(answer.stderr, bool(self.key))
            raise SourceError(f"{doing} failed. {hint}git says: {' '.join(words[-3:])}")
        return answer.stdout

    def reader(self) -> list[str]:
        """The option by which git reads a repository on the controller and runs nothing that it names."""
        local = self.url.startswith(("/", "file:"))
        return [f"--upload-pack={LOCAL_UPLOAD_PACK}"] if local else []

    def commit_of(self, version: str) -> str:
        """The commit that a branch, a tag or a (full) commit stands for now."""
        if COMMIT.match(version.lower()):
            return version.lower()
        listed = self.git(
            "ls-remote",
            *self.reader(),
            "--",
            self.url,
            version,
            f"{version}^{{}}",
            f"refs/heads/{version}",
            f"refs/tags/{version}",
            f"refs/tags/{version}^{{}}",
            doing=f"asking {shown(self.url)} for '{version}'",
        )
        found = {name: commit for commit, _, name in (line.partition("\t") for line in listed.splitlines())}
        # An annotated tag has an object of its own; what it stands for is the peeled one.
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
                f"{shown(self.url)} has no default branch: it is empty, or its HEAD names a branch that is gone. "
                "Name a branch, a tag or a commit as source.version."
            )
        raise SourceError(
            f"source.version '{version}' is no branch or tag of {shown(self.url)}. "
            "Name one that is, or a whole commit of 40 digits."
        )

    def checkout(self, commit: str, version: str, target: Path) -> None:
        """The files of a commit, submodules included, in a new folder."""
        with self.locked():
            self.prepare()
            if not self.has(commit):
                self.fetch(commit, version)
            try:
                made = self.take(commit, target)
            except SourceError:
                # A mirror that a full disk or a crash has damaged is only a copy: make another.
                shutil.rmtree(target, ignore_errors=True)
                shutil.rmtree(self.mirror, ignore_errors=True)
                self.prepare()
                self.fetch(commit, version)
                made = self.take(commit, target)
        if (target / ".gitmodules").exists():
            self.git(
                "submodule",
                "--quiet",
                "update",
                "--init",
                "--recursive",
                "--depth",
                "1",
                doing=f"fetching the submodules of {shown(self.url)}",
                cwd=target,
                submodules=True,
            )
        for path in sorted(target.rglob(".git")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        # The same commit has the same times on every host, so that static files have the same ETag on all of them.
        for path in target.rglob("*"):
            os.utime(path, (made, made), follow_symlinks=False)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One run at a time works on a mirror: hosts are deployed to in parallel, and git's own locks don't wait."""
        self.mirror.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.mirror.with_suffix(".lock"), "w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def prepare(self) -> None:
        """Make an empty mirror if there is none, and remove the locks of a killed git: this run holds the mirror."""
        if not (self.mirror / "config").exists() or not (self.mirror / "HEAD").exists():
            shutil.rmtree(self.mirror, ignore_errors=True)
            self.mirror.mkdir(mode=0o700)
            self.git("init", "--quiet", "--bare", str(self.mirror), doing="preparing the cache of repositories")
        for left in (*self.mirror.glob("*.lock"), *(self.mirror / "refs").rglob("*.lock")):
            left.unlink(missing_ok=True)

    def take(self, commit: str, target: Path) -> int:
        """Make a working copy that borrows the mirror's objects, which git refuses to clone as history is missing.

        Return when the commit was made.
        """
        doing = f"checking {commit[:12]} out"
        self.git("init", "--quiet", str(target), doing=doing)
        (target / ".git/objects/info").mkdir(exist_ok=True)
        (target / ".git/objects/info/alternates").write_text(f"{self.mirror / 'objects'}\n")
        if (self.mirror / "shallow").exists():
            shutil.copy(self.mirror / "shallow", target / ".git/shallow")
        # Relative addresses of submodules count from the repository, not from its mirror.
        self.git("remote", "add", "--", "origin", self.url, doing=doing, cwd=target)
        self.git("checkout", "--quiet", "--detach", commit, doing=doing, cwd=target)
        # A checkout succeeds even if the mirror has lost some of the commit's files, or its list of them.
        lost = self.git("ls-files", "--deleted", doing=doing, cwd=target).splitlines()
        if lost:
            raise SourceError(f"{doing} failed: {lost[0]} can't be read. Remove {self.mirror} and try again.")
        return int(self.git("show", "-s", "--format=%ct", commit, doing=doing, cwd=target).split()[-1])

    def has(self, commit: str) -> bool:
        answer = subprocess.run(
            ["git", "cat-file", "-e", f"{commit}^{{commit}}"],
            cwd=self.mirror,
            env=self.environment(),
            capture_output=True,
            check=False,
        )
        return answer.returncode == 0

    def fetch(self, commit: str, version: str) -> None:
        doing = f"fetching '{version}' from {shown(self.url)}"
        try:
            shallow = ["--quiet", "--no-tags", "--depth", "1", *self.reader()]
            self.git("fetch", *shallow, "--", self.url, commit, doing=doing, cwd=self.mirror)
        except SourceError:
            # Not every server gives out a commit that no branch or tag names directly, and some know no depth.
            whole = ["--unshallow"] if (self.mirror / "shallow").exists() else []
            self.git(
                "fetch",
                "--quiet",
                *whole,
                *self.reader(),
                "--",
                self.url,
                "+refs/heads/*:refs/heads/*",
                "+refs/tags/*:refs/tags/*",
                doing=doing,
                cwd=self.mirror,
            )
            if not self.has(commit):
                raise SourceError(
                    f"source.version '{version}' is no commit of {shown(self.url)}, "
                    "or none that a branch or tag leads to."
                ) from None
        # What a reference names is what git needn't fetch again with the next commit.
        self.git("update-ref", "refs/pyweb/fetched", commit, doing=doing, cwd=self.mirror)


def repository_address(address: str, bases: list[str]) -> str:
    """A repository's address as git understands it from any folder: a relative path is looked for below the bases."""
    scheme = re.match(r"([A-Za-z0-9+.-]+)(::|://)", address)
    if address.startswith("-") or (scheme and (scheme[2] == "::" or scheme[1].lower() not in (*PROTOCOLS, *ALIASES))):
        raise SourceError(
            f"source.git '{shown(address)}' is an address that git may not use here: it can run a command on the "
            f"controller. Use one of {', '.join(f'{name}://' for name in PROTOCOLS)}, account@server:path, or a folder."
        )
    if "://" in address or re.match(r"[^/]+:", address):
        return address
    return str(existing(address, bases, os.path.isdir, "source.git", "folder, and no address either"))


def key_file(key: str, bases: list[str]) -> str:
    """The deploy key's file."""
    return str(existing(key, bases, os.path.isfile, "source.key", "file on the controller"))


def existing(name: str, bases: list[str], good: Callable[[str], bool], option: str, kind: str) -> Path:
    """A path that an application names: as it is if absolute, else below the first base that has it."""
    expanded = os.path.expanduser(name)
    candidates = (
        [expanded] if os.path.isabs(expanded) else [os.path.normpath(os.path.join(base, expanded)) for base in bases]
    )
    for candidate in candidates:
        if good(candidate):
            return Path(candidate)
    raise SourceError(f"{option} '{name}' is no {kind}. Looked for: {', '.join(dict.fromkeys(candidates))}.")


def shown(text: str) -> str:
    """A text without the credentials that addresses in it may hold: accounts and signed queries."""
    # A password may have a '/' or '@' of its own that should have been encoded; a port is not taken for one.
    text = re.sub(r"(?<=://)(?:[^\s/:'\"]*:(?!\d+/)[^\s'\"]*|[^\s/'\"]*)@", "***@", text)
    return re.sub(r"(://[^\s?'\"]*\?)[^\s'\"]+", r"\1***", text)


def git_hint(text: str, has_key: bool) -> str:
    lowered = text.lower()
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
            "does the deploy key belong to it, and has it no passphrase? "
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


# Archives


def archive_file(source: dict[str, Any], bases: list[str]) -> Path:
    """The archive as a file on the controller, downloaded if need be, and checked if a checksum is given."""
    name = source["archive"]
    if is_address(name):
        return downloaded(name, source.get("checksum") or "")
    path = existing(name, bases, os.path.isfile, "source.archive", "file")
    if source.get("checksum"):
        verify(path, source["checksum"], name)
    return path


def is_address(name: str) -> bool:
    return re.match(r"https?://", name, re.IGNORECASE) is not None


def archive_name(name: str) -> str:
    """What an archive is called where people read of it: never with the credentials of its address."""
    return os.path.basename(urlsplit(shown(name)).path if is_address(name) else name) or "archive"


def downloaded(url: str, checksum: str) -> Path:
    """A download, kept by its checksum, so that it is made once."""
    if not checksum:
        raise SourceError(
            f"source.archive is the address {shown(url)}, so source.checksum must say what is expected. "
            "Write it as 'sha256:' and the digest."
        )
    parsed_checksum(checksum)
    target = cache_folder() / "archives" / checksum.replace(":", "-").lower()
    if target.exists():
        try:
            verify(target, checksum, target.name)
            return target
        except SourceError:
            target.unlink()  # damaged since: fetch it again
    target.parent.mkdir(mode=0o700, exist_ok=True)
    for left in target.parent.glob(f"{target.name}.*"):
        if not alive(left.suffix[1:]):
            left.unlink(missing_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    try:
        with open_url(url, timeout=SILENCE) as answer, open(partial, "wb") as stream:
            shutil.copyfileobj(answer, stream)
        verify(partial, checksum, shown(url))
        partial.rename(target)
    except SourceError:
        raise
    except Exception as error:  # open_url raises what its layers raise
        raise SourceError(f"downloading {shown(url)} failed: {shown(str(error))}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def alive(number: str) -> bool:
    """Whether the process that a partial download is named for is still there."""
    try:
        os.kill(int(number), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def parsed_checksum(checksum: str) -> tuple[str, str]:
    match = CHECKSUM.match(checksum)
    if not match:
        raise SourceError(
            f"source.checksum '{checksum}' is not a checksum. Write it as 'sha256:' (or sha384, sha512) and the digest."
        )
    kind, digest = match.groups()
    if len(digest) != DIGITS[kind]:
        raise SourceError(
            f"source.checksum '{checksum}' has {len(digest)} digits, but {kind} has {DIGITS[kind]}. "
            "Copy the whole digest."
        )
    return kind, digest.lower()


def verify(path: Path, checksum: str, name: str) -> None:
    kind, wanted = parsed_checksum(checksum)
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, kind).hexdigest()
    if found != wanted:
        raise SourceError(
            f"{name} has the checksum {kind}:{found}, but source.checksum is {checksum}. "
            "It is not the file that was meant."
        )


@dataclass(frozen=True)
class Member:
    """One entry of an archive, of whatever kind the archive is."""

    name: str
    executable: bool = False
    modified: float = 0
    # Where a symbolic link leads to. It is written last, so that nothing is ever written through it.
    link: str | None = None
    # None for folders and links.
    open: Callable[[], IO[bytes]] | None = None

    @property
    def kind(self) -> str:
        if self.link is not None:
            return "link"
        return "folder" if self.open is None else "file"


def unpack(path: Path, target: Path, name: str = "") -> Path:
    """Unpack an archive, refusing hostile members; return the folder of the source, which a single top folder is."""
    name = name or path.name
    try:
        # In this order: a tar archive that ends with a zip archive passes for one.
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                write(planned(tar_members(tar, name), name), target, name)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                write(planned(zip_members(packed, name), name), target, name)
        else:
            raise SourceError(f"{name} is neither a tar nor a zip archive, or it is cut off.")
    except SourceError:
        raise
    except Exception as error:  # every format and compression raises errors of its own for what is damaged
        raise SourceError(f"{name} can't be unpacked, it may be damaged: {error or type(error).__name__}.") from error
    entries = list(target.iterdir())
    folder = entries[0] if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink() else target
    check_links(folder, name)
    return folder


def hostile_name(name: str) -> bool:
    """Whether a member's name leads out of the folder that it is unpacked in, here or on Windows."""
    return (
        name.startswith(("/", "\\"))
        or ".." in re.split(r"[/\\]", name)
        or "\0" in name
        or re.match(r"[A-Za-z]:", name) is not None
    )


def check_member(archive: str, name: str) -> str:
    if hostile_name(name):
        raise SourceError(
            f"{archive} has the hostile member '{name}', which would be written outside of the source. "
            "Nothing was unpacked."
        )
    return str(PurePosixPath(name))


def check_links(folder: Path, archive: str) -> None:
    """Links may lead through other links, so where one ends is only known when all are there."""
    inside = os.path.realpath(folder)
    for root, folders, files in os.walk(folder):
        for entry in (*folders, *files):
            path = os.path.join(root, entry)
            if not os.path.islink(path):
                continue
            link = os.readlink(path)
            if os.path.isabs(link) or os.path.commonpath([inside, os.path.realpath(path)]) != inside:
                raise SourceError(
                    f"{archive} has the hostile link '{os.path.relpath(path, folder)}', which leads to '{link}', "
                    "outside of the source. Nothing was sent."
                )


def tar_members(tar: tarfile.TarFile, archive: str) -> Iterator[Member]:
    entries = []
    for entry in tar:
        entries.append(entry)
        check_count(len(entries), archive)
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise SourceError(f"{archive} is cut off: it lacks the end of a tar archive. Make or copy it again.")
    while tar.fileobj.read(1 << 20):  # the compression's own end and checksum lie behind that of the tar archive
        pass
    for entry in entries:
        name = check_member(archive, entry.name)
        if entry.isdir():
            yield Member(name)
        elif entry.issym():
            yield Member(name, link=entry.linkname)
        elif entry.isfile() or entry.islnk():
            # A hard link becomes a copy of the member that it names; one that names no member can't be read.
            if entry.islnk():
                check_member(archive, entry.linkname)
            yield Member(
                name,
                executable=bool(entry.mode & stat.S_IXUSR),
                modified=entry.mtime,
                open=lambda entry=entry: tar.extractfile(entry),
            )
        else:
            raise SourceError(
                f"{archive} has the hostile member '{entry.name}', which is neither a file, a folder nor a link. "
                "Nothing was unpacked."
            )


def zip_members(packed: zipfile.ZipFile, archive: str) -> Iterator[Member]:
    for entry in packed.infolist():
        if entry.filename.startswith("__MACOSX/"):  # the Finder's own notes, which would hide a single top folder
            continue
        mode = entry.external_attr >> 16
        # Some programs of Windows write its separator.
        name = check_member(archive, entry.filename.replace("\\", "/"))
        if entry.is_dir() or entry.filename.endswith("\\"):
            yield Member(name)
        elif stat.S_ISLNK(mode):
            if entry.file_size > LONGEST_LINK:
                raise SourceError(f"{archive} has the hostile link '{name}', whose target is too long.")
            yield Member(name, link=os.fsdecode(packed.read(entry)))
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
            yield Member(
                name,
                executable=bool(mode & stat.S_IXUSR),
                modified=calendar.timegm((*entry.date_time, 0, 0, 0)),
                open=lambda entry=entry: packed.open(entry),
            )
        else:
            raise SourceError(
                f"{archive} has the hostile member '{name}', which is neither a file, a folder nor a link. "
                "Nothing was unpacked."
            )


def check_count(count: int, archive: str) -> None:
    if count > MOST_MEMBERS:
        raise SourceError(
            f"{archive} has more than {MOST_MEMBERS} members. Leave out what the application doesn't need."
        )


Parts = tuple[str, ...]


def planned(members: Iterable[Member], archive: str) -> dict[Parts, Member]:
    """All members by their place, checked against each other before any of them is written.

    A file that occurs twice counts as the last one does, as for tar itself.
    """
    plan: dict[Parts, Member] = {}
    for count, member in enumerate(members, 1):
        check_count(count, archive)
        parts = PurePosixPath(member.name).parts
        if member.kind != plan.get(parts, member).kind or not (parts or member.kind == "folder"):
            raise hostile(archive, member, "has the same path as another member")
        if parts:
            plan[parts] = member
    for parts, member in plan.items():
        for depth in range(1, len(parts)):
            parent = plan.get(parts[:depth])
            if parent and parent.kind != "folder":
                raise hostile(archive, member, f"would be written through the {parent.kind} '{parent.name}'")
        if member.link is not None:
            check_target(parts, member, plan, archive)
    return plan


def hostile(archive: str, member: Member, why: str) -> SourceError:
    kind = "link" if member.link is not None else "member"
    return SourceError(f"{archive} has the hostile {kind} '{member.name}', which {why}. Nothing was unpacked.")


def check_target(parts: Parts, member: Member, plan: dict[Parts, Member], archive: str) -> None:
    """Follow a link through all others of the archive; none of them may leave the source on its way."""
    place = list(parts[:-1])
    left = str(member.link).split("/")[::-1]
    outside = hostile(archive, member, f"leads to '{member.link}', outside of the source")
    if str(member.link).startswith("/") or "\0" in str(member.link):
        raise outside
    followed = 0
    while left:
        step = left.pop()
        if step in ("", "."):
            continue
        if step == "..":
            if not place:
                raise outside
            place.pop()
            continue
        place.append(step)
        next_link = plan.get(tuple(place))
        if next_link and next_link.link is not None:
            followed += 1
            # The kernel follows no more of them either.
            if followed > 40:
                return
            if next_link.link.startswith("/"):
                raise outside
            place.pop()
            left += next_link.link.split("/")[::-1]


def write(plan: dict[Parts, Member], target: Path, archive: str) -> None:
    """Write folders and files, then links. Every name is opened in its folder's descriptor, so no link is followed."""
    left = MOST_BYTES
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for parts, member in sorted(plan.items(), key=lambda entry: entry[1].link is not None):
            with folder_in(root, parts if member.kind == "folder" else parts[:-1]) as parent:
                if member.link is not None:
                    os.symlink(member.link, parts[-1], dir_fd=parent)
                elif member.open is not None:
                    left -= write_file(parent, parts[-1], member, left, archive)
    finally:
        os.close(root)


def write_file(parent: int, name: str, member: Member, most: int, archive: str) -> int:
    """Write a new file and return its size."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    size = 0
    with member.open() as content, open(os.open(name, flags, 0o600, dir_fd=parent), "wb") as stream:
        while chunk := content.read(1 << 20):
            size += len(chunk)
            if size > most:
                raise SourceError(
                    f"{archive} unpacks to more than {MOST_BYTES // 1024**3} GiB. Leave out what the application "
                    "doesn't need."
                )
            stream.write(chunk)
        stream.flush()
        os.fchmod(stream.fileno(), 0o755 if member.executable else 0o644)
        os.utime(stream.fileno(), (member.modified, member.modified))
    return size


@contextmanager
def folder_in(root: int, parts: Parts) -> Iterator[int]:
    """The descriptor of a folder below another; it is made if it is missing."""
    current = os.dup(root)
    try:
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=current)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)
