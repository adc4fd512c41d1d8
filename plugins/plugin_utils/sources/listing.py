# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""List the files of a folder as git would take them."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.bounds import Bounds
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError

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

# Listing files runs no command that the settings of the repository name: no file system monitor, no hook, and no fetch
# of missing objects. GIT_NO_LAZY_FETCH forbids such a fetch since git 2.45; older versions fail for lack of a protocol.
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
    # One message is searched for, so it must be English.
    "LC_ALL": "C.UTF-8",
    "LANGUAGE": "",
}


def listed_by_walk(folder: Path) -> list[str]:
    """All files and links below a folder, without version control, environments and caches."""
    return [
        os.path.relpath(path, folder)
        for path in walked(folder, str(folder))
        if os.path.islink(path) or not os.path.isdir(path)
    ]


def walked(folder: Path, source: str, left_out: frozenset[str] = ALWAYS_LEFT_OUT) -> Iterator[str]:
    """The paths of all files, links and folders below a folder, without the folders that are left out."""
    bounds, waiting = Bounds(source), [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listed:
                entries = list(listed)
        except (PermissionError, FileNotFoundError):
            continue
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name in left_out and is_folder:
                continue
            bounds.add(os.path.relpath(entry.path, folder))
            yield entry.path
            if is_folder:
                waiting.append(entry.path)


def has_ignore_rules(folder: Path) -> bool:
    return any(os.path.basename(name) == ".gitignore" for name in listed_by_walk(folder))


def listed_by_git(folder: Path) -> list[str] | None:
    """The files that git would take from the folder; None where nothing says what to leave out."""
    with ignore_rules(folder) as rules:
        if rules is None:
            return None
        return git_ls_files(folder, rules, ["--others"] if rules else ["--cached", "--others"])


@contextmanager
def ignore_rules(folder: Path) -> Iterator[list[str] | None]:
    """The options with which git applies the .gitignore files of a folder; None where nothing says what to leave out.

    Inside a repository there are none. Anywhere else an empty repository beside the folder reads its .gitignore files,
    so that the same rules hold for an unpacked archive. A repository that ignores the whole folder does not count.
    """
    try:
        answer = git(folder, "rev-parse", "--show-toplevel")
        if b"dubious ownership" in answer.stderr:
            raise SourceError(
                f"{folder} is in a git repository that belongs to another account, whose settings git may not trust. "
                "Run Ansible as that account, or allow the repository with git config --global --add safe.directory "
                f"{repository_of(folder) or folder}."
            )
    except FileNotFoundError:
        if has_ignore_rules(folder):
            raise SourceError(
                f"{folder} has a .gitignore, and reading it needs git on the controller. Install git."
            ) from None
        yield None
        return
    if answer.returncode == 0 and not is_ignored(folder):
        yield []
    elif not has_ignore_rules(folder):
        yield None
    else:
        with tempfile.TemporaryDirectory() as scratch:
            subprocess.run(["git", "init", "-q", scratch], check=True, capture_output=True)
            yield [f"--git-dir={scratch}/.git", f"--work-tree={folder}"]


def is_ignored(folder: Path) -> bool:
    """Whether the repository around a folder ignores all of it, such as a checkout below a folder of build results."""
    return git(folder, "check-ignore", "-q", ".").returncode == 0 and not git(folder, "ls-files").stdout


def git_ls_files(folder: Path, rules: list[str], kinds: list[str]) -> list[str]:
    answer = git(folder, *rules, "ls-files", "-z", *kinds, "--exclude-standard")
    if answer.returncode != 0:
        output = answer.stderr.decode(errors="replace").strip()
        raise SourceError(f"git could not list the files of {folder}. Correct what it says: {output}")
    names = sorted({os.fsdecode(name) for name in answer.stdout.split(b"\0") if name})
    bounds = Bounds(str(folder))
    for name in names:
        bounds.add(name)
    return names


def repository_of(folder: Path) -> Path | None:
    """The folder of the repository that contains a folder."""
    return next((place for place in (folder, *folder.parents) if os.path.lexists(place / ".git")), None)


def trusted(repository: Path | None) -> list[str]:
    """The repository, where it belongs to this account or to root. About any other, git and its user decide."""
    if repository is None:
        return []
    accounts = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdigit():
        accounts.add(int(os.environ["SUDO_UID"]))
    # Where .git is a file, it names a repository elsewhere, which git checks itself.
    metadata = os.lstat(repository / ".git")
    own = stat.S_ISDIR(metadata.st_mode) and {metadata.st_uid, os.stat(repository).st_uid} <= accounts
    return [str(repository)] if own else []


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    settings = [*HARMLESS.items(), *(("safe.directory", place) for place in trusted(repository_of(folder)))]
    return subprocess.run(
        ["git", *(word for name, value in settings for word in ("-c", f"{name}={value}")), *arguments],
        cwd=folder,
        # The variables of a hook that runs Ansible would name another repository.
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | NO_FETCH,
        input=stdin,
        capture_output=True,
        check=False,
    )
