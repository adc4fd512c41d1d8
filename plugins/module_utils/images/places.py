# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The images of a host: where they are, and which one a release runs in.

An image is a folder with the root file system of a small Debian: Python, the packages that the inventory names, and
nothing of any application. Releases of all applications share it. Root alone can enter the folder of the images, so no
account of the host can run a program of an image outside of a service.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError

# The folder of all images, beside the applications. No name of an application begins with a dot.
FOLDER = ".images"
# Written last: an image that has this file is complete. It describes the image.
MARK = "image.json"
# The root file system in the folder of an image, and the link to an image in the folder of a release.
ROOT, LINK = "root", "image"


class ImageError(HostError):
    """An image could not be made. The text has the action, the error and the remedy."""


def folder_of(root: str) -> str:
    return os.path.join(root, FOLDER)


def path_of(root: str, name: str) -> str:
    return os.path.join(folder_of(root), name)


def file_system(root: str, name: str) -> str:
    """The root file system of an image."""
    return os.path.join(path_of(root, name), ROOT)


def has_image(release: str) -> bool:
    """Whether a release, given by its folder, runs in an image."""
    return os.path.islink(os.path.join(release, LINK))


def file_system_of(release: str) -> str:
    """The root file system in which a release runs. The folder of the release may be given by a link."""
    return os.path.join(os.path.realpath(os.path.join(release, LINK)), ROOT)


def description(root: str, name: str) -> dict[str, Any]:
    """The description of an image; empty if the image is missing or incomplete."""
    with suppress(OSError, ValueError), open(os.path.join(path_of(root, name), MARK), encoding="utf-8") as stream:
        found = json.load(stream)
        if isinstance(found, dict):
            return found
    return {}


def interpreter_in(link: str, root: str = "", image: str = "") -> str:
    """The file on the host that an interpreter of an environment leads to; in an image, the one of the image."""
    if not image:
        return os.path.realpath(link)
    top = os.path.realpath(file_system(root, image))
    with suppress(OSError):
        found = os.path.realpath(os.path.join(top, os.readlink(link).lstrip("/")))
        if found.startswith(f"{top}/"):
            return found
    return link
