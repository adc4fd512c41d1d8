# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Addresses of sources, and texts about them that hold no credentials."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit


def redacted(text: str) -> str:
    """A text without the credentials in its addresses: accounts and signed queries."""
    # A password may contain '/' or '@' that should have been encoded. A port is not treated as a password.
    text = re.sub(r"(?<=://)(?:[^\s/:'\"]*:(?!\d+/)[^\s'\"]*|[^\s/'\"]*)@", "***@", text)
    return re.sub(r"(://[^\s?'\"]*\?)[^\s'\"]+", r"\1***", text)


def is_address(name: str) -> bool:
    return re.match(r"https?://", name, re.IGNORECASE) is not None


def archive_name(name: str) -> str:
    """The name of an archive in messages, without the credentials of its address."""
    return os.path.basename(urlsplit(redacted(name)).path if is_address(name) else name) or "archive"
