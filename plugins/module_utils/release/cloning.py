# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Copy a release under a new ID, so that the copy can start beside the original."""

from __future__ import annotations

import os
import shutil

from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import new_identity
from ansible_collections.pyweb.stack.plugins.module_utils.release.outward_links import copy_owners_of_links
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILDING,
    BUILT,
    MANIFEST,
    Layout,
    Manifest,
    manifests,
    now,
    write_manifest,
)

# The files of a release that contain its ID, besides the programs in bin/.
FILES_WITH_ID = ("env", "gunicorn.conf.py", "uwsgi.ini", "granian/start.py")


def clone(layout: Layout, manifest: Manifest) -> Manifest:
    """Copy a release under a new ID. Its code is linked, not copied."""
    taken = [known.id for known in manifests(layout)]
    copy = Manifest(**{**manifest.__dict__, "id": new_identity(manifest.fingerprint, now(), taken), "state": BUILDING})
    source, target = layout.release(manifest.id), layout.release(copy.id)
    shutil.copytree(source, target, symlinks=True, copy_function=os.link, ignore=shutil.ignore_patterns(MANIFEST))
    copy_owners_of_links(source, target)
    for path in (*(os.path.join(target, name) for name in FILES_WITH_ID), *programs_of(target)):
        if os.path.exists(path):
            replace_in_copy(path, manifest.id, copy.id)
    copy.state, copy.created = BUILT, f"{now():%Y-%m-%dT%H:%M:%SZ}"
    write_manifest(layout, copy)
    return copy


def programs_of(release: str) -> list[str]:
    """The programs of a release and of its own environment, which name the interpreter by its path."""
    found = [os.path.join(release, "bin", name) for name in os.listdir(os.path.join(release, "bin"))]
    own = os.path.join(release, "venv", "bin")
    if os.path.islink(os.path.dirname(own)) or not os.path.isdir(own):
        return found
    programs = [os.path.join(own, name) for name in os.listdir(own)]
    return [*found, *(path for path in programs if os.path.isfile(path) and not os.path.islink(path))]


def replace_in_copy(path: str, old: str, new: str) -> None:
    """Replace a string in a file. A new file is created, because another release has a hard link to the old one."""
    status = os.stat(path)
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        text = stream.read().replace(old, new)
    os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.write(text)
    os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, status.st_mode & 0o7777)
