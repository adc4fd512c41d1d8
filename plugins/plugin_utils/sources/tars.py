# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Open tar archives with bounds: for what is read into memory, and for what is decompressed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from ansible_collections.pyweb.stack.plugins.module_utils.host import tar_headers
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.bounds import MOST_RATIO, REMEDY
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError

# How often an archive is read from its start: for the list, for the content, and for members that repeat others.
PASSES = 4

COMPRESSIONS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open), (b"]\x00\x00", lzma.open))


class BombError(SourceError):
    """An archive would take too much memory or time. The message does not name it."""


class BoundedSource(tar_headers.BoundedInfo):
    """A member whose header is not read if it is too long, with the remedy for sources."""

    @classmethod
    def too_long(cls, size: int) -> Exception:
        return BombError(
            f"it has a header of {size} bytes; {tar_headers.LONGEST_HEADER} are allowed. Make the archive again with "
            "GNU tar or git archive."
        )


class Counted:
    """A decompressed file that may be read for a number of bytes. To go back, it has to be read from its start."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self.stream, self.left = stream, most

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.spend(len(data))
        return data

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET:
            raise OSError("a compressed file is read from its start")
        at = self.stream.tell()
        self.spend(place - at if place >= at else place)
        return self.stream.seek(place)

    def tell(self) -> int:
        return self.stream.tell()

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise BombError(
                f"it unpacks to more than {MOST_RATIO} times its own size, or its members are in an order that takes "
                f"very long. {REMEDY}"
            )


@contextmanager
def open_tar(path: Path, most: int) -> Iterator[tarfile.TarFile | None]:
    """A tar archive with any compression; None for a file of another format. ``most`` bytes may be in its files."""
    with open(path, "rb") as raw:
        start = raw.read(8)
        raw.seek(0)
        opener = next((one for magic, one in COMPRESSIONS if start.startswith(magic)), None)
        stream: Any = raw
        if opener:
            stream = Counted(cast(IO[bytes], cast(Any, opener)(raw)), PASSES * most)
        try:
            tar = tarfile.TarFile(name=str(path), fileobj=stream, tarinfo=BoundedSource)
        except (tarfile.ReadError, EOFError, lzma.LZMAError, gzip.BadGzipFile):
            tar = None
        except OSError:  # damaged bz2
            tar = None
        try:
            yield tar
        finally:
            if tar:
                tar.close()
