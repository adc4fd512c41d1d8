# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The documents of an image: its indexes, its manifest and its configuration. Pure.

Others have written them, so each value is checked before it is used, and is untrusted text in messages.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.given_images.references import DIGEST
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# The names of processors in images, by the names of the kernel.
ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
ARCHITECTURE = re.compile(r"[A-Za-z0-9_]{1,20}")
# Bytes of a document, and layers of an image. Registries have the same limits.
MOST_BYTES = 4 * 1024**2
MOST_LAYERS = 128
# The search path of an image that sets none.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Characters of a message that an image chooses.
MOST_SHOWN = 80


@dataclass(frozen=True)
class Config:
    """The configuration of an image."""

    architecture: str
    # The digests of the unpacked layers.
    layers: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    command: tuple[str, ...] = ()


def shown(value: Any) -> str:
    """A value of an image in a message."""
    text = one_line(str(value))
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def document(content: bytes, what: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise broken(what, "it is not a JSON object")
    return found


def broken(what: str, why: str) -> ImageError:
    return ImageError(f"{what} can't be used: {why}. Make the image again, or choose another one.")


def is_index(found: dict[str, Any]) -> bool:
    """Whether a document lists the images of several architectures."""
    return found.get("mediaType") in INDEXES or ("manifests" in found and "layers" not in found)


def images_of(index: dict[str, Any], what: str) -> dict[str, str]:
    """The digests in an index by their architectures. Attestations have other platforms."""
    found: dict[str, str] = {}
    listed = index.get("manifests")
    for item in listed if isinstance(listed, list) else []:
        place = item.get("platform") if isinstance(item, dict) else None
        if isinstance(place, dict) and place.get("os") == "linux" and is_architecture(place.get("architecture")):
            found.setdefault(place["architecture"], checked_digest(item.get("digest"), what))
    return found


def is_architecture(value: Any) -> bool:
    return isinstance(value, str) and ARCHITECTURE.fullmatch(value) is not None


def checked_digest(value: Any, what: str) -> str:
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise broken(what, f"'{shown(value)}' is not a digest")
    return value


def layers_of(manifest: dict[str, Any], what: str) -> tuple[str, list[str]]:
    """The digests of the configuration and of the packed layers in a manifest."""
    if manifest.get("schemaVersion") == 1:
        raise broken(what, "it has the old format of manifests, version 1")
    config, layers = manifest.get("config"), manifest.get("layers")
    if not isinstance(config, dict) or not isinstance(layers, list):
        raise broken(what, "its manifest names no configuration and no layers")
    check_count(layers, what)
    digests = [layer.get("digest") if isinstance(layer, dict) else None for layer in layers]
    return checked_digest(config.get("digest"), what), [checked_digest(one, what) for one in digests]


def check_count(layers: list[Any], what: str) -> None:
    if not 1 <= len(layers) <= MOST_LAYERS:
        raise broken(what, f"it has {len(layers)} layers, and 1 to {MOST_LAYERS} are supported")


def config_of(content: bytes, what: str) -> Config:
    """The configuration of an image."""
    found = document(content, what)
    given = found.get("config") or {}
    layers = (found.get("rootfs") or {}).get("diff_ids") if isinstance(found.get("rootfs"), dict) else None
    if found.get("os") != "linux" or not is_architecture(found.get("architecture")):
        place = f"{found.get('os')}/{found.get('architecture')}"
        raise broken(what, f"it is for '{shown(place)}', not for linux")
    if not isinstance(layers, list) or not isinstance(given, dict):
        raise broken(what, "its configuration names no layers")
    check_count(layers, what)
    words = [*texts_of(given.get("Entrypoint"), what), *texts_of(given.get("Cmd"), what)]
    folder = given.get("WorkingDir") or "/"
    if not isinstance(folder, str) or not folder.startswith("/") or "\0" in folder:
        raise broken(what, f"its working folder '{shown(folder)}' is not an absolute path")
    return Config(
        architecture=found["architecture"],
        layers=tuple(checked_digest(one, what) for one in layers),
        env=env_of(texts_of(given.get("Env"), what)),
        folder=folder,
        command=tuple(words),
    )


def texts_of(value: Any, what: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) and "\0" not in one for one in value):
        raise broken(what, f"'{shown(value)}' is not a list of texts")
    return value


def env_of(lines: list[str]) -> dict[str, str]:
    """The variables of an image. A shell could not set one with another name."""
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, _equals, value in pairs if VARIABLE.fullmatch(name)}


def check_architecture(found: Any, machine: str, what: str) -> str:
    """The architecture of this machine, if it is among those of an image."""
    wanted = ARCHITECTURES.get(machine, machine)
    if wanted not in found:
        listed = ", ".join(sorted(map(shown, found))) or "none"
        raise ImageError(
            f"{what} is for {listed}, but the host has {wanted}. Build the image for linux/{wanted}, or choose another."
        )
    return wanted
