# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The keys of a source: its address, and whether it is an image."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted


def is_given(source: Mapping[str, Any] | None) -> bool:
    """Whether a source is an image, or becomes one on the controller."""
    return bool(source and (source.get("image") or source.get("containerfile")))


def source_of(app: Mapping[str, Any]) -> dict[str, Any]:
    """The source of an application, with the Containerfile of an image for its code as ``environment``."""
    if not has_environment(app):
        return dict(app["source"])
    return {
        **app["source"],
        "environment": {key: app["container"][key] for key in ("containerfile", "context", "platform")},
    }


def has_environment(app: Mapping[str, Any]) -> bool:
    """Whether the code of an application runs in an image that the controller builds for it."""
    return app.get("runtime") == "container" and bool((app.get("container") or {}).get("containerfile"))


def is_complete(app: Mapping[str, Any]) -> bool:
    """Whether the image of an application has its packages already, and its app server."""
    return is_given(app.get("source")) or has_environment(app)


def is_address(name: str) -> bool:
    return re.match(r"https?://", name, re.IGNORECASE) is not None


def archive_name(name: str) -> str:
    """The name of an archive in messages, without the credentials of its address."""
    return os.path.basename(urlsplit(redacted(name)).path if is_address(name) else name) or "archive"
