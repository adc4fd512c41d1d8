# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Tar archives of others: their headers are read only if they are short."""

from __future__ import annotations

import tarfile

# Bytes of a header that holds a long name or the attributes of a member. tar reads it as a whole.
LONGEST_HEADER = 1024**2
HEADERS = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)


class LongHeader(Exception):
    """A header would take too much memory."""


class BoundedInfo(tarfile.TarInfo):
    """A member whose header is not read if it is too long."""

    # The one way into a member that every Python has. Since 3.13, tarfile no longer calls ``frombuf``.
    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in HEADERS and self.size > LONGEST_HEADER:
            raise self.too_long(self.size)
        found: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return found

    @classmethod
    def too_long(cls, size: int) -> Exception:
        """The exception for a header of this many bytes."""
        return LongHeader(f"a header has {size} bytes, and {LONGEST_HEADER} are allowed")
