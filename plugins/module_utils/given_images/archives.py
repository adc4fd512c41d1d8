# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Read the archive of an image: one of ``docker save``, or an OCI layout in a tar archive."""

from __future__ import annotations

import gzip
import json
import os
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from ansible_collections.pyweb.stack.plugins.module_utils.given_images.documents import (
    MOST_BYTES,
    Config,
    broken,
    check_count,
    checked_digest,
    config_of,
    digest_of,
    document,
    images_of,
    is_index,
    layers_of,
    shown,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.tar_headers import BoundedInfo, LongHeader
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError

MOST_MEMBERS = 10_000
# Bytes of an archive.
LARGEST = 32 * 1024**3
# Indexes inside of indexes.
DEEPEST = 3


class Archive:
    """An open archive. ``identity`` is the digest of the image in it, whenever and however it was saved."""

    def __init__(self, tar: tarfile.TarFile, what: str) -> None:
        self.tar, self.what = tar, what
        self.members: dict[str, tarfile.TarInfo] = {}
        for number, member in enumerate(tar):
            if number >= MOST_MEMBERS:
                raise broken(what, f"it has more than {MOST_MEMBERS} files, so it is no archive of an image")
            self.members[posixpath.normpath(member.name)] = member
        self.is_docker = "manifest.json" in self.members
        if self.is_docker:
            self.identity, self.images = self.of_docker()
        elif "index.json" in self.members:
            self.identity, self.images = self.of_layout()
        else:
            raise broken(what, "it has neither manifest.json nor index.json, so it is no archive of an image")

    @property
    def architectures(self) -> list[str]:
        return sorted(self.images)

    def of_docker(self) -> tuple[str, dict[str, tuple[Config, list[str]]]]:
        """The image of ``docker save``, with the names of its layers."""
        content = self.small("manifest.json")
        try:
            listed = json.loads(content)
        except (ValueError, RecursionError):
            listed = None
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise broken(self.what, "its manifest.json is not a list of images")
        if len(listed) != 1:
            raise ImageError(f"{self.what} has {len(listed)} images, and one is needed. Save one image alone.")
        name, layers = listed[0].get("Config"), listed[0].get("Layers")
        if not isinstance(name, str) or not isinstance(layers, list) or not all(isinstance(one, str) for one in layers):
            raise broken(self.what, "its manifest.json names no configuration and no layers")
        check_count(layers, self.what)
        config = self.small(name)
        found = config_of(config, self.what)
        return digest_of(config), {found.architecture: (found, layers)}

    def of_layout(self) -> tuple[str, dict[str, tuple[Config, list[str]]]]:
        """The images of an OCI layout: one, perhaps for several architectures."""
        found, digest = document(self.small("index.json"), self.what), ""
        for _depth in range(DEEPEST):
            listed = found.get("manifests")
            if (
                not is_index(found)
                or not isinstance(listed, list)
                or len(listed) != 1
                or not isinstance(listed[0], dict)
            ):
                break
            digest = checked_digest(listed[0].get("digest"), self.what)
            found = document(self.blob(digest), self.what)
        if not is_index(found):
            image = self.image(found)
            return digest, {image[0].architecture: image}
        images = images_of(found, self.what)
        if len(images) == 0 or not digest:
            raise ImageError(f"{self.what} has no image for linux, or several images. Save one image alone.")
        return digest, {name: self.image(document(self.blob(one), self.what)) for name, one in images.items()}

    def image(self, manifest: dict[str, Any]) -> tuple[Config, list[str]]:
        config, layers = layers_of(manifest, self.what)
        return config_of(self.blob(config), self.what), [place_of(layer) for layer in layers]

    def blob(self, digest: str) -> bytes:
        content = self.small(place_of(digest))
        if digest_of(content) != digest:
            raise broken(self.what, f"its file {digest} is damaged")
        return content

    def small(self, name: str) -> bytes:
        with self.opened(name) as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise broken(self.what, f"its file '{shown(name)}' is too large")
        return content

    def opened(self, name: str) -> IO[bytes]:
        """A file of the archive. Older versions of docker save a layer that two images share as a link."""
        member = self.members.get(posixpath.normpath(name))
        if member is not None and member.issym():
            member = self.members.get(posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))
        stream = self.tar.extractfile(member) if member is not None and member.isreg() else None
        if stream is None:
            raise broken(self.what, f"its file '{shown(name)}' is missing")
        return stream


def place_of(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


@contextmanager
def opened(path: str, what: str, folder: str) -> Iterator[Archive]:
    """Open the archive of an image. One that is packed is unpacked into the folder before, because it is read twice."""
    plain = os.path.join(folder, "image.tar")
    try:
        with open(path, "rb") as stream:
            is_packed = stream.read(2) == b"\x1f\x8b"
        if is_packed:
            with gzip.open(path, "rb") as packed, open(plain, "wb") as target:
                unpack(packed, target, what)
        with tarfile.open(plain if is_packed else path, "r:", tarinfo=BoundedInfo) as tar:
            yield Archive(tar, what)
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, UnicodeError) as error:
        raise broken(what, "it is no tar archive, or is damaged") from error
    except LongHeader as error:
        raise broken(what, str(error)) from error
    finally:
        if os.path.exists(plain):
            os.unlink(plain)


def unpack(packed: gzip.GzipFile, target: IO[bytes], what: str) -> None:
    size = 0
    while block := packed.read(MOST_BYTES):
        size += len(block)
        if size > LARGEST:
            raise broken(what, f"it has more than {LARGEST // 1024**3} GiB")
        target.write(block)
