# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A folder on the controller as the source of a release: its files, their fingerprint, one archive of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path

# Never part of a source, whatever .gitignore says: version control, environments, caches.
ALWAYS_LEFT_OUT = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".tox",
    }
)


class SourceError(Exception):
    """A source that can't be used; the message names the folder and the remedy."""


def source_files(folder: Path) -> list[str]:
    """The files of a source, relative to it and sorted, without what its .gitignore files name."""
    listed = listed_by_git(folder)
    if listed is None:
        listed = listed_by_walk(folder)
    wanted = [name for name in listed if not ALWAYS_LEFT_OUT.intersection(name.split("/"))]
    names: list[str] = []
    for name in wanted:
        # Git lists what it tracks below a folder that is a link now. A link is never followed.
        if behind_link(folder, name) or not os.path.lexists(folder / name):
            continue
        if not stat.S_ISDIR(os.lstat(folder / name).st_mode):
            names.append(name)
        # A folder in git's list is another repository inside this one, whose files git does not list.
        elif (folder / name / ".git").exists():
            names += [os.path.join(name, inner) for inner in source_files(folder / name)]
        elif not os.listdir(folder / name):
            raise SourceError(
                f"{folder / name} is a submodule that is not checked out. Run git submodule update --init in {folder}."
            )
    return sorted(names)


def behind_link(folder: Path, name: str) -> bool:
    """Whether a folder on the way to a file is a link."""
    parts = name.split("/")[:-1]
    return any(os.path.islink(folder.joinpath(*parts[:depth])) for depth in range(1, len(parts) + 1))


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a path leads to something in the folder, whatever links are on the way."""
    return path.resolve().is_relative_to(folder.resolve())


def regular_bytes(path: Path) -> bytes:
    """The content of a file; a SourceError for what has none, or for one that can't be read."""
    if not path.is_file():
        raise SourceError(
            f"{path} is neither a file, a folder nor a link, so it can't be part of a release. Remove it or name it in "
            ".gitignore."
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}. Mend its mode, or name it in .gitignore.") from None


def listed_by_walk(folder: Path) -> list[str]:
    names = []
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        folders[:] = [name for name in folders if name not in ALWAYS_LEFT_OUT and name not in links]
        names += [os.path.relpath(os.path.join(root, name), folder) for name in files + links]
    return names


def has_ignore_rules(folder: Path) -> bool:
    return any(os.path.basename(name) == ".gitignore" for name in listed_by_walk(folder))


def listed_by_git(folder: Path) -> list[str] | None:
    """What git would take from the folder, or None where nothing tells git what to leave out.

    Inside a repository that is what it tracks and what it doesn't ignore. Anywhere else an empty repository beside the
    folder reads its
    .gitignore files, so that the same rules hold for a folder that came out of an archive.
    """
    try:
        asked = git(folder, "rev-parse", "--show-toplevel")
        if b"dubious ownership" in asked.stderr:
            raise SourceError(
                f"{folder} is in a git repository that belongs to another account, whose settings git may not trust. "
                "Run Ansible as that account, or allow the repository with git config --global --add safe.directory "
                f"{repository_of(folder) or folder}."
            )
        if asked.returncode == 0:
            answer = git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
            if answer.returncode != 0:
                raise SourceError(
                    f"git could not list the files of {folder}: {answer.stderr.decode(errors='replace').strip()}"
                )
            return names_of(answer.stdout)
        if not has_ignore_rules(folder):
            return None
        with tempfile.TemporaryDirectory() as scratch:
            subprocess.run(["git", "init", "-q", scratch], check=True, capture_output=True)
            answer = git(
                folder,
                f"--git-dir={scratch}/.git",
                f"--work-tree={folder}",
                "ls-files",
                "-z",
                "--others",
                "--exclude-standard",
            )
            if answer.returncode != 0:
                raise SourceError(
                    f"git could not list the files of {folder}: {answer.stderr.decode(errors='replace').strip()}"
                )
            return names_of(answer.stdout)
    except FileNotFoundError:
        if has_ignore_rules(folder):
            raise SourceError(
                f"{folder} has a .gitignore, and reading it needs git on the controller. Install git."
            ) from None
        return None


def repository_of(folder: Path) -> Path | None:
    """The folder of the repository that a folder is in."""
    return next((place for place in (folder, *folder.parents) if os.path.lexists(place / ".git")), None)


def trusted(repository: Path | None) -> list[str]:
    """The repository, where it belongs to this account or to root; about any other, git and its user decide."""
    if repository is None:
        return []
    accounts = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdigit():
        accounts.add(int(os.environ["SUDO_UID"]))
    # A file there names a repository elsewhere, which git looks at itself.
    metadata = os.lstat(repository / ".git")
    own = stat.S_ISDIR(metadata.st_mode) and {metadata.st_uid, os.stat(repository).st_uid} <= accounts
    return [str(repository)] if own else []


# Listing files runs nothing that the repository's settings name: no file system monitor, no hook, and no fetch of
# missing objects. Git knows GIT_NO_LAZY_FETCH since 2.45; older ones can't fetch without a protocol.
HARMLESS = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.untrackedCache": "false",
    "safe.bareRepository": "explicit",
}
NO_FETCH = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    # One message is looked for, so it must be English.
    "LC_ALL": "C.UTF-8",
    "LANGUAGE": "",
}


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    settings = [*HARMLESS.items(), *(("safe.directory", place) for place in trusted(repository_of(folder)))]
    return subprocess.run(
        ["git", *(word for name, value in settings for word in ("-c", f"{name}={value}")), *arguments],
        cwd=folder,
        # Those of a hook that runs Ansible would name another repository.
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | NO_FETCH,
        capture_output=True,
        check=False,
    )


def names_of(output: bytes) -> list[str]:
    return sorted({os.fsdecode(name) for name in output.split(b"\0") if name})


def fingerprint(folder: Path, names: list[str]) -> str:
    """One digest of names, contents, link targets and the executable bit. Times and owners don't count."""
    total = hashlib.sha256()
    for name in names:
        path = folder / name
        if path.is_symlink():
            mark, content = b"l", os.fsencode(os.readlink(path))
        else:
            mark = b"x" if os.stat(path).st_mode & stat.S_IXUSR else b"f"
            content = regular_bytes(path)
        total.update(mark + os.fsencode(name) + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()


def archive(folder: Path, names: list[str]) -> bytes:
    """A compressed tar archive of the files, owned by root, with their times."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=3, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as tar,
    ):
        for name in names:
            path = folder / name
            member = tarfile.TarInfo(name)
            if path.is_symlink():
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
                tar.addfile(member)
                continue
            content = regular_bytes(path)
            member.size = len(content)
            # nginx makes the ETag of a static file from its time and size.
            member.mtime = int(os.stat(path).st_mtime)
            member.mode = 0o755 if os.stat(path).st_mode & stat.S_IXUSR else 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def resolve(path: str, bases: list[str]) -> Path:
    """The folder of a source: an absolute path as it is, a relative one below the first base that has it."""
    expanded = os.path.expanduser(path)
    candidates = (
        [expanded] if os.path.isabs(expanded) else [os.path.normpath(os.path.join(base, expanded)) for base in bases]
    )
    for candidate in candidates:
        if os.path.isdir(candidate):
            return Path(candidate).resolve()
    for candidate in candidates:
        if os.path.exists(candidate):
            raise SourceError(
                f"source.path '{path}' is a file ({candidate}), but it must be a folder. Name the folder it is in."
            )
    raise SourceError(f"source.path '{path}' does not exist. Looked for: {', '.join(dict.fromkeys(candidates))}.")
