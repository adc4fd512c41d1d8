# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files of a folder for compose, before they are written. Pure."""

from __future__ import annotations

import io
import posixpath
import tarfile
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A file, an empty folder, or a link with its target. ``time`` is the modification time of a file of the source."""

    content: bytes = b""
    mode: int = 0o644
    link: str = ""
    is_folder: bool = False
    time: int | None = None


Tree = dict[str, Entry]


def text(content: str, mode: int = 0o644) -> Entry:
    return Entry(content.encode(), mode)


def unpacked(packed: bytes, prefix: str) -> Tree:
    """The files of a packed source, below a prefix. The collection has packed it, so all names stay inside."""
    tree: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            place = posixpath.join(prefix, member.name)
            if member.isdir():
                tree[place] = Entry(is_folder=True)
            elif member.issym():
                tree[place] = Entry(link=member.linkname)
            elif member.isfile() and (stream := tar.extractfile(member)):
                mode = 0o755 if member.mode & 0o100 else 0o644
                tree[place] = Entry(stream.read(), mode, time=int(member.mtime) or None)
    return tree


def below(tree: Tree, folder: str) -> Tree:
    """The entries of a folder, by their paths in it."""
    return {path.removeprefix(f"{folder}/"): entry for path, entry in tree.items() if path.startswith(f"{folder}/")}


def without(tree: Tree, folder: str) -> Tree:
    """The entries without a folder and all that is in it."""
    return {path: entry for path, entry in tree.items() if path != folder and not path.startswith(f"{folder}/")}
