# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The names of images in registries, and how they differ from the paths of archives. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The host of a registry has a dot or a port, or it is localhost. All other words are folders of a path.
REGISTRY = re.compile(
    r"(?:localhost|(?=[^/]*[.:])(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\]))(?::[0-9]{1,5})?"
)
REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ARCHIVES = (".tar", ".tar.gz", ".tgz")
LONGEST = 255


@dataclass(frozen=True)
class Reference:
    """An image of a registry: by its tag, by its digest, or by both. Then the digest counts."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """The version that a registry is asked for: the digest, else the tag."""
        return self.digest or self.tag


def is_archive(image: str) -> bool:
    """Whether an image is named by the path of an archive on the controller."""
    return image.startswith(("/", "./", "../", "~")) or image.endswith(ARCHIVES)


def parsed(image: str) -> tuple[Reference | None, str]:
    """The reference that a text is, or what is wrong with it."""
    name, at, digest = image.partition("@")
    registry, slash, rest = name.partition("/")
    if at and not DIGEST.fullmatch(digest):
        return None, f"'{image}' has a digest that is not sha256: and 64 hexadecimal digits. Copy the whole digest."
    if not slash or not REGISTRY.fullmatch(registry):
        return None, (
            f"'{image}' names no registry. Write the registry in front, such as registry.example.com/shop:1.4. For an "
            "archive on the controller, write its path, such as ./shop.tar."
        )
    repository, colon, tag = rest.partition(":")
    if not REPOSITORY.fullmatch(repository) or len(repository) > LONGEST or (colon and not TAG.fullmatch(tag)):
        return None, (
            f"'{image}' is not the name of an image. Write lower-case letters, digits, and one of '.', '_' and '-' "
            "between them, such as registry.example.com/team/shop:1.4."
        )
    if not tag and not digest:
        return None, f"'{image}' names no version. Add a tag or a digest, such as {registry}/{repository}:1.4."
    return Reference(registry, repository, tag, digest), ""
