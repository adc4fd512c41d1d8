# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Make the folder of an application for compose: check everything, then write the differences."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import RequirementsError
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import Request, request_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.dependencies import Dependencies, dependencies
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.entries import Tree, unpacked
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.folder import folder
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import Order, base_image
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.programs import server_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.refusals import refusals
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.report import notes
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.site import nginx_templates
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.writing import FolderError, differences, write
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.containers import is_container
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.named_paths import named_paths
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.source_folders import folder_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import is_given
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import origin_of, pin
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import find_folder

Render = Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]]
SOURCE = "current/src"


class ComposeError(ValueError):
    """Nothing was written; the message of each problem says why, and what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Source:
    """The files of a source, with what was read from them."""

    tree: Tree
    found: Dependencies
    request: Request
    problems: list[str]


def make(order: Order, to: Path, bases: list[str], render: Render, *, writes: bool) -> tuple[list[str], list[str]]:
    """The paths that differ, and the lines of the report; raises ComposeError with every problem.

    ``bases`` are the folders that relative paths start from. ``render`` gets a role and templates of it.
    """
    problems = [*refusals(order), *inside_source(order, to, bases)]
    source = Source({}, Dependencies(), Request(), [])
    if not (order.app["source"]["package"] or is_given(order.app["source"])):
        try:
            source = read_source(order, bases)
        except (SourceError, RequirementsError) as error:
            problems.append(f"webapps '{order.name}': {error}")
    problems += [*source.problems, *(f"webapps '{order.name}'.{problem}" for problem in source.found.problems)]
    if not order.base:
        suite = order.app["container"]["base"] if is_container(order.app) else ""
        base, problem = base_image(order.app["python"]["interpreter"], source.request, suite or "")
        problems += [f"webapps '{order.name}'.{problem}"] if problem else []
        order = replace(order, base=base)
    templates, served, wrong = nginx_templates(order)
    problems += wrong
    tree: Tree = {}
    changed: list[str] = []
    if not problems:
        nginx = render("nginx", templates)
        server = render(order.app["server"], server_files(order))
        tree = folder(order, source.tree, source.found, nginx, server, served)
    try:
        changed = differences(to, tree, order.name)
        if not problems and writes and changed:
            write(to, tree, order.name)
    except FolderError as error:
        problems.append(str(error))
    if problems:
        raise ComposeError(problems)
    return changed, notes(order, to, changed, writes=writes)


def inside_source(order: Order, to: Path, bases: list[str]) -> Iterator[str]:
    """A folder in the source would be copied into itself, with the secrets that it has."""
    try:
        path = order.app["source"]["path"]
        found = find_folder(path, bases) if path else None
    except SourceError:
        return
    if found and to.resolve().is_relative_to(found):
        yield f"to is '{to}', which is in the folder of the source, {found}. Choose a folder outside of it."


def read_source(order: Order, bases: list[str]) -> Source:
    """Fetch and read a source as a deployment does; raises SourceError and RequirementsError."""
    given = order.app["source"]
    origin = origin_of({**given, **pin(given, bases), "named": named_paths(order.app)}, bases)
    if origin.pack is None:
        raise SourceError("the source has no files.")
    tree = unpacked(origin.pack(), SOURCE)
    with tempfile.TemporaryDirectory() as scratch:
        top = os.path.realpath(scratch)
        for path, entry in tree.items():
            place = Path(top, os.path.relpath(path, SOURCE))
            place.parent.mkdir(parents=True, exist_ok=True)
            if entry.link:
                place.symlink_to(entry.link)
            elif entry.is_folder:
                place.mkdir(exist_ok=True)
            else:
                place.write_bytes(entry.content)
        problems = [
            problem.replace(f"{top}/", "").replace(top, "the source")
            for problem in folder_problems(order.app, Path(top), order.servers)
        ]
        if problems:
            return Source(tree, Dependencies(), Request(), problems)
        root = os.path.normpath(os.path.join(top, order.subdir))
        return Source(tree, dependencies(order.app, top), request_of(root, top), [])
