# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The version that a repository gives to a project. Hosts get no repository, so the source gets it as a file.

``git archive`` writes the same file, ``.git_archival.txt``. setuptools-scm, and hatch-vcs with it, read it.
"""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
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


def of_commit(repository: Repository, commit: str, folder: Path, subdir: str) -> dict[str, bytes]:
    """The same for a commit, whose files are in a folder. The tags and the history of the repository are fetched."""
    if not asks_repository(folder, subdir):
        return {}
    doing = "reading the tags of the repository"
    with repository.locked():
        whole = ["--unshallow"] if (repository.mirror / "shallow").exists() else []
        wanted = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        options = ["--quiet", *whole, *repository.upload_pack()]
        repository.git("fetch", *options, "--", repository.url, *wanted, doing=doing, cwd=repository.mirror)
        try:
            described = repository.git(*DESCRIBE, commit, doing=doing, cwd=repository.mirror)
        except SourceError:
            # No tag leads to the commit.
            return {}
    return files_for(folder, subdir, archival(described))
