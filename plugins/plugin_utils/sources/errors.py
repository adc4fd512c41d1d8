# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The error of a source."""

from __future__ import annotations


class SourceError(Exception):
    """A source can't be used; the message names it and says what to do."""
