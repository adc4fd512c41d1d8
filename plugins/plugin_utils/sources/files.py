# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A folder on the controller as the source of a release: its files, their fingerprint, one archive of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.listing import (
    ALWAYS_LEFT_OUT,
    listed_by_git,
    listed_by_walk,
)


def source_files(folder: Path) -> list[str]:
    """The files of a source, relative to it and sorted, without what its .gitignore files name."""
    listed = listed_by_git(folder)
    if listed is None:
        listed = listed_by_walk(folder)
    wanted = [name for name in listed if not ALWAYS_LEFT_OUT.intersection(name.split("/"))]
    names: list[str] = []
    for name in wanted:
        # Git lists what it tracks below a folder that is a link now. A link is never followed.
        if is_behind_link(folder, name) or not os.path.lexists(folder / name):
            continue
        if not stat.S_ISDIR(os.lstat(folder / name).st_mode):
            names.append(name)
        # A folder in git's list is another repository inside this one. Git does not list its files.
        elif (folder / name / ".git").exists():
            names += [os.path.join(name, inner) for inner in source_files(folder / name)]
        elif not os.listdir(folder / name):
            raise SourceError(
                f"{folder / name} is a submodule that is not checked out. Run git submodule update --init in {folder}."
            )
    return sorted(names)


def is_behind_link(folder: Path, name: str) -> bool:
    """Whether a folder on the path of a file is a link."""
    parts = name.split("/")[:-1]
    return any(os.path.islink(folder.joinpath(*parts[:depth])) for depth in range(1, len(parts) + 1))


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a path stays in the folder when every link in it is followed."""
    return path.resolve().is_relative_to(folder.resolve())


def regular_bytes(path: Path) -> bytes:
    """The content of a file. Raises SourceError for anything without content, and for an unreadable file."""
    if not path.is_file():
        raise SourceError(
            f"{path} is neither a file, a folder nor a link, so it can't be part of a release. Remove it or name it in "
            ".gitignore."
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"{path} can't be read: {error.strerror}. Correct its mode, or name it in .gitignore."
        ) from None


def fingerprint(folder: Path, names: list[str]) -> str:
    """One digest of the names, contents, link targets and executable bits. Times and owners don't count."""
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
