# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The error of a source."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import printable


class SourceError(Exception):
    """A source can't be used; the message names it and says what to do.

    It is printable, because names of files and messages of servers are chosen by others.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class FetchError(SourceError):
    """A source can't be fetched now. The inventory may be right, so only the application of this source is left out."""
