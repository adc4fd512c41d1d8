# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Make an image of the store from one that is given: from a registry, or from an archive."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from ansible_collections.pyweb.stack.plugins.module_utils.given_images.archives import opened
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.contents import complete, described
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.documents import (
    ARCHITECTURES,
    Config,
    broken,
    check_architecture,
    config_of,
    images_of,
    is_index,
    layers_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.layers import RESERVE, Unpacking
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.references import Reference
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.registry import Login, Registry
from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import (
    MARK,
    ROOT,
    ImageError,
    description,
    path_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.images.store import UNFINISHED, remove_unused

# Changes when images are unpacked in another way, so that none of an earlier version is used again.
RECIPE = 1


@dataclass(frozen=True)
class Wanted:
    """A given image: its digest, and where its files come from."""

    # The digest by which the store knows it, and its name in messages.
    digest: str
    what: str
    # An archive on this host, or an image of a registry.
    archive: str = ""
    reference: Reference | None = None
    login: Login = field(default_factory=Login)

    @property
    def name(self) -> str:
        machine = os.uname().machine
        return f"given{RECIPE}-{self.digest.partition(':')[2][:32]}-{ARCHITECTURES.get(machine, machine)}"


def has(root: str, wanted: Wanted) -> bool:
    """Whether the store has an image."""
    return bool(description(root, wanted.name))


def provide(root: str, wanted: Wanted, used: Callable[[], Collection[str]]) -> str:
    """The name of an image, which is unpacked if the store has none. The caller holds the lock."""
    if not has(root, wanted):
        remove_unused(root, used())
        make(root, wanted)
    return wanted.name


def make(root: str, wanted: Wanted) -> None:
    """Unpack an image. Whatever fails, nothing of it stays."""
    path = path_of(root, wanted.name)
    unfinished = f"{path}{UNFINISHED}"
    try:
        os.mkdir(unfinished, 0o700)
        file_system = os.path.join(unfinished, ROOT)
        os.mkdir(file_system, 0o755)
        config = unpack(file_system, wanted, unfinished)
        complete(file_system)
        found = {"base": wanted.what, "digest": wanted.digest, **described(file_system, config, wanted.what)}
        write(File(os.path.join(unfinished, MARK), json.dumps(found, indent=1) + "\n"))
        os.sync()
        os.chmod(unfinished, 0o755)  # noqa: S103  # the folder of the images is closed
        os.rename(unfinished, path)
    except BaseException as error:
        with suppress(OSError):
            trees.remove(unfinished)
        if isinstance(error, OSError):
            raise ImageError(failed(error, wanted.what)) from error
        raise


def failed(error: OSError, what: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{what} can't be unpacked, because the disk is full. Make room. What was unpacked is removed."
    return f"{what} can't be unpacked: {error.strerror or error} ({error.filename}). Correct that, and run again."


def unpack(file_system: str, wanted: Wanted, scratch: str) -> Config:
    """Unpack all layers, the lowest first; return the configuration."""
    top = os.open(file_system, trees.FOLDER)
    try:
        unpacking = Unpacking(top, wanted.what)
        if wanted.reference is not None:
            return from_registry(unpacking, Registry(wanted.reference, wanted.login), wanted, scratch)
        return from_archive(unpacking, wanted, scratch)
    finally:
        os.close(top)


def from_archive(unpacking: Unpacking, wanted: Wanted, scratch: str) -> Config:
    with opened(wanted.archive, wanted.what, scratch) as archive:
        if archive.identity != wanted.digest:
            raise ImageError(f"{wanted.what} has changed since this run began. Run again.")
        here = check_architecture(archive.images, os.uname().machine, wanted.what)
        config, layers = archive.images[here]
        check_layers(config, layers, wanted.what)
        for name, digest in zip(layers, config.layers):
            with archive.opened(name) as stream:
                unpacking.add(stream, digest)
    return config


def from_registry(unpacking: Unpacking, registry: Registry, wanted: Wanted, scratch: str) -> Config:
    manifest, _digest = registry.document(wanted.digest)
    if is_index(manifest):
        images = images_of(manifest, wanted.what)
        here = check_architecture(images, os.uname().machine, wanted.what)
        manifest, _digest = registry.document(images[here])
    config_digest, layers = layers_of(manifest, wanted.what)
    config = config_of(registry.small(config_digest), wanted.what)
    check_architecture([config.architecture], os.uname().machine, wanted.what)
    check_layers(config, layers, wanted.what)
    for layer, digest in zip(layers, config.layers):
        # A whole file first: a registry that is slow or fails leaves nothing behind, and its digest counts.
        with tempfile.TemporaryFile(dir=scratch) as packed:
            registry.fetch(layer, Guarded(packed, scratch, wanted.what))  # type: ignore[arg-type]
            packed.seek(0)
            unpacking.add(packed, digest)
    return config


def check_layers(config: Config, layers: list[str], what: str) -> None:
    if len(layers) != len(config.layers):
        raise broken(what, f"it has {len(layers)} layers, but its configuration names {len(config.layers)}")


class Guarded:
    """A file that stops before it fills the disk."""

    def __init__(self, target: object, folder: str, what: str) -> None:
        self.target, self.folder, self.what = target, folder, what

    def write(self, block: bytes) -> None:
        if shutil.disk_usage(self.folder).free < RESERVE:
            raise ImageError(f"the disk is almost full while {self.what} is fetched. Make room. Nothing of it is kept.")
        self.target.write(block)  # type: ignore[attr-defined]
