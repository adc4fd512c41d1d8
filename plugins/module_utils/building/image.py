# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The image that a release runs in, for applications with ``runtime: container``."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.images import inside
from ansible_collections.pyweb.stack.plugins.module_utils.images.making import Wanted, provide
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import (
    LINK,
    ImageError,
    description,
    file_system,
    path_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.images.store import locked
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import used_images
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Manifest,
    NoImage,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import RequirementsError
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import minor_of, request_of

# The interpreter of an image, as its programs see it.
INTERPRETER = "/usr/bin/python3"


def provide_image(build: Build, manifest: Manifest) -> None:
    """Let a release run in an image: one that the host has, else a new one. A release of the host has none.

    The lock is held until the release names its image, so that no other run removes it.
    """
    given, layout = build.spec.get("container"), build.layout
    if not given:
        return
    upgrade = (manifest.run or manifest.id) if build.spec.get("upgrade") else ""
    try:
        with locked(layout.root):
            wanted = Wanted(given["base"], tuple(given["packages"]), upgrade)
            manifest.image = provide(layout.root, wanted, lambda: used_images(layout.root))
            os.symlink(path_of(layout.root, manifest.image), os.path.join(build.release, LINK))
            write_manifest(layout, manifest)
        create_places(build, manifest.image)
    except ImageError as error:
        raise NoImage(build.name, str(error)) from error


def create_places(build: Build, image: str) -> None:
    """Create the folders of an image in which the folders of the application appear."""
    with inside.opened(file_system(build.layout.root, image)) as top:
        for path in (build.layout.home, build.layout.runtime):
            inside.make_folder(top, path)


def image_of(build: Build) -> str:
    """The name of the image of a release; empty if it has none."""
    link = os.path.join(build.release, LINK)
    return os.path.basename(os.readlink(link)) if os.path.islink(link) else ""


def find_interpreter_of_image(build: Build) -> tuple[str, str]:
    """The path and the version of the interpreter in the image of a release, if the source can use it."""
    known = description(build.layout.root, image_of(build))
    version = str(known.get("python") or "")
    try:
        asked = request_of(build.root, build.source)
    except RequirementsError as error:
        raise build.error(str(error)) from error
    if not asked.is_met_by(version):
        if build.spec["source"].get("environment"):
            raise build.error(
                f"container.containerfile: the image has Python {version}, but {asked}. Change the Containerfile, or "
                "the source."
            )
        raise build.error(
            f"container.base: '{known.get('base')}' has Python {version}, but {asked}. Set a base that has it, or "
            "change the source."
        )
    return INTERPRETER, f"cpython-{minor_of(version)}"


def given_image(build: Build) -> dict[str, Any]:
    """The description of the image of a release whose source is this image; empty for other releases."""
    source = build.spec["source"]
    if source.get("kind") != "image" and not source.get("environment"):
        return {}
    return description(build.layout.root, image_of(build))
