# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Pointers of git-lfs: small texts instead of large files, where git-lfs has not fetched these."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable

from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError

START = b"version https://git-lfs.github.com/spec/v1\n"
# Bytes. The specification of git-lfs allows no longer pointer.
LONGEST = 1024
MOST_NAMES = 5


class Pointers:
    """The pointers among the files of a source. One that visitors would get is refused; others are announced."""

    def __init__(self, source: str, remedy: str, served: Iterable[str] = ()) -> None:
        self.source, self.remedy = source, remedy
        self.served = [f"{place}/" for place in served]
        self.found: set[str] = set()

    def see(self, name: str, stream: io.BufferedReader) -> None:
        """Look at one file; raises SourceError."""
        if not stream.peek(len(START)).startswith(START) or os.fstat(stream.fileno()).st_size > LONGEST:
            return
        if any(name.startswith(place) for place in self.served):
            raise SourceError(
                f"{self.source} has '{name}', which nginx would serve. It is a pointer of git-lfs instead of the file. "
                f"{self.remedy}"
            )
        self.found.add(name)

    def notes(self) -> list[str]:
        """The announcement of the pointers; empty where there are none."""
        if not self.found:
            return []
        names = sorted(self.found)
        shown = ", ".join(f"'{name}'" for name in names[:MOST_NAMES])
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        return [f"{self.source} has pointers of git-lfs instead of the files: {shown}{more}. {self.remedy}"]
