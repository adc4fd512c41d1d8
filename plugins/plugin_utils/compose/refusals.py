# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The settings that a folder for compose can't express, with one problem for each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import IMAGE, Order
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.variables import LONGEST, too_long
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import has_environment, is_given


def refusals(order: Order) -> list[str]:
    """Every problem of an application and of the choices on the command line."""
    where = f"webapps '{order.name}'"
    return [*(f"{where}.{problem}" for problem in of_application(order)), *of_choices(order)]


def of_application(order: Order) -> Iterator[str]:
    app: dict[str, Any] = order.app
    if app["source"]["package"]:
        yield (
            "source.package: the containers mount the code, but this application is a package of an index. Set "
            "source.git or source.path."
        )
    if is_given(app["source"]):
        yield (
            f"source.{'image' if app['source']['image'] else 'containerfile'}: the application has its image already, "
            "and compose can run it. This folder is for sources "
            "without one: set source.git or source.path alone."
        )
    if has_environment(app):
        yield (
            "container.containerfile: this folder has a Containerfile of its own, for the lists of dependencies. Set "
            "container.base and container.packages for it, or write a compose file for yours by hand."
        )
    for command in app["commands"]["build"]:
        yield (
            f"commands.build: '{command}' would change the code, which the containers mount read-only. Run it before, "
            "and leave the key out for this run, with its results in source.path."
        )
    for item in app["site"]["static"]:
        if item["package"]:
            yield (
                f"site.static '{item['url']}': the folder is in the package {item['package']}, inside the image, where "
                "nginx can't read it. Copy the folder into the source."
            )
        if ":" in item["path"]:
            yield f"site.static '{item['url']}': compose can't mount '{item['path']}'. Choose a path without ':'."
    for name in too_long(order):
        yield f"env.{name}: the value is longer than {LONGEST} bytes. Put it into a file, with the key files."


def of_choices(order: Order) -> Iterator[str]:
    for name, value in (("base", order.base), ("front", order.front)):
        if value and not IMAGE.fullmatch(value):
            yield f"{name} is '{value}', which is not the name of an image. Write one such as python:3.13-slim."
    if not 1 <= order.port <= 65535:
        yield f"port is {order.port}. Set a port from 1 to 65535, such as -e port=8080."
