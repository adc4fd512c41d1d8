# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The keys ``runtime`` and ``container`` of an application. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.paths import is_inside
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import (
    has_environment,
    is_complete,
    is_given,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

# The name of a suite, and of a package, as Debian allows them. To apt, a dash at the end means to remove a package.
BASE = re.compile(r"[a-z][a-z0-9.-]{1,30}")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+]")
# The settings by which the packages of an application are chosen.
OF_BUILDS = {
    "container": ("base", "packages", "containerfile", "context", "platform"),
    "python": ("interpreter", "requirements", "packages", "extras", "groups", "index_url", "extra_index_urls"),
}
PLATFORM = re.compile(r"linux/[a-z0-9]+(?:/[a-z0-9]+)?")
# The only interpreter of an image.
INTERPRETER = "python3"


def check_container(checker: Checker, app: dict[str, Any], where: str) -> None:
    """Report the problems of an application that runs in a container."""
    base = app["container"]["base"]
    if base and not BASE.fullmatch(base):
        checker.problem(
            f"{where}.container.base",
            f"'{base}' is not the name of a suite. Write one such as bookworm or trixie.",
        )
    for package in app["container"]["packages"]:
        if not PACKAGE.fullmatch(package):
            checker.problem(
                f"{where}.container.packages",
                f"'{package}' is not the name of a Debian package. Write names such as libpq5, without versions.",
            )
    check_containerfile(checker, app["container"], f"{where}.container")
    check_containerfile(checker, app["source"] or {}, f"{where}.source")
    if is_given(app["source"]):
        # An image has no other place to run in.
        app["runtime"] = "container"
        check_given(checker, app, where)
    elif has_environment(app):
        check_environment(checker, app, where)
    if app["runtime"] != "container":
        return
    if app["process_manager"] == "supervisor":
        checker.problem(
            f"{where}.runtime",
            "'container' needs systemd, but process_manager is 'supervisor'. Remove process_manager"
            f"{'' if is_given(app['source']) else ', or set runtime: host'}.",
        )
    given = app["python"]["interpreter"]
    if given and given != INTERPRETER and not is_complete(app):
        checker.problem(
            f"{where}.python.interpreter",
            f"'{given}' is set, but a container has the python3 of its base. Remove python.interpreter, and choose "
            "the base that has this version (container.base).",
        )


def check_containerfile(checker: Checker, given: Mapping[str, Any], where: str) -> None:
    """Report the problems of an image that the controller builds."""
    for key in ("context", "platform"):
        if given.get(key) and not given.get("containerfile"):
            checker.problem(
                f"{where}.{key}", "it applies to a containerfile, which is not set. Set it, or remove this."
            )
    for key, example in (("containerfile", "Containerfile"), ("context", "web")):
        if given.get(key) and not is_inside(given[key]):
            checker.problem(
                f"{where}.{key}",
                f"'{given[key]}' is not a path inside the source. Set a relative path, such as '{example}'.",
            )
    platform = given.get("platform")
    if platform and not PLATFORM.fullmatch(platform):
        checker.problem(f"{where}.platform", f"'{platform}' is not a platform. Write one such as linux/amd64.")


def check_given(checker: Checker, app: dict[str, Any], where: str) -> None:
    """Report the settings that would change an image that is given."""
    kind, place = "image", "the image where it is built"
    if app["source"].get("containerfile"):
        kind, place = "containerfile", "the Containerfile"
    for group, options in OF_BUILDS.items():
        given = [key for key in options if app[group][key]]
        if given:
            checker.problem(
                f"{where}.{group}.{given[0]}",
                f"it does not apply to source.{kind}, because an image has its Python and its packages already. Remove "
                f"it, and change {place}.",
            )


def check_environment(checker: Checker, app: dict[str, Any], where: str) -> None:
    """Report the settings that do not go together with an image that is built for the code."""
    if not ((app["source"] or {}).get("path") or (app["source"] or {}).get("git")):
        checker.problem(
            f"{where}.container.containerfile",
            "it is built from a folder, but the source is none. Set source.path or source.git.",
        )
    of_image = {**OF_BUILDS, "container": ("base", "packages")}
    for group, options in of_image.items():
        for key in (key for key in options if app[group][key]):
            checker.problem(
                f"{where}.{group}.{key}",
                "it does not apply to container.containerfile, which chooses the base and installs all packages. "
                "Remove it, and change the Containerfile.",
            )


def unused_container(given: dict[str, Any], app: dict[str, Any], where: str) -> Iterator[str]:
    """The settings of a runtime that no release has. ``given`` is as the user wrote it."""
    if given.get("runtime") == "host" and app["runtime"] != "host":
        yield f"{where}.runtime: host: no effect, because an image runs in a container. Remove runtime."
    keys = ", ".join(key for key, value in app["container"].items() if value)
    if keys and app["runtime"] != "container":
        yield (
            f"{where}.container: {keys}: no effect, because the runtime is host. Remove container, or set runtime: "
            "container."
        )
