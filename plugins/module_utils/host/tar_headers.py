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

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> BoundedInfo:
        found = super().frombuf(buf, encoding, errors)
        if found.type in HEADERS and found.size > LONGEST_HEADER:
            raise cls.too_long(found.size)
        return found

    @classmethod
    def too_long(cls, size: int) -> Exception:
        """The exception for a header of this many bytes."""
        return LongHeader(f"a header has {size} bytes, and {LONGEST_HEADER} are allowed")
