# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A folder on the controller as the source of a release: its files, their fingerprint, one archive of them."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.module_utils.host.links import first_outward
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.bounds import DEEPEST, REMEDY, Bounds, TooLarge
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.listing import (
    ALWAYS_LEFT_OUT,
    listed_by_git,
    listed_by_walk,
)


def source_files(folder: Path, depth: int = 0) -> list[str]:
    """The files of a source, relative to it and sorted, without what its .gitignore files name."""
    if depth > DEEPEST:
        raise TooLarge(f"{folder} is a repository inside more than {DEEPEST} others. {REMEDY}")
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
            names += [os.path.join(name, inner) for inner in source_files(folder / name, depth + 1)]
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


def opened(path: Path) -> io.BufferedReader:
    """A file of a source, open for reading. Raises SourceError for anything without content, or that can't be read."""
    try:
        stream = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115  # returned
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise no_content(path) from None
        raise SourceError(
            f"{path} can't be read: {error.strerror}. Correct its mode, or name it in .gitignore."
        ) from None
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise no_content(path)
    return stream


def no_content(path: Path) -> SourceError:
    return SourceError(
        f"{path} is neither a file, a folder nor a link, so it can't be part of a release. Remove it or name it in "
        ".gitignore."
    )


def check_links(folder: Path, names: list[str], source: str) -> None:
    """Refuse links out of the source: on the host, they would lead to files of others. Raises SourceError."""
    links = {tuple(name.split("/")): os.readlink(folder / name) for name in names if (folder / name).is_symlink()}
    outward = first_outward(links)
    if outward:
        raise SourceError(
            f"{source} has the link '{'/'.join(outward)}', which leads to '{links[outward]}', outside of the source. "
            "Replace it by a copy of its target, or leave it out (of source.path: by .gitignore). For a folder of the "
            "host that outlives releases, such as uploads, use shared."
        )


def fingerprint(folder: Path, names: list[str]) -> str:
    """One digest of the names, contents, link targets and executable bits. Times and owners don't count."""
    total, bounds = hashlib.sha256(), Bounds(str(folder))
    for name in names:
        path = folder / name
        if path.is_symlink():
            mark, content = b"l", hashlib.sha256(os.fsencode(os.readlink(path)))
        else:
            with opened(path) as stream:
                status = os.fstat(stream.fileno())
                bounds.add(name, status.st_size)
                mark = b"x" if status.st_mode & stat.S_IXUSR else b"f"
                content = hashlib.file_digest(stream, "sha256")
        total.update(mark + os.fsencode(name) + b"\0" + content.digest())
    return total.hexdigest()


def archive(folder: Path, names: list[str], source: str = "", added: dict[str, bytes] | None = None) -> bytes:
    """A compressed tar archive of the files, owned by root, with their times. ``source`` is a name for messages.

    ``added`` are further files. They replace those of the same names.
    """
    check_links(folder, names, source or str(folder))
    buffer, bounds = io.BytesIO(), Bounds(str(folder))
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=3, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as tar,
    ):
        for name, content in (added or {}).items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
        for name in (name for name in names if name not in (added or {})):
            path = folder / name
            member = tarfile.TarInfo(name)
            if path.is_symlink():
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
                tar.addfile(member)
                continue
            with opened(path) as stream:
                status = os.fstat(stream.fileno())
                bounds.add(name, status.st_size)
                member.size = status.st_size
                # nginx makes the ETag of a static file from its time and size.
                member.mtime = int(status.st_mtime)
                member.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
                tar.addfile(member, stream)
    return buffer.getvalue()
