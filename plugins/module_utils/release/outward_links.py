# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Links of a release that lead out of it. nginx must not follow them to files that the application does not own.

nginx follows a link only if link and target have the same owner. Root owns the files of a release, and many others. So
a link out of the release belongs to the application's account. The whole way counts, not only its end: nginx compares
the owners of a link and of the last file, whatever the kernel passes through between them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import walk
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    Manifest,
    existing_account,
    manifests,
    write_manifest,
)

# Links that one way may have, as for the kernel.
MOST_LINKS = 40


def give_outward_links(path: str, release: Iterable[str], uid: int, gid: int) -> list[str]:
    """Give each link below ``path`` whose way leaves the folders of ``release`` to an account; return these links.

    Only root may write in these folders: then no link changes afterwards.
    """
    top = os.path.realpath(path)
    inside = [os.path.realpath(folder) for folder in release]
    given = []
    for link, name, folder in links_below(path):
        around = os.path.join(top, os.path.dirname(os.path.relpath(link, path)))
        if not stays_inside(os.readlink(name, dir_fd=folder), os.path.normpath(around), inside):
            os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)
            given.append(link)
    return given


def stays_inside(target: str, folder: str, inside: list[str]) -> bool:
    """Whether the way of a link in ``folder`` never leaves the folders ``inside``, and ends in one of them.

    The way is resolved here, not by the kernel, one name at a time. So it can't pass through the links of /proc, which
    mean another file for each process. Only root can change what it passes through, and it ends at something that
    exists. An absolute way begins at /, and goes straight down to a folder inside.
    """
    waiting, here, links = names_of(target), "" if target.startswith("/") else folder, 0
    while waiting:
        name = waiting.pop()
        if name == "..":
            here = os.path.dirname(here).rstrip("/")
            continue
        place = f"{here}/{name}"
        try:
            status = os.lstat(place)
        except OSError:
            return False
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > MOST_LINKS:
                return False
            further = os.readlink(place)
            waiting += names_of(further)
            here = "" if further.startswith("/") else here
            continue
        if not (is_in(place, inside) or leads_to(place, inside)):
            return False
        if stat.S_ISDIR(status.st_mode) and not is_closed(status):
            return False
        here = place
    return is_in(here, inside)


def names_of(way: str) -> list[str]:
    """The names of a path, the last one first."""
    return [name for name in reversed(way.split("/")) if name not in ("", ".")]


def is_in(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def leads_to(path: str, folders: list[str]) -> bool:
    return any(folder.startswith(f"{path}/") for folder in folders)


def is_closed(status: os.stat_result) -> bool:
    """Whether only root can exchange what is in a folder. A sticky folder keeps the entries of root."""
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == 0 and (not writable or bool(status.st_mode & stat.S_ISVTX))


def check_known_releases(layout: Layout, owner: str, check_mode: bool) -> bool:
    """Give the outward links of releases that an earlier version has built; return whether there were such releases."""

    def unchecked() -> list[Manifest]:
        return [manifest for manifest in manifests(layout) if manifest.usable and not manifest.links_checked]

    if check_mode or not unchecked():
        return bool(unchecked())
    account = existing_account(layout.name)
    with lock(layout, owner):
        for manifest in unchecked():
            release, environment = layout.release(manifest.id), os.path.join(layout.venvs, manifest.venv or "none")
            for path, inside in ((environment, [environment]), (os.path.join(release, "src"), [release, environment])):
                if os.path.isdir(path):
                    give_outward_links(path, inside, account.pw_uid, account.pw_gid)
            manifest.links_checked = True
            write_manifest(layout, manifest)
    return True


def copy_owners_of_links(source: str, copy: str) -> None:
    """Give the links of a copied folder the owners of the original ones."""
    for link, name, folder in links_below(copy):
        original = os.lstat(os.path.join(source, os.path.relpath(link, copy)))
        os.chown(name, original.st_uid, original.st_gid, dir_fd=folder, follow_symlinks=False)


def links_below(path: str) -> Iterator[tuple[str, str, int]]:
    """Each link below a folder: its path, its name, and the descriptor of the folder that it is in."""
    for visit in walk(path):
        for name, status in visit.files.items():
            if not visit.leaving and stat.S_ISLNK(status.st_mode):
                yield os.path.join(path, visit.below(name)), name, visit.descriptor
