# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sources that are not folders yet: git repositories and archives. Both are fetched on the controller, so no key ever reaches a host."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.module_utils.urls import open_url
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import SourceError

COMMIT = re.compile(r"[0-9a-f]{40}\Z")
CHECKSUM = re.compile(r"(sha256|sha384|sha512):([0-9a-fA-F]+)\Z")

# Seconds a connection may stay silent, for git (through ssh and http alike) and for downloads.
SILENCE = 30


def cache_folder() -> Path:
    """Where repositories and downloads are kept between runs, for the account that runs Ansible alone."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyweb.stack"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    return base


class Repository:
    """A git repository, mirrored on the controller."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url
        self.key = key
        self.mirror = cache_folder() / "git" / hashlib.sha256(url.encode()).hexdigest()[:24]

    def environment(self) -> dict[str, str]:
        # No question is ever asked: a host key that is not known yet is accepted and kept, one that changed is refused.
        ssh = [
            "ssh",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            f"ConnectTimeout={SILENCE}",
        ]
        if self.key:
            ssh += ["-o", "IdentitiesOnly=yes", "-i", os.path.expanduser(self.key)]
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GIT_") or name in ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
        }
        return {
            **environment,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": shlex.join(ssh),
            "GIT_HTTP_LOW_SPEED_LIMIT": "1",
            "GIT_HTTP_LOW_SPEED_TIME": str(SILENCE),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "LC_ALL": "C.UTF-8",
        }

    def git(self, *arguments: str, doing: str, cwd: Path | None = None) -> str:
        try:
            answer = subprocess.run(
                ["git", *arguments],
                cwd=cwd,
                env=self.environment(),
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except FileNotFoundError:
            raise SourceError("a source from git needs git on the controller. Install it.") from None
        if answer.returncode != 0:
            words = answer.stderr.strip().splitlines()
            raise SourceError(
                f"{doing} failed. {git_hint(answer.stderr, bool(self.key))}git says: {' '.join(words[-3:])}"
            )
        return answer.stdout

    def commit_of(self, version: str) -> str:
        """The commit that a branch, a tag or a (full) commit stands for now."""
        if COMMIT.match(version):
            return version
        listed = self.git(
            "ls-remote",
            "--",
            self.url,
            version,
            f"refs/heads/{version}",
            f"refs/tags/{version}",
            f"refs/tags/{version}^{{}}",
            doing=f"asking {shown(self.url)} for '{version}'",
        )
        found = {name: commit for commit, _, name in (line.partition("\t") for line in listed.splitlines())}
        # An annotated tag has an object of its own; what it stands for is the peeled one.
        for name in (f"refs/tags/{version}^{{}}", f"refs/tags/{version}", f"refs/heads/{version}", version):
            if name in found:
                return found[name]
        raise SourceError(
            f"source.version '{version}' is no branch or tag of {shown(self.url)}. Name one that is, or a whole commit of 40 digits."
        )

    def checkout(self, commit: str, version: str, target: Path) -> None:
        """The files of a commit, submodules included, in an empty folder."""
        if not (self.mirror / "HEAD").exists():
            shutil.rmtree(self.mirror, ignore_errors=True)
            self.mirror.mkdir(mode=0o700, parents=True)
            self.git("init", "--quiet", "--bare", str(self.mirror), doing="preparing the cache of repositories")
        if not self.has(commit):
            self.fetch(commit, version)
        self.git(
            "clone",
            "--quiet",
            "--shared",
            "--no-checkout",
            str(self.mirror),
            str(target),
            doing="checking the source out",
        )
        self.git("checkout", "--quiet", "--detach", commit, doing=f"checking {commit[:12]} out", cwd=target)
        if (target / ".gitmodules").exists():
            # Relative addresses of submodules count from the repository, not from its mirror.
            self.git("remote", "set-url", "origin", self.url, doing="checking the source out", cwd=target)
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
            )
        for path in target.rglob(".git"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

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
        if version != commit:
            self.git(
                "fetch",
                "--quiet",
                "--depth",
                "1",
                self.url,
                commit if COMMIT.match(commit) else version,
                doing=doing,
                cwd=self.mirror,
            )
            return
        try:
            self.git("fetch", "--quiet", "--depth", "1", self.url, commit, doing=doing, cwd=self.mirror)
        except SourceError:
            # Not every server gives out a commit that no branch or tag names directly.
            self.git(
                "fetch",
                "--quiet",
                self.url,
                "+refs/heads/*:refs/heads/*",
                "+refs/tags/*:refs/tags/*",
                doing=doing,
                cwd=self.mirror,
            )
            if not self.has(commit):
                raise SourceError(f"source.version '{commit}' is no commit of {shown(self.url)}.") from None


def shown(url: str) -> str:
    """An address without the credentials that it may hold."""
    return re.sub(r"(?<=://)[^/@]+@", "***@", url)


def git_hint(text: str, has_key: bool) -> str:
    lowered = text.lower()
    if (
        "permission denied" in lowered
        or "authentication failed" in lowered
        or "could not read username" in lowered
        or "terminal prompts disabled" in lowered
    ):
        return "The repository wants credentials: " + (
            "does the deploy key belong to it? "
            if has_key
            else "give the controller's account access, or name a deploy key as source.key. "
        )
    if "host key verification failed" in lowered or "remote host identification has changed" in lowered:
        return (
            "The server shows another host key than before: if that is right, remove the old one with ssh-keygen -R. "
        )
    if "could not resolve host" in lowered or "could not connect" in lowered or "connection timed out" in lowered:
        return "The server can't be reached from the controller. "
    if "not found" in lowered or "does not exist" in lowered or "does not appear to be a git repository" in lowered:
        return "There is no such repository, or it is private: check source.git. "
    return ""


# Archives


def archive_file(source: dict[str, Any], bases: list[str]) -> Path:
    """The archive as a file on the controller: where it lies, or downloaded; checked against its checksum if one is given."""
    name = source["archive"]
    if re.match(r"https?://", name):
        return downloaded(name, source.get("checksum") or "")
    expanded = os.path.expanduser(name)
    candidates = (
        [expanded] if os.path.isabs(expanded) else [os.path.normpath(os.path.join(base, expanded)) for base in bases]
    )
    for candidate in candidates:
        if os.path.isfile(candidate):
            if source.get("checksum"):
                verify(Path(candidate), source["checksum"], name)
            return Path(candidate)
    raise SourceError(f"source.archive '{name}' is not a file. Looked for: {', '.join(dict.fromkeys(candidates))}.")


def downloaded(url: str, checksum: str) -> Path:
    """A download, kept by its checksum, so that it is made once."""
    if not CHECKSUM.match(checksum):
        raise SourceError(
            f"source.archive is an address, so source.checksum must say what is expected, as 'sha256:…', but it is '{checksum}'."
        )
    target = cache_folder() / "archives" / checksum.replace(":", "-").lower()
    if not target.exists():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}")
        try:
            with open_url(url, timeout=SILENCE) as answer, open(partial, "wb") as stream:
                shutil.copyfileobj(answer, stream)
            verify(partial, checksum, shown(url))
            partial.rename(target)
        except SourceError:
            raise
        except Exception as error:  # open_url raises what its layers raise
            raise SourceError(f"downloading {shown(url)} failed: {error}.") from error
        finally:
            partial.unlink(missing_ok=True)
    return target


