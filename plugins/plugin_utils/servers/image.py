# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The command of an image as the server of an application. It has no settings and no role. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NAME = "image"
# Settings that our own entry module or an app server of ours apply.
OF_SERVERS = {"proxy_fix": "Let the program itself read the headers X-Forwarded-For and X-Forwarded-Proto."}


def protocol(_app: dict[str, Any]) -> str:
    return "http"


def entry(_app: dict[str, Any]) -> dict[str, Any]:
    """The command calls no callable, so nothing wraps one."""
    return {"prefix": False}


def requirements_of(_app: dict[str, Any], _requirement: str) -> list[str]:
    return []


def wrong_settings(app: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys of an application that its server can't have, each with the text."""
    source = app["source"] or {}
    if not (source.get("image") or source.get("containerfile")):
        yield (
            "server",
            "'image' is the command of an image, but neither source.image nor source.containerfile is set. Choose "
            "gunicorn, or set one of them.",
        )
    for key, remedy in OF_SERVERS.items():
        if app[key]:
            yield key, f"it does not apply to the command of an image. Remove it. {remedy}"
