# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The source of a release: its archive, unpacked into the release's folder."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import tarfile

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.host.links import (
    OutsideError,
    Parts,
    first_outward,
    followed,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import FOLDER, open_below


def unpack(build: Build) -> Build:
    """Unpack the source. Return the build with the real path of the application root: no part of it is a link.

    Build commands own the whole source while they run. Afterwards the path is checked again.
    """
    os.makedirs(build.source, mode=0o755)
    given = build.spec["source"]
    data, upload = given.get("data"), given.get("upload")
    links: dict[Parts, str] = {}
    if data or upload:
        stream = io.BytesIO(base64.b64decode(data)) if data else open(upload, "rb")  # noqa: SIM115  # closed below
        with stream, tarfile.open(fileobj=stream, mode="r|gz") as archive:
            links = write_files(build, archive)
    write_links(build, links)
    return with_real_root(build, links)


def write_files(build: Build, archive: tarfile.TarFile) -> dict[Parts, str]:
    """Write the files of an archive, and return its links. No link exists yet, so none can be followed."""
    links = {}
    if hasattr(tarfile, "tar_filter"):  # not in Debian 12's Python 3.11.2
        archive.extraction_filter = staticmethod(tarfile.tar_filter)
    for member in archive:
        parts = tuple(member.name.split("/"))
        if {"", ".", ".."}.intersection(parts) or not (member.isreg() or member.issym() or member.isdir()):
            raise build.error(
                f"the archive of the source has '{member.name}', which is no file, folder or link inside of it. Remove "
                "it from the source."
            )
        if member.issym():
            links[parts] = member.linkname
        else:
            archive.extract(member, build.source)
    return links


def write_links(build: Build, links: dict[Parts, str]) -> None:
    """Create the links of the source; refuse one that leads out of it. The controller has checked them before."""
    outward = first_outward(links)
    if outward:
        raise build.error(
            f"the source has the link '{'/'.join(outward)}', which leads to '{links[outward]}', outside of the source. "
            "Replace it by a copy of its target, or remove it."
        )
    top = os.open(build.source, FOLDER)
    try:
        for parts, target in links.items():
            folder = open_below(top, parts[:-1], create=True)
            try:
                os.symlink(target, parts[-1], dir_fd=folder)
            finally:
                os.close(folder)
    finally:
        os.close(top)


def with_real_root(build: Build, links: dict[Parts, str]) -> Build:
    """The build with the folder that ``subdir`` leads to when the links of the source are followed."""
    given = build.spec["source"]
    subdir = given.get("subdir") or ""
    try:
        parts = followed(subdir.strip("/"), links)
    except OutsideError:
        raise build.error(f"source.subdir '{subdir}' leads out of the source. Name a folder of the source.") from None
    if parts is None or not is_real_folder(build.source, parts):
        raise build.error(
            f"source.subdir '{subdir}' is not a folder in the source. {folders_in(build.source)} "
            "Name a folder of the source."
        )
    return dataclasses.replace(build, spec={**build.spec, "source": {**given, "subdir": "/".join(parts)}})


def is_real_folder(path: str, parts: Parts) -> bool:
    """Whether a path below a folder is a folder, without any link."""
    top = os.open(path, FOLDER)
    try:
        os.close(open_below(top, parts))
    except OSError:
        return False
    finally:
        os.close(top)
    return True


def folders_in(path: str) -> str:
    """The folders of the source, as a sentence."""
    found = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    return f"It has: {', '.join(found[:20])}." if found else "It has no folders."
