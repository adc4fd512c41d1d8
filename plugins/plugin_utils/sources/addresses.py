# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Addresses of sources."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted


def is_address(name: str) -> bool:
    return re.match(r"https?://", name, re.IGNORECASE) is not None


def archive_name(name: str) -> str:
    """The name of an archive in messages, without the credentials of its address."""
    return os.path.basename(urlsplit(redacted(name)).path if is_address(name) else name) or "archive"
