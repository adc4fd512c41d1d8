# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The source of a release: its archive, unpacked into the release's folder."""

from __future__ import annotations

import base64
import io
import os
import tarfile

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build


def unpack(build: Build) -> None:
    """Unpack the source, and check that the application root is a folder in it."""
    os.makedirs(build.source, mode=0o755)
    given = build.spec["source"]
    data, upload = given.get("data"), given.get("upload")
    if data or upload:
        stream = io.BytesIO(base64.b64decode(data)) if data else open(upload, "rb")  # noqa: SIM115  # closed below
        with stream, tarfile.open(fileobj=stream, mode="r|gz") as archive:
            if hasattr(tarfile, "tar_filter"):  # not in Debian 12's Python 3.11.2
                archive.extraction_filter = staticmethod(tarfile.tar_filter)
            archive.extractall(build.source)  # noqa: S202  # made by the controller from files that it has checked
    if not is_within(build.root, build.source):
        raise build.error(f"source.subdir '{given['subdir']}' leads out of the source, by a link. Name a folder.")
    if not os.path.isdir(build.root):
        raise build.error(
            f"source.subdir '{given['subdir']}' is not a folder in the source. {folders_in(build.source)} "
            "Name a folder of the source."
        )


def folders_in(path: str) -> str:
    """The folders of the source, as a sentence."""
    found = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    return f"It has: {', '.join(found[:20])}." if found else "It has no folders."


def is_within(path: str, folder: str) -> bool:
    """Whether a path stays in a folder when every link in it is followed."""
    real, base = os.path.realpath(path), os.path.realpath(folder)
    return real == base or real.startswith(base + "/")
