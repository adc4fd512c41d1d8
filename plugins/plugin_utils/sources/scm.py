# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The version that a repository gives to a project. Hosts get no repository, so the source gets it as a file.

``git archive`` writes the same file, ``.git_archival.txt``. setuptools-scm, and hatch-vcs with it, read it.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import FetchError, SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import opened
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.listing import git

ARCHIVAL = ".git_archival.txt"
PROJECT_FILES = ("pyproject.toml", "setup.cfg", "setup.py")
TOOLS = re.compile(rb"setuptools[-_]scm|hatch-vcs|vcs-versioning")
DESCRIBED = re.compile(r"[^\s]*\d[^\s]*-\d+-g[0-9a-f]{7,40}")
DESCRIBE = ("describe", "--tags", "--long", "--match", "*[0-9]*")
# Bytes of a file that describes a project.
MOST_BYTES = 256 * 1024


def asks_repository(folder: Path, subdir: str) -> bool:
    """Whether the project in a source takes its version from the repository."""
    for place in {folder, folder / subdir}:
        for name in PROJECT_FILES:
            if not (place / name).is_symlink() and (place / name).is_file():
                with opened(place / name) as stream:
                    if TOOLS.search(stream.read(MOST_BYTES)):
                        return True
    return False


def archival(described: str) -> bytes:
    """The text of the file, for the answer of ``git describe --long``; empty for no tag."""
    found = described.strip()
    if not DESCRIBED.fullmatch(found):
        return b""
    return f"node: {found.rpartition('-g')[2]}\ndescribe-name: {found}\n".encode()


def files_for(folder: Path, subdir: str, text: bytes) -> dict[str, bytes]:
    """The files to add to a source: at the top, and beside the project."""
    found = {ARCHIVAL, f"{subdir.strip('/')}/{ARCHIVAL}".lstrip("/")} if (folder / subdir).is_dir() else {ARCHIVAL}
    return dict.fromkeys(sorted(found), text) if text else {}


def of_folder(folder: Path, subdir: str) -> dict[str, bytes]:
    """The files that a folder on the controller needs for its version, by their names; empty if it needs none."""
    if not asks_repository(folder, subdir):
        return {}
    try:
        answer = git(folder, *DESCRIBE)
    except FileNotFoundError:
        return {}
    return files_for(folder, subdir, archival(answer.stdout.decode(errors="replace")))


def described(repository: Repository, commit: str, version: str, subdir: str) -> str:
    """The answer of ``git describe`` for a commit whose project takes its version from the repository; else empty.

    The server lists its tags. The tags and the history are fetched only if this list has changed. If the server can't
    be reached and the commit was never fetched, nothing is known of the project: fetching its files fails later.
    """
    try:
        if not (repository.mirror / "HEAD").exists() or not repository.has_commit(commit):
            with repository.locked():
                repository.prepare()
                repository.fetch(commit, version)
    except FetchError:
        return ""
    if not asks_at(repository, commit, subdir):
        return ""
    doing = f"reading the tags of {redacted(repository.url)}"
    listed = repository.git("ls-remote", "--tags", *repository.upload_pack(), "--", repository.url, doing=doing)
    key = hashlib.sha256(f"{commit} {listed}".encode()).hexdigest()
    note = repository.mirror / "pyweb-described" / commit
    with repository.locked():
        known = note.read_text(encoding="utf-8").split("\n") if note.exists() else [""]
        if known[0] != key:
            whole = ["--unshallow"] if (repository.mirror / "shallow").exists() else []
            options = ["--quiet", *whole, *repository.upload_pack()]
            wanted = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
            repository.git(
                "fetch", "--prune", *options, "--", repository.url, *wanted, doing=doing, cwd=repository.mirror
            )
            try:
                answer = repository.git(*DESCRIBE, commit, doing=doing, cwd=repository.mirror).strip()
            except SourceError:
                # No tag leads to the commit.
                answer = ""
            known = [key, answer]
            note.parent.mkdir(exist_ok=True)
            note.write_text("\n".join(known), encoding="utf-8")
    return known[1]


def asks_at(repository: Repository, commit: str, subdir: str) -> bool:
    """Whether the project in a commit of the mirror takes its version from the repository."""
    places = {"", f"{subdir.strip('/')}/" if subdir.strip("/") else ""}
    paths = [f"{place}{name}" for place in sorted(places) for name in PROJECT_FILES]
    answer = subprocess.run(
        ["git", "--literal-pathspecs", "grep", "-q", "-a", "-E", TOOLS.pattern.decode(), commit, "--", *paths],
        cwd=repository.mirror,
        env=repository.environment(repository.mirror),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return answer.returncode == 0