def verify(path: Path, checksum: str, name: str) -> None:
    match = CHECKSUM.match(checksum)
    if not match:
        raise SourceError(f"source.checksum '{checksum}' is not a checksum. Write it as 'sha256:' and the digest.")
    found = hashlib.new(match.group(1), path.read_bytes()).hexdigest()
    if found != match.group(2).lower():
        raise SourceError(
            f"{name} has the checksum {match.group(1)}:{found}, but source.checksum is {checksum}. It is not the file that was meant."
        )


def unpack(path: Path, target: Path) -> Path:
    """Unpack an archive, refusing hostile members; return the folder of the source: a single top folder counts as the archive itself."""
    try:
        if zipfile.is_zipfile(path):
            unpack_zip(path, target)
        elif tarfile.is_tarfile(path):
            unpack_tar(path, target)
        else:
            raise SourceError(f"{path.name} is neither a tar nor a zip archive.")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise SourceError(f"{path.name} can't be unpacked: {error}.") from error
    entries = list(target.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink() else target


def check_member(archive: Path, name: str, link: str | None = None) -> None:
    """A member stays inside: no absolute name, no way up, and no link that leads out."""
    parts = PurePosixPath(name).parts
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or re.match(r"[A-Za-z]:", name):
        raise SourceError(
            f"{archive.name} has the hostile member '{name}', which would be written outside of the source. Nothing was unpacked."
        )
    if link is not None:
        resolved = os.path.normpath(os.path.join(os.path.dirname(name), link))
        if link.startswith("/") or resolved == ".." or resolved.startswith("../"):
            raise SourceError(
                f"{archive.name} has the hostile link '{name}', which leads to '{link}', outside of the source. Nothing was unpacked."
            )


def unpack_tar(path: Path, target: Path) -> None:
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        for member in members:
            if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
                raise SourceError(
                    f"{path.name} has the hostile member '{member.name}', which is neither a file, a folder nor a link. Nothing was unpacked."
                )
            link = None
            if member.issym():
                link = member.linkname
            elif member.islnk():
                check_member(path, member.linkname)
            check_member(path, member.name, link)
            member.mode = 0o755 if member.isdir() or member.mode & stat.S_IXUSR else 0o644
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = staticmethod(tarfile.data_filter)
        archive.extractall(target, members=members)  # noqa: S202  # every member was checked above


def unpack_zip(path: Path, target: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            mode = member.external_attr >> 16
            if stat.S_ISLNK(mode):
                check_member(path, member.filename, archive.read(member).decode(errors="replace"))
            else:
                check_member(path, member.filename)
        for member in archive.infolist():
            mode = member.external_attr >> 16
            place = target / member.filename
            if stat.S_ISLNK(mode):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(archive.read(member).decode(errors="replace"))
                continue
            archive.extract(member, target)
            if not member.is_dir():
                place.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
