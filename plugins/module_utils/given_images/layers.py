# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Unpack the layers of an image into a folder. Others have made them, so nothing in them is trusted.

Every path stays inside the folder: links are followed as a program in the image would. Root owns all files. Files with
special rights, devices and the like don't become part of an image.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
import zlib
from typing import IO, Any

from ansible_collections.pyweb.stack.plugins.module_utils.given_images.documents import broken, shown
from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.tar_headers import BoundedInfo, LongHeader
from ansible_collections.pyweb.stack.plugins.module_utils.images import inside
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError

GZIP, ZSTD, XZ, BZIP2 = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh"
BLOCK = 1024**2
# Bytes of the disk that an image leaves free, and the files that it may have.
RESERVE = 128 * 1024**2
MOST_FILES = 1_000_000
# Bytes of an unpacked layer.
LARGEST = 32 * 1024**3
DEEPEST = 100
# Names that stand for removals of files of lower layers.
REMOVED, ALL_REMOVED, NOTES = ".wh.", ".wh..wh..opq", ".wh..wh."
# Its files are the kernel's.
DEVICES = "dev"


class Stream:
    """The unpacked bytes of a layer, with their digest."""

    def __init__(self, packed: IO[bytes], what: str) -> None:
        head = packed.read(6)
        if head.startswith((ZSTD, XZ, BZIP2)):
            raise broken(what, "a layer is not packed with gzip. Set the compression to gzip where the image is built")
        joined: Any = Joined(head, packed)
        self.source: Any = gzip.GzipFile(fileobj=joined, mode="rb") if head.startswith(GZIP) else joined
        self.hash, self.what, self.size = hashlib.sha256(), what, 0

    def read(self, size: int = BLOCK) -> bytes:
        try:
            found: bytes = self.source.read(size)
        except (zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise broken(self.what, "a layer is damaged or incomplete") from error
        self.hash.update(found)
        self.size += len(found)
        if self.size > LARGEST:
            raise broken(self.what, f"a layer has more than {LARGEST // 1024**3} GiB")
        return found

    def digest(self) -> str:
        """The digest of the whole layer, also of the bytes after its last file."""
        while self.read():
            pass
        return f"sha256:{self.hash.hexdigest()}"


class Joined:
    """A stream with bytes that were read before."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self.head, self.rest = head, rest

    def read(self, size: int = BLOCK) -> bytes:
        if self.head:
            found, self.head = self.head[:size], self.head[size:]
            return found
        return self.rest.read(size)


class Unpacking:
    """The root file system of an image while its layers are unpacked, the lowest first."""

    def __init__(self, top: int, what: str) -> None:
        self.top, self.what = top, what
        self.files = self.unchecked = 0
        # The paths that the current layer has written.
        self.written: set[str] = set()
        # The last folder of a layer, and where it is when the links on its path are followed.
        self.last: tuple[list[str], tuple[str, ...]] | None = None

    def add(self, packed: IO[bytes], digest: str) -> None:
        """Unpack one layer; refuse one whose unpacked content has another digest."""
        self.written = set()
        stream = Stream(packed, self.what)
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=tarfile.RECORDSIZE, tarinfo=BoundedInfo) as archive:  # type: ignore[call-overload]
                for member in archive:
                    self.write(archive, member)
        except (tarfile.TarError, UnicodeError, OverflowError) as error:
            raise broken(self.what, "a layer is no tar archive, or is damaged") from error
        except LongHeader as error:
            raise broken(self.what, f"of a layer, {error}") from error
        if stream.digest() != digest:
            raise broken(self.what, f"a layer does not have the digest {digest} that the image says")

    def write(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self.files += 1
        if self.files > MOST_FILES:
            raise ImageError(
                f"{self.what} has more than {MOST_FILES} files. Remove what the application does not need."
            )
        names = self.names_of(member.name)
        if not names:
            return
        base = names[-1]
        if base.startswith(REMOVED):
            self.remove_lower(names)
        elif names[0] == DEVICES and not member.isdir():
            return
        elif member.isdir() or member.isreg() or member.issym() or member.islnk():
            place = (*self.folder_of(names), base)
            folder = self.opened(place[:-1])
            try:
                self.put(archive, member, folder, place)
            finally:
                os.close(folder)
            self.written.add("/".join(place))
        else:
            raise self.refused(member.name, "which is neither a file, a folder nor a link")

    def folder_of(self, names: list[str]) -> tuple[str, ...]:
        """The real folder of an entry. Most entries are in the folder of the one before."""
        if self.last is None or self.last[0] != names[:-1]:
            self.last = names[:-1], inside.followed(self.top, "/".join(names[:-1]))
        return self.last[1]

    def opened(self, names: tuple[str, ...]) -> int:
        try:
            return trees.open_below(self.top, names, create=True)
        except NotADirectoryError:
            raise self.refused("/".join(names), "which is a folder and a file") from None

    def names_of(self, path: str) -> list[str]:
        """The names of a path in a layer; none for the top."""
        if path.strip("/") == "":
            return []
        names = [name for name in path.split("/") if name not in ("", ".")]
        if path.startswith("/") or ".." in names:
            raise self.refused(path, "which is outside of the image")
        if len(names) > DEEPEST:
            raise self.refused(path, f"which is more than {DEEPEST} folders deep")
        return names

    def refused(self, path: str, why: str) -> ImageError:
        return ImageError(f"{self.what} has '{shown(path)}', {why}. Remove it from the image, or choose another one.")

    def put(self, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: int, place: tuple[str, ...]) -> None:
        """Write one entry of a layer over what lower layers have there."""
        name = place[-1]
        before = status_at(folder, name)
        if member.isdir() and before is not None and stat.S_ISDIR(before.st_mode):
            return
        if before is not None and not self.is_itself(member, place):
            trees.remove(name, folder=folder)
            self.last = None
        if member.isdir():
            os.mkdir(name, 0o755, dir_fd=folder)
        elif member.issym():
            self.link(member, folder, name)
        elif member.islnk():
            self.link_again(member, folder, place)
        else:
            self.copy(archive, member, folder, name)

    def is_itself(self, member: tarfile.TarInfo, place: tuple[str, ...]) -> bool:
        """Whether an entry is a hard link to its own path."""
        return member.islnk() and self.target_of(member) == place

    def link(self, member: tarfile.TarInfo, folder: int, name: str) -> None:
        if not member.linkname or "\0" in member.linkname or len(member.linkname) > 4095:
            raise self.refused(member.name, "which is a link without a usable target")
        os.symlink(member.linkname, name, dir_fd=folder)
        self.last = None

    def target_of(self, member: tarfile.TarInfo) -> tuple[str, ...]:
        return inside.followed(self.top, "/".join(self.names_of(member.linkname)), last=False)

    def link_again(self, member: tarfile.TarInfo, folder: int, place: tuple[str, ...]) -> None:
        """Give a file of the image a second name."""
        target = self.target_of(member)
        if target == place:
            return
        missing = self.refused(member.name, f"a hard link to '{shown(member.linkname)}', which is no file of the image")
        try:
            source = trees.open_below(self.top, target[:-1])
        except OSError:
            raise missing from None
        try:
            status = status_at(source, target[-1]) if target else None
            if status is None or not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
                raise missing
            os.link(target[-1], place[-1], src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(source)

    def copy(self, archive: tarfile.TarFile, member: tarfile.TarInfo, folder: int, name: str) -> None:
        content = archive.extractfile(member)
        assert content is not None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(name, flags, 0o600, dir_fd=folder)
        with open(target, "wb") as stream:
            while block := content.read(BLOCK):
                self.check_space(len(block))
                stream.write(block)
            stream.flush()
            os.fchmod(target, mode_of(member))
            # The interpreter compares it with the times in compiled files.
            when = max(0, min(int(member.mtime), 2**33))
            os.utime(target, (when, when))

    def check_space(self, size: int) -> None:
        """Stop before the disk is full."""
        self.unchecked += size
        if self.unchecked < 16 * BLOCK and self.files % 1000:
            return
        self.unchecked = 0
        disk = os.fstatvfs(self.top)
        if disk.f_bavail * disk.f_frsize < RESERVE:
            raise ImageError(
                f"the disk is almost full while {self.what} is unpacked. Make room. What was unpacked is removed."
            )

    def remove_lower(self, names: list[str]) -> None:
        """Remove what the name of an entry says, unless this layer itself has written it."""
        base, self.last = names[-1], None
        place = inside.followed(self.top, "/".join(names[:-1]))
        try:
            folder = trees.open_below(self.top, place)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            if base == ALL_REMOVED:
                gone = os.listdir(folder)
            elif base.startswith(NOTES):
                return
            else:
                gone = [base[len(REMOVED) :]]
            if gone in ([""], ["."], [".."]):
                raise self.refused("/".join(names), "which removes no file of a lower layer")
            for name in gone:
                self.remove_unless_written(folder, (*place, name))
        finally:
            os.close(folder)

    def remove_unless_written(self, folder: int, place: tuple[str, ...]) -> None:
        path = "/".join(place)
        if path in self.written:
            return
        if not any(one.startswith(f"{path}/") for one in self.written):
            trees.remove(place[-1], folder=folder)
            return
        # A folder in which this layer has written: only the rest of it is of lower layers.
        below = trees.open_below(folder, place[-1:])
        try:
            for name in os.listdir(below):
                self.remove_unless_written(below, (*place, name))
        finally:
            os.close(below)


def status_at(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def mode_of(member: tarfile.TarInfo) -> int:
    """The mode of a file: root alone can write it, and it has no special rights.

    Files of another account than root are readable, because the account of the application is none of the image.
    """
    mode = member.mode & 0o755
    if member.uid != 0:
        mode |= 0o444 | (0o111 if mode & 0o111 else 0)
    return mode
