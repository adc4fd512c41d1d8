# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The keys ``runtime`` and ``container`` of an application. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

# The name of a suite, and of a package, as Debian allows them. To apt, a dash at the end means to remove a package.
BASE = re.compile(r"[a-z][a-z0-9.-]{1,30}")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+]")
# The settings by which the packages of an application are chosen.
OF_BUILDS = {
    "container": ("base", "packages"),
    "python": ("interpreter", "requirements", "packages", "extras", "groups", "index_url", "extra_index_urls"),
}
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
    if (app["source"] or {}).get("image"):
        # An image has no other place to run in.
        app["runtime"] = "container"
        check_given(checker, app, where)
    if app["runtime"] != "container":
        return
    if app["process_manager"] == "supervisor":
        checker.problem(
            f"{where}.runtime",
            "'container' needs systemd, but process_manager is 'supervisor'. Remove process_manager, or set runtime: "
            "host.",
        )
    given = app["python"]["interpreter"]
    if given and given != INTERPRETER:
        checker.problem(
            f"{where}.python.interpreter",
            f"'{given}' is set, but a container has the python3 of its base. Remove python.interpreter, and choose "
            "the base that has this version (container.base).",
        )


def check_given(checker: Checker, app: dict[str, Any], where: str) -> None:
    """Report the settings that would change an image that is given."""
    for group, options in OF_BUILDS.items():
        given = [key for key in options if app[group][key]]
        if given:
            checker.problem(
                f"{where}.{group}.{given[0]}",
                "it does not apply to source.image, because an image has its Python and its packages already. Remove "
                "it, and change the image where it is built.",
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
