# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Symbolic links in what nginx serves. It follows a link only if the link and its target have the same owner. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import quote


def link_line(site: dict[str, Any], folder: str) -> str:
    """The directive for files below a folder.

    The folder itself may be reached by links: it was named by the operator. Only for applications, which could put a
    link there themselves, the check begins at ``links_root``.

    Debian's module for FILE.br gives nginx a path that is three bytes too long. If these bytes happen to contain a
    slash, the check fails, and nginx sends FILE.gz or compresses FILE itself. So it never sends a file unchecked.
    """
    folder = folder.rstrip("/")
    root = (site["links_root"] or "").rstrip("/")
    start = root if root and folder.startswith(f"{root}/") else folder
    return f"disable_symlinks if_not_owner{' ' + quote(f'from={start}') if start else ''};"
