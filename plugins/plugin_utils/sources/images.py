# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Images as sources: which one a name stands for, and for which architectures it is. The hosts unpack them."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.given_images import archives, references
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.documents import (
    config_of,
    images_of,
    is_index,
    layers_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.registry import (
    Login,
    Registry,
    UnreachableError,
)
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.builds import RunOfBuilds, built, kept, order_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import FetchError, SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import find

ANY_RUN = RunOfBuilds()
# The name of an image in messages has this many digits of its digest.
DIGITS = 12


def login_of(source: dict[str, Any]) -> dict[str, Any]:
    """How a registry is asked, as the host gets it."""
    given = source.get("registry") or {}
    return {key: given[key] for key in ("username", "password", "plain_http") if given.get(key)}


def pinned_image(source: dict[str, Any], bases: list[str], run: RunOfBuilds = ANY_RUN) -> dict[str, str]:
    """The digest of an image, and its architectures. A Containerfile is built first. Raises SourceError."""
    if source.get("containerfile"):
        image = built(order_of(source, bases), seen_archive, run)
        return {"digest": image.digest, "architectures": " ".join(image.architectures)}
    if archive := archive_of(source, bases):
        digest, architectures = seen_archive(archive)
        return {"digest": digest, "architectures": " ".join(architectures)}
    reference, problem = references.parsed(source["image"])
    if reference is None:
        raise SourceError(f"source.image {problem}")
    registry = Registry(reference, Login(**login_of(source)))
    try:
        manifest, digest = registry.document(reference.version)
        if is_index(manifest):
            architectures = sorted(images_of(manifest, registry.what))
        else:
            config, _layers = layers_of(manifest, registry.what)
            architectures = [config_of(registry.small(config), registry.what).architecture]
    except UnreachableError as error:
        raise FetchError(str(error)) from error
    except ImageError as error:
        raise SourceError(str(error)) from error
    return {"digest": digest, "architectures": " ".join(architectures)}


def archive_of(source: dict[str, Any], bases: list[str]) -> Path | None:
    """The archive on the controller that a source names; None for an image of a registry."""
    if not references.is_archive(source["image"]):
        return None
    return find(source["image"], bases, os.path.isfile, "source.image", "file")


def seen_archive(path: Path) -> tuple[str, list[str]]:
    """The digest and the architectures of the image in an archive."""
    status = path.stat()
    return read_archive(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def read_archive(path: str, _size: int, _changed: int) -> tuple[str, list[str]]:
    what = f"the image '{os.path.basename(path)}'"
    try:
        with tempfile.TemporaryDirectory() as scratch, archives.opened(path, what, scratch) as archive:
            return archive.identity, archive.architectures
    except ImageError as error:
        raise SourceError(f"source.image: {error}") from error
    except OSError as error:
        raise SourceError(f"source.image: {path} can't be read: {error.strerror}. Correct its rights.") from error


def image_description(source: dict[str, Any], bases: list[str]) -> tuple[dict[str, Any], Path | None]:
    """The description of an image for the host, and the file to send to it."""
    if source.get("containerfile"):
        return built_description(source, bases)
    name, subdir = source["image"], source.get("subdir") or ""
    path = archive_of(source, bases)
    digest = seen_archive(path)[0] if path else source.get("digest") or pinned_image(source, bases)["digest"]
    shown = path.name if path else name.partition("@")[0]
    return described(path.name if path else name, subdir, digest, shown, path), path


def built_description(source: dict[str, Any], bases: list[str]) -> tuple[dict[str, Any], Path]:
    """The same of an image that this run has built."""
    order = order_of(source, bases)
    image = kept(order, source["digest"]) if source.get("digest") else built(order, seen_archive, ANY_RUN)
    # In the application root, which is in the image or not.
    subdir = "" if source.get("environment") else source.get("subdir") or ""
    return described(order.name, subdir, image.digest, order.revision or order.name, image.archive), image.archive


def environment_of(source: dict[str, Any]) -> dict[str, Any]:
    """The source of an image in which the code of a source runs."""
    return {**source, **source["environment"], "digest": source.get("environment_digest")}


def described(image: str, subdir: str, digest: str, shown: str, path: Path | None) -> dict[str, Any]:
    return {
        "kind": "image",
        "subdir": subdir,
        "image": image,
        "archive": path is not None,
        "digest": digest,
        "revision": f"{shown} {digest.partition(':')[2][:DIGITS]}",
    }
