# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""All files of a folder for compose. Pure."""

from __future__ import annotations

import posixpath
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.dependencies import Dependencies
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.entries import Entry, Tree, below, text, without
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.image import image, tag
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import Order
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.programs import programs
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.services import compose_file
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.site import nginx_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.variables import FILE, env_file


def folder(
    order: Order,
    source: Tree,
    found: Dependencies,
    nginx: list[dict[str, Any]],
    server: list[dict[str, Any]],
    served: list[str],
) -> Tree:
    """The files by their paths in the folder.

    ``source`` are the files of the source, with the prefix current/src. ``nginx`` and ``server`` are the rendered files
    of nginx and of the app server, and ``served`` the folders of the application that nginx reads.
    """
    code, seeds = with_shared(order, {**source, **given_files(order)})
    context = image(order, found)
    rendered = {
        posixpath.relpath(file["path"], order.release): text(str(file["content"]), int(file.get("mode", "0644"), 8))
        for file in server
    }
    return {
        "compose.yaml": text(compose_file(order, tag(order, context), served)),
        FILE: text(env_file(order), 0o600),
        **context,
        **nginx_files(nginx),
        **code,
        **programs(order, seeds, rendered),
    }


def given_files(order: Order) -> Tree:
    """The files of the inventory in the application root."""
    return {
        posixpath.normpath(f"{order.source}/{file['path']}"): text(str(file["content"])) for file in order.app["files"]
    }


def with_shared(order: Order, code: Tree) -> tuple[Tree, set[str]]:
    """The code with links instead of the shared folders, and those of them that the source fills.

    Their content is beside the code, for the first start.
    """
    seeds = set()
    for shared in order.app["shared"]:
        place = posixpath.normpath(f"{order.source}/{shared}")
        content = below(code, place)
        if content or place in code:
            seeds.add(shared)
        code = without(code, place)
        code |= {f"current/seed/{shared}/{path}": entry for path, entry in content.items()}
        if shared in seeds and not content:
            code[f"current/seed/{shared}"] = Entry(is_folder=True)
        code[place] = Entry(link=f"{order.shared}/{shared}")
    return code, seeds
