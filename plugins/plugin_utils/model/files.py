# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files that the inventory puts into a release, such as settings with secrets."""

from __future__ import annotations

import json
import posixpath
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.paths import is_inside, nested
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, kind

# Bytes of one file and of all files of an application. They are sent with every deployment.
MOST_BYTES = 256 * 1024
MOST_TOTAL = 1024 * 1024


def check_files(checker: Checker, app: dict[str, Any], where: str) -> None:
    """Report the problems of the files, and turn their contents into texts. No message shows a content."""
    total = 0
    for file in app["files"]:
        place = f"{where} '{file['path']}'"
        if not is_inside(file["path"]) or file["path"].endswith("/"):
            checker.problem(
                place, "this is not a file inside the application root. Set a relative path, such as config/prod.toml."
            )
            continue
        file["path"] = posixpath.normpath(file["path"])
        file["content"], problem = text_of(file["path"], file["content"])
        size = len(file["content"].encode(errors="replace"))
        total += size
        if size > MOST_BYTES:
            problem = f"the content has {size} bytes, but a file of the inventory may have {MOST_BYTES}. Shorten it."
        if problem:
            checker.problem(f"{place}.content", problem)
        for problem in place_problems(app, file["path"]):
            checker.problem(place, problem)
    if total > MOST_TOTAL:
        checker.problem(where, f"the contents have {total} bytes together, but may have {MOST_TOTAL}. Shorten them.")
    for outer, inner in nested([file["path"] for file in app["files"]]):
        checker.problem(
            where,
            f"'{inner}' is listed twice. Remove one of the entries."
            if inner == outer
            else f"'{inner}' is below '{outer}', which is a file. Correct one of the paths.",
        )


def text_of(path: str, content: Any) -> tuple[str, str]:
    """The content of a file as text, and what is wrong with it. Ansible turns some templates of JSON into mappings."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, (dict, list)) and path.endswith(".json"):
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n", ""
    return "", (
        f"this is {kind(content)}, but the content of a file is a text. Write it as a text; only a .json file may have "
        "a mapping or a list."
    )


def place_problems(app: dict[str, Any], path: str) -> list[str]:
    """Places at which the file would not be in the release, or not be private."""
    for shared in app["shared"]:
        if f"{path}/".startswith(f"{shared}/"):
            return [f"this is in the shared folder '{shared}', which belongs to no release. Choose another folder."]
        if shared.startswith(f"{path}/"):
            return [f"this is a folder of the release, because '{shared}' is shared. Choose another name."]
    for item in app["site"]["static"]:
        folder = posixpath.normpath(item["path"].strip("/") or ".")
        if not item.get("package") and (folder == "." or f"{path}/".startswith(f"{folder}/")):
            return [f"this is in the static folder of '{item['url']}', which nginx publishes. Choose another folder."]
    return []
