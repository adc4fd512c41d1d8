# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for the keys of an application's source. A later step checks that the source exists."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.given_images import references
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.paths import is_inside
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.host_keys import problem_of_key, server_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.requirement import is_requirement
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

# The kinds of source, and the meaning of each.
SOURCES = {
    "git": "a repository",
    "path": "a folder on the controller",
    "archive": "a file on the controller or an address",
    "package": "a requirement from the package index",
    "image": "an image of a registry, or its archive on the controller",
}
# Keys of a source that belong to some kinds only.
SOURCE_OPTIONS = {
    "version": ("git",),
    "key": ("git",),
    "host_key": ("git",),
    "checksum": ("archive",),
    "subdir": ("git", "path", "archive", "image"),
    "containerfile": ("git", "path"),
    "context": ("git", "path"),
    "platform": ("git", "path"),
    "registry": ("image",),
    "include": ("path",),
}


def check_source(checker: Checker, source: dict[str, Any], where: str) -> None:
    given = [key for key in SOURCES if source.get(key)]
    if not given:
        listed = ", ".join(f"{key} ({meaning})" for key, meaning in SOURCES.items())
        checker.problem(where, f"there is no source. Set one of: {listed}.")
    elif len(given) > 1:
        checker.problem(
            where,
            f"{' and '.join(given)} are given together, but an application has one source. Keep one of them.",
        )
    for key, kinds in SOURCE_OPTIONS.items():
        if source.get(key) and len(given) == 1 and given[0] not in kinds:
            checker.problem(
                f"{where}.{key}",
                f"{option(key, source[key])} does not apply to {given[0]}, only to {', '.join(kinds)}. Remove it.",
            )
    subdir = source.get("subdir") or ""
    if subdir and (subdir.startswith("/") or ".." in subdir.split("/")):
        checker.problem(
            f"{where}.subdir", f"'{subdir}' is outside the source. Set a path inside it, such as 'backend'."
        )
    for path in source.get("include") or []:
        if not is_inside(path):
            checker.problem(
                f"{where}.include", f"'{path}' is not a path inside the source. Set a relative path, such as '.env'."
            )
    for key in ("git", "version"):
        text = source.get(key) or ""
        if text.startswith("-") or re.search(r"[\x00-\x20]", text):
            checker.problem(
                f"{where}.{key}",
                f"'{shown(text)}' contains whitespace or begins with '-'. Remove the whitespace and the leading '-'.",
            )
    check_host_keys(checker, source, f"{where}.host_key")
    check_image(checker, source, where)
    if source.get("containerfile") and source.get("include"):
        checker.problem(
            f"{where}.include",
            "it does not apply to source.containerfile: a build reads the whole folder. Remove it, and list what no "
            "build should read in .dockerignore.",
        )
    if source.get("package") and not is_requirement(source["package"]):
        checker.problem(f"{where}.package", f"'{source['package']}' is not a requirement. Write it as 'shop==1.4.2'.")


def option(key: str, value: Any) -> str:
    """The value of an option in messages. A login is not shown."""
    return "it" if key == "registry" else f"'{value}'"


def check_image(checker: Checker, source: dict[str, Any], where: str) -> None:
    image, registry = source.get("image"), source.get("registry") or {}
    if not image:
        return
    if references.is_archive(image):
        if registry:
            checker.problem(
                f"{where}.registry", f"it does not apply to the archive '{image}', which no registry sends. Remove it."
            )
        return
    problem = references.parsed(image)[1]
    if problem:
        checker.problem(f"{where}.image", problem)
    if bool(registry.get("username")) != bool(registry.get("password")):
        given, missing = ("username", "password") if registry.get("username") else ("password", "username")
        checker.problem(f"{where}.registry", f"there is a {given} without a {missing}. Set both, or remove it.")


def shown(address: str) -> str:
    """An address without credentials, which may contain whitespace."""
    return re.sub(r"://.*@", "://***@", address, flags=re.DOTALL)


def check_host_keys(checker: Checker, source: dict[str, Any], where: str) -> None:
    keys, address = source.get("host_key"), source.get("git")
    if keys is None or not address:
        return
    if not keys:
        checker.problem(where, "the list is empty. List the public keys of the server, or leave it out.")
    elif not server_of(address)[0]:
        checker.problem(
            where,
            f"source.git '{shown(address)}' is no address for ssh, so no host key is checked. Use an address such as "
            "git@server:path, or remove host_key.",
        )
    for number, key in enumerate(keys):
        if problem := problem_of_key(key):
            checker.problem(f"{where}[{number}]", f"'{key}' {problem}")
