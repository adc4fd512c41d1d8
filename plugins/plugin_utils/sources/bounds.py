# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Limits of a source: far more than any application has, and less than a disk or the memory of the controller."""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError

MOST_FILES = 200_000
MOST_BYTES = 4 * 1024**3
DEEPEST = 100
# A compressed archive may become this much larger, and any may have this many bytes.
MOST_RATIO = 200
SMALL = 100 * 1024**2


class TooLarge(SourceError):
    """A source goes beyond a limit."""


@dataclass
class Bounds:
    """The files and bytes that a source may still have. ``source`` is its name in messages."""

    source: str
    files: int = field(default_factory=lambda: MOST_FILES)
    size: int = field(default_factory=lambda: MOST_BYTES)

    def add(self, name: str, size: int = 0) -> None:
        """Count one file; raises TooLarge."""
        self.files -= 1
        self.size -= size
        if self.files < 0:
            raise TooLarge(f"{self.source} has more than {MOST_FILES} files. {REMEDY}")
        if self.size < 0:
            raise TooLarge(f"{self.source} has more than {MOST_BYTES // 1024**3} GiB, with '{name}'. {REMEDY}")
        if name.count("/") > DEEPEST:
            raise TooLarge(f"{self.source} has folders that are more than {DEEPEST} deep. {REMEDY}")


REMEDY = "Leave out what the application does not need."
