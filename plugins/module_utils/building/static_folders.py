# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The static folders of a release. nginx would answer 404 for one that is missing, so it is refused here."""

from __future__ import annotations

import os
import posixpath

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.host.ignore_files import ignored_by


def check_static_folders(build: Build) -> None:
    """Refuse a release that lacks a folder of site.static. Raises ReleaseError with the cause."""
    for item in build.spec.get("static") or []:
        if not os.path.isdir(os.path.join(build.root, item["path"])):
            raise build.error(f"site.static '{item['url']}': {problem_of(build, item['path'])}")


def problem_of(build: Build, path: str) -> str:
    subdir = build.subdir
    place = posixpath.normpath(posixpath.join(subdir, path))
    missing = f"'{path}' is not a folder of the release."
    commands = "no command of commands.build has created it" if build.spec["build_commands"] else ""
    rule = ignored_by(build.source, place)
    if rule and commands:
        return (
            f"{missing} .gitignore leaves it out ({rule}), and {commands}. Add that command. Or create the folder on "
            f"the controller, and add '{place}' to source.include."
        )
    if rule:
        return (
            f"{missing} .gitignore leaves it out ({rule}), so the source does not have it. Add the command that "
            "creates it to commands.build. Or deploy a folder of the controller (source.path), which is sent with it."
        )
    if commands:
        return f"{missing} The source does not have it, and {commands}. Correct the path, or the commands."
    return f"{missing} Correct the path, add the folder to the source, or let a command of commands.build create it."
